/** `emptcp chain apply`: compile a chain from a file, and attach it. */
import { InvalidArgumentError, Option, type Command } from "commander";
import { disassemble } from "../../bpf/index.ts";
import { showSelector } from "../../chain/description.ts";
import type { ChainOptions, PolicyChain } from "../../chain/index.ts";
import { openChain } from "../../chain/chains.ts";
import type { RunningChain } from "../../chain/running.ts";
import { chainDirectory } from "../../chain/store.ts";
import { describePlaces } from "../chain-text.ts";
import { print, printJson, withProgress } from "../output.ts";

interface Flags {
  readonly name?: string;
  readonly interface?: readonly string[];
  readonly direction?: ChainOptions["direction"];
  readonly hook?: ChainOptions["hook"];
  readonly netns?: string;
  readonly cgroup?: string;
  readonly priority?: number;
  readonly mode?: ChainOptions["mode"];
  readonly replace?: true;
  readonly listing?: true;
  readonly json?: true;
}

function collect(value: string, previous: readonly string[] = []): string[] {
  const names = value.split(",").map((name) => name.trim());
  if (names.includes("")) throw new InvalidArgumentError("Give the name of an interface.");
  return [...previous, ...names];
}

export function addApply(chain: Command): void {
  chain
    .command("apply")
    .summary("compile a chain and attach it")
    .description(
      "Compiles the chain that FILE exports as its default, and attaches it: all of it, or nothing.\n" +
        "Options given here win over those in the file.",
    )
    .argument("<file>", "a .ts, .js or .mjs file")
    .option("--name <name>", "what list, show, set and remove call it (default: its actors' names)")
    .option(
      "-i, --interface <name>",
      "interface whose packets the chain sees; repeat it, or separate by commas",
      collect,
    )
    .addOption(new Option("--direction <direction>", "packets to see").choices(["ingress", "egress", "both"]))
    .addOption(
      new Option("--hook <hook>", "where in the kernel; XDP sees arriving packets only").choices(["tcx", "xdp"]),
    )
    .option("--netns <namespace>", "network namespace of the interfaces and sockets, by name or path")
    .option("--cgroup <path>", "for socket actors: whose sockets (default: everyone's)")
    .option("--priority <number>", "among chains of one tc hook, lower ones run first (default: 0)", readPriority)
    .addOption(
      new Option("--mode <mode>", "one program for all, or one for each, chained (default: fused)").choices([
        "fused",
        "linked",
      ]),
    )
    .option("--replace", "put it in the place of the chain of its name, in one step, while packets flow")
    .option("--listing", "print the eBPF program of each hook, and attach nothing")
    .option("--log-verifier", "when the kernel refuses the program, print its verifier's whole log")
    .option("--json", "print { name, selector, actors, attachments, ... }")
    .addHelpText(
      "after",
      `
Examples:
  sudo emptcp chain apply limit.ts -i wlan0 -i wwan0
  sudo emptcp chain apply limit.ts --netns client --interface wifi,lte --name trial
  sudo emptcp chain apply limit.ts -i wlan0 --replace
  emptcp chain apply limit.ts --listing        needs no rights`,
    )
    .action(apply);
}

async function apply(file: string, flags: Flags): Promise<void> {
  const fromFile = await withProgress(`loading ${file} …`, async () => {
    const { loadChainFile } = await import("../../chain/index.ts");
    return await loadChainFile(file);
  });
  const chain = fromFile.with(optionsOf(flags));
  if (flags.listing) return list(chain, flags);
  const started = performance.now();
  const { description } = await withProgress("compiling and attaching …", async () =>
    flags.replace ? await replace(chain) : chain.submit(),
  );
  const tookMs = Math.round(performance.now() - started);
  const { name, selector, actors, attachments, netns, submitted } = description;
  if (flags.json) return printJson({ name, selector, actors, attachments, netns, submitted, tookMs });
  print(`Chain ${name} is attached to ${describePlaces(description)} (${tookMs} ms)`);
  print(`  packets  ${showSelector(selector)}`);
  print(`  actors   ${actors.map((actor) => actor.name).join(", ")}`);
  for (const { note } of actors) if (note !== undefined) print(`  note     ${note}`);
  print(`\nemptcp chain show ${name} tells what it does, emptcp chain remove ${name} takes it off.`);
}

/** A chain that is not there yet is submitted, so that the same command serves the first time and later. */
async function replace(chain: PolicyChain): Promise<RunningChain> {
  if (!chainDirectory(chain.name)) return chain.submit();
  const running = openChain(chain.name);
  await running.replace(chain);
  return running;
}

function readPriority(text: string): number {
  if (/^-?\d{1,5}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("Give an integer.");
}

function optionsOf({
  name,
  interface: interfaces,
  direction,
  hook,
  netns,
  cgroup,
  priority,
  mode,
}: Flags): ChainOptions {
  return {
    ...(name !== undefined && { name }),
    ...(interfaces !== undefined && { interfaces }),
    ...(direction !== undefined && { direction }),
    ...(hook !== undefined && { hook }),
    ...(netns !== undefined && { netns }),
    ...(cgroup !== undefined && { cgroup }),
    ...(priority !== undefined && { priority }),
    ...(mode !== undefined && { mode }),
  };
}

function list(chain: PolicyChain, { json }: Flags): void {
  // The program is the same for every interface, so that none has to be named to see it.
  const { programs } = (chain.options.interfaces?.length ? chain : chain.with({ interfaces: ["any"] })).compile();
  const listings = Object.entries(programs).map(([hook, { instructions }]) => ({
    hook,
    instructions: instructions.length,
    listing: disassemble(instructions, { source: true }),
  }));
  if (json) return printJson({ name: chain.name, programs: listings });
  print(
    listings.map(({ hook, instructions, listing }) => `# ${hook}: ${instructions} instructions\n${listing}`).join("\n"),
  );
}
