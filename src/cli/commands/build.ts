/** `emptcp build`: a chain as an object file. */
import { writeFileSync } from "node:fs";
import { basename, parse, resolve } from "node:path";
import { Option, type Command } from "commander";
import { readElf, type ElfProgram } from "../../bpf/elf/index.ts";
import { slots } from "../../bpf/encode.ts";
import type { ChainOptions, ChainPlan } from "../../chain/index.ts";
import type { MapSpec } from "../../bpf/spec.ts";
import { CommandError } from "../errors.ts";
import { colours, print, printJson, withProgress } from "../output.ts";
import { formatBytes, formatCount, formatTable } from "../table.ts";

interface Flags {
  readonly output?: string;
  readonly direction?: ChainOptions["direction"];
  readonly hook?: ChainOptions["hook"];
  readonly json?: true;
}

export function addBuild(program: Command): void {
  program
    .command("build")
    .summary("compile a chain into an object file for bpftool and libbpf")
    .description(
      "Compiles the chain that FILE exports as its default, or the only actor that it exports, into an eBPF object file:\n" +
        "programs, maps with the parameters' values, types and source lines. Needs no rights and no compiler for C.",
    )
    .argument("<file>", "a .ts, .js or .mjs file")
    .option("-o, --output <file>", "the object file (default: FILE's name with .bpf.o, in this directory)")
    .addOption(new Option("--direction <direction>", "packets to see").choices(["ingress", "egress", "both"]))
    .addOption(
      new Option("--hook <hook>", "where in the kernel; XDP sees arriving packets only").choices(["tcx", "xdp"]),
    )
    .option("--json", "print { file, bytes, programs, maps, commands, notes }")
    .addHelpText(
      "after",
      `
Examples:
  emptcp build limit.ts                              writes limit.bpf.o
  emptcp build limit.ts --hook xdp -o /tmp/limit.o
  sudo bpftool prog loadall limit.bpf.o /sys/fs/bpf/limit pinmaps /sys/fs/bpf/limit/maps`,
    )
    .action(build);
}

async function build(file: string, { output, direction, hook, json }: Flags): Promise<void> {
  const target = output ?? `${parse(file).name}.bpf.o`;
  const { plan, bytes } = await withProgress(`compiling ${file} …`, async () => {
    const { loadChainOrActor, writeObject } = await import("../../chain/index.ts");
    const chain = await loadChainOrActor(file);
    // The programs are the same for every interface, so that none has to be named; fused, they mean the same as linked.
    const options = {
      interfaces: ["any"],
      mode: "fused",
      ...(direction && { direction }),
      ...(hook && { hook }),
    } as const;
    const built = chain.with(options).plan();
    return { plan: built, bytes: writeObject(built) };
  });
  if (resolve(target) === resolve(file)) throw new CommandError(`Cannot write ${target}: it is the source`);
  try {
    writeFileSync(target, bytes);
  } catch (cause) {
    throw new CommandError(`Cannot write ${target}: ${(cause as Error).message}`, { cause });
  }
  const result = describe(target, bytes, plan);
  if (json) printJson(result);
  else printResult(result);
}

interface BuildResult {
  readonly file: string;
  readonly bytes: number;
  readonly chain: string;
  readonly programs: readonly { readonly name: string; readonly section: string; readonly instructions: number }[];
  readonly maps: readonly Pick<MapSpec, "name" | "type" | "keySize" | "valueSize" | "maxEntries">[];
  /** That load the object and attach its programs. */
  readonly commands: readonly string[];
  readonly notes: readonly string[];
}

/** What the object holds, as a reader finds it. */
function describe(file: string, bytes: Uint8Array, plan: ChainPlan): BuildResult {
  const { programs, maps } = readElf(bytes);
  return {
    file,
    bytes: bytes.length,
    chain: plan.name,
    programs: programs.map(({ name, section, instructions }) => ({ name, section, instructions: slots(instructions) })),
    maps: Object.entries(maps).map(([name, { type, keySize, valueSize, maxEntries }]) => {
      return { name, type, keySize, valueSize, maxEntries };
    }),
    commands: commandsFor(file, programs),
    notes: notesOn(plan),
  };
}

/** How programs of a section get to see packets or sockets; other kinds are run by whoever loads them. */
const attach: Readonly<Record<string, (name: string, pin: string) => string>> = {
  xdp: (_, pin) => `bpftool net attach xdp pinned ${pin} dev INTERFACE`,
  tc: (name, pin) =>
    `tc filter add dev INTERFACE ${name.endsWith("egress") ? "egress" : "ingress"} bpf direct-action object-pinned ${pin}`,
  sockops: (_, pin) => `bpftool cgroup attach CGROUP sock_ops pinned ${pin} multi`,
};

function commandsFor(file: string, programs: readonly ElfProgram[]): string[] {
  const directory = `/sys/fs/bpf/${basename(file)
    .replace(/(\.bpf)?\.o$/, "")
    .replace(/[^\w-]/g, "_")}`;
  return [
    `bpftool prog loadall ${file} ${directory} pinmaps ${directory}/maps`,
    ...(programs.some(({ section }) => section === "tc") ? ["tc qdisc add dev INTERFACE clsact"] : []),
    ...programs.flatMap(({ name, section }) => attach[section]?.(name, `${directory}/${name}`) ?? []),
  ];
}

/** What loading the object does not do, although `chain apply` does. */
function notesOn({ compiled: { layout, programs } }: ChainPlan): string[] {
  const seeded = layout.state.some(({ seeds }) => Object.keys(seeds).length > 0);
  const shared = layout.state.flatMap(({ host, map }) => (host === undefined ? [] : [map]));
  const walks = Object.keys(programs).filter((hook) => hook.startsWith("iter_"));
  return [
    ...(seeded ? ["What the kernel knows of connections older than the programs: only chain apply tells them."] : []),
    ...(layout.sets.length > 0
      ? [`Without members yet: the maps ${layout.sets.map(({ map }) => map).join(", ")}.`]
      : []),
    ...(shared.length > 0 ? [`Shared with no other chain of the host: the maps ${shared.join(", ")}.`] : []),
    ...(walks.length > 0
      ? [
          `${walks.join(" and ")} walk over the sockets there are: attach as iterators (bpf_program__attach_iter), and read.`,
        ]
      : []),
  ];
}

function printResult({ file, bytes, programs, maps, commands, notes }: BuildResult): void {
  print(`${colours.bold(file)}  ${formatBytes(bytes)}`);
  print(
    `${formatTable(
      [
        { title: "PROGRAM", of: ({ name }) => name },
        { title: "SECTION", of: ({ section }) => section },
        { title: "INSTRUCTIONS", of: ({ instructions }) => formatCount(instructions), align: "right" },
      ],
      programs,
    )}\n`,
  );
  print(
    `${formatTable(
      [
        { title: "MAP", of: ({ name }) => name },
        { title: "TYPE", of: ({ type }) => type },
        { title: "KEY", of: ({ keySize }) => `${keySize} B`, align: "right" },
        { title: "VALUE", of: ({ valueSize }) => `${valueSize} B`, align: "right" },
        { title: "ENTRIES", of: ({ maxEntries }) => formatCount(maxEntries), align: "right" },
      ],
      maps,
    )}\n`,
  );
  print(`To load and attach it, as root:\n${commands.map((command) => `  ${command}\n`).join("")}`);
  if (notes.length > 0) print(`\n${notes.join("\n")}`);
}
