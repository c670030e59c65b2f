/** `emptcp stack start`, `replace` and `stop`. */
import { Option, type Command } from "commander";
import { listInStack, openInStack } from "../../instack/actors.ts";
import type { StackDescription } from "../../instack/description.ts";
import type { Moved } from "../../instack/move.ts";
import type { StackPolicy } from "../../instack/register.ts";
import { bases, type Base } from "../../policy/stack.ts";
import { UsageError } from "../errors.ts";
import { print, printJson, withProgress } from "../output.ts";

const baseOption = (text: string) => new Option("--base <algorithm>", text).choices(bases);

interface StartFlags {
  readonly name?: string;
  readonly base?: Base;
  readonly json?: true;
}

export function addStackChange(stack: Command): void {
  stack
    .command("start")
    .summary("compile congestion control and register it")
    .description("Compiles congestion control and registers it with the kernel: all of it, or nothing.")
    .argument(
      "[file]",
      "a .ts, .js or .mjs file that exports congestion control (default: emptcp, which follows strategies)",
    )
    .option(
      "--name <name>",
      "what sockets and chains call it: at most 15 letters, digits and _ (default: the policy's name)",
    )
    .addOption(baseOption("the algorithm that does what the policy does not (default: cubic)"))
    .option("--log-verifier", "when the kernel refuses a program, print its verifier's whole log")
    .option("--json", "print { name, policy, base, operations, ..., tookMs }")
    .addHelpText(
      "after",
      "\nExamples:\n  sudo emptcp stack start\n  sudo emptcp stack start --name fast --base bbr\n  sudo emptcp stack start gentle.ts",
    )
    .action(start);

  stack
    .command("replace")
    .summary("put other congestion control in the place of one, under running connections")
    .description(
      "Compiles congestion control and puts it in the place of one that is registered: all of it, or nothing.\n" +
        "New sockets have it at once; running ones are moved to it and go on from the window they have.",
    )
    .argument("<name>", "a registered one")
    .argument("[file]", "a .ts, .js or .mjs file (default: the one it was made from, read anew)")
    .addOption(baseOption("another base (default: the one it has)"))
    .option("--keep", "leave running sockets with what they have until they are closed")
    .option("--log-verifier", "when the kernel refuses a program, print its verifier's whole log")
    .option("--json", "print { name, policy, base, ..., moved: { sockets, refused, namespaces }, tookMs }")
    .addHelpText(
      "after",
      "\nExamples:\n  sudo emptcp stack replace gentle gentler.ts\n  sudo emptcp stack replace emptcp --base bbr",
    )
    .action(replace);

  stack
    .command("stop")
    .summary("take congestion control out of the stack")
    .description(
      "Takes names away from the kernel: no socket gets such congestion control any more. Sockets that have it are\n" +
        "given its base, and so are network namespaces in which new sockets would start with it.",
    )
    .argument("[name...]", "registered ones")
    .option("--all", "all of this machine")
    .option("--keep", "leave running sockets with what they have until they are closed")
    .option("--json", "print { stopped: [{ name, moved }] }")
    .addHelpText("after", "\nExamples:\n  sudo emptcp stack stop emptcp\n  sudo emptcp stack stop --all --keep")
    .action((names: string[], { all, keep, json }: { all?: true; keep?: true; json?: true }) => {
      if (all ? names.length > 0 : names.length === 0)
        throw new UsageError("Cannot tell what to stop: give names, or --all");
      // Every name is looked up before the first one goes, so that a wrong one changes nothing.
      const actors = all ? listInStack() : [...new Set(names)].map(openInStack);
      const stopped = actors.map((running) => {
        const { base } = running.description;
        return { name: running.name, base, moved: running.remove({ move: !keep }) };
      });
      if (json) return printJson({ stopped });
      if (stopped.length === 0) print("Nothing is registered");
      for (const { name, base, moved } of stopped) print(`Stopped ${name}${describeMoved(moved, base ?? "")}`);
    });
}

async function start(file: string | undefined, { name, base, json }: StartFlags): Promise<void> {
  const policy = await load(file);
  const started = performance.now();
  const { description } = await withProgress("compiling and registering …", async () => {
    const { registerInStack } = await import("../../instack/register.ts");
    return registerInStack(policy, { ...(name !== undefined && { name }), ...(base && { base }) });
  });
  const tookMs = Math.round(performance.now() - started);
  if (json) return printJson({ ...summaryOf(description), tookMs });
  print(`${titleOf(description)} ${description.name} is registered${onTopOf(description)} (${tookMs} ms)`);
  print(
    `\nemptcp stack show ${description.name} tells what it does, emptcp stack stop ${description.name} takes it out.`,
  );
}

async function replace(
  name: string,
  file: string | undefined,
  { base, keep, json }: { base?: Base; keep?: true; json?: true },
): Promise<void> {
  const running = openInStack(name);
  const before = running.description;
  const policy =
    file === undefined && before.file !== undefined ? await load(before.file, before.policy) : await load(file);
  const started = performance.now();
  const moved = await withProgress(
    "compiling and replacing …",
    async () => await running.replace(policy, { ...(base && { base }), move: !keep }),
  );
  const tookMs = Math.round(performance.now() - started);
  const { description } = running;
  if (json) return printJson({ ...summaryOf(description), moved, tookMs });
  print(`${name} is ${description.policy}${onTopOf(description)} now (${tookMs} ms)${describeMoved(moved, name)}`);
}

async function load(file: string | undefined, name?: string): Promise<StackPolicy> {
  if (file === undefined) return (await import("../../policies/stack/index.ts")).emptcp;
  const { loadInStackFile } = await import("../../instack/load.ts");
  return await withProgress(`loading ${file} …`, async () => await loadInStackFile(file, name));
}

/** What a person asks for of an actor; the layout of its maps is for programs. */
export function summaryOf(description: StackDescription): Omit<StackDescription, "layout"> {
  const { layout: _layout, ...rest } = description;
  return rest;
}

const titleOf = ({ schedules }: StackDescription): string => (schedules ? "Scheduler" : "Congestion control");

const onTopOf = ({ base }: StackDescription): string => (base === undefined ? "" : ` on top of ${base}`);

function describeMoved({ sockets, refused, namespaces }: Moved, to: string): string {
  const parts = [
    ...(sockets > 0 ? [`${sockets} sockets moved to ${to}`] : []),
    ...(namespaces > 0 ? [`the default of ${namespaces} network namespaces changed`] : []),
    ...(refused > 0 ? [`the kernel refused it to ${refused} sockets, which go on as they were`] : []),
  ];
  return parts.length > 0 ? `: ${parts.join("; ")}` : "";
}
