/** `emptcp lab …`: hosts and emulated links to try chains on. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { extname } from "node:path";
import type { Command } from "commander";
import { listChains } from "../../chain/chains.ts";
import {
  cleanLab,
  createLab,
  formatAccuracy,
  listLabs,
  measureLab,
  wifiAndLte,
  type Lab,
  type LabSpec,
} from "../../lab/index.ts";
import { CommandError, UsageError } from "../errors.ts";
import { experiments } from "../../lab/experiments/index.ts";
import { LiveLine, print, printJson, withProgress } from "../output.ts";
import { formatTable } from "../table.ts";
import { runNamedExperiment, type ExperimentFlags } from "./lab-experiment.ts";

interface RunFlags extends ExperimentFlags {
  readonly in?: string;
  readonly check?: true;
}

export function addLab(program: Command): void {
  const lab = program
    .command("lab")
    .summary("hosts and emulated links to try chains on")
    .description("Hosts in network namespaces, joined by links with a rate, a delay and losses.");

  lab
    .command("run")
    .summary("build a lab and keep it")
    .description(
      "Builds a lab and keeps it until Ctrl-C, or until the command given after -- has ended.\n" +
        "Without SPEC: client and server, joined by wifi (40 Mbit/s, 20 ms) and lte (20 Mbit/s, 50 ms).\n" +
        "With the name of an experiment: builds its own lab, measures, and prints tables; exit code 1 when a check fails.",
    )
    .usage("[options] [SPEC | EXPERIMENT] [-- COMMAND...]")
    .argument("[words...]", "a .json or .ts file with { hosts, links }, or an experiment; and a command")
    .option("--in <host>", "run the command on this host (default: outside of the lab)")
    .option("--check", "measure whether every link does what was asked, and end")
    .option("--report [dir]", "of an experiment: write its report with plots there (default: emptcp-report)")
    .option("--quick", "of an experiment: fewer and shorter runs, to see whether everything works")
    .option(
      "--json",
      "print { runId, hosts, links }; with --check [{ link, quantity, asked, measured, ok, ... }];\n" +
        "of an experiment { title, sections: [{ id, table, plot }], checks, data, files, ... }",
    )
    .addHelpText(
      "after",
      `
The command finds the hosts' namespaces in EMPTCP_<HOST>, for example EMPTCP_CLIENT.

Experiments:
${Object.entries(experiments)
  .map(([name, { summary }]) => `  ${name.padEnd(16)} ${summary}\n`)
  .join("")}
Examples:
  sudo emptcp lab run
  sudo emptcp lab run multi-tenant --report out
  sudo emptcp lab run three-links.json --check
  sudo emptcp lab run --in client -- ping -c 3 10.0.1.2
  sudo emptcp lab run -- sh -c 'emptcp chain apply limit.ts --netns $EMPTCP_CLIENT -i wifi,lte'

A spec:
  { "hosts": { "client": {}, "server": { "endpoints": "signal" } },
    "links": [{ "name": "dsl", "between": ["client", "server"], "rateMbit": 16, "rttMs": 30, "lossPercent": 0.1 }] }`,
    )
    .action(run);

  lab
    .command("clean")
    .summary("remove what killed runs left")
    .description("Removes labs whose process is gone, and the chains in them. Labs in use are not touched.")
    .option("--json", "print { labs: [{ runId, pid, namespaces }], chains: [names] }")
    .action(clean);
}

async function run(words: string[], flags: RunFlags): Promise<void> {
  const { file, command } = splitWords(words);
  if (flags.check && command.length > 0) throw new UsageError("Cannot measure the lab and run a command in it");
  if (flags.in !== undefined && command.length === 0)
    throw new UsageError("Cannot use --in: there is no command after --");
  const experiment = file === undefined ? undefined : experiments[file];
  if (experiment !== undefined) {
    if (flags.check || command.length > 0)
      throw new UsageError(`Cannot run experiment ${file} with --check or a command: it builds a lab of its own`);
    return await runNamedExperiment(file!, experiment, flags);
  }
  if (flags.report !== undefined || flags.quick)
    throw new UsageError(
      `Cannot use --report or --quick without an experiment: there are ${Object.keys(experiments).join(", ")}`,
    );
  const spec = file === undefined ? wifiAndLte : await loadSpec(file);
  if (flags.in !== undefined && !(flags.in in spec.hosts))
    throw new UsageError(`Cannot run a command on ${flags.in}: the hosts are ${Object.keys(spec.hosts).join(", ")}`);
  const lab = await withProgress("building the lab …", () => createLab(spec));
  try {
    if (flags.check) await check(lab, flags);
    else if (command.length > 0) await runCommand(lab, command, flags.in);
    else await keep(lab, flags);
  } finally {
    await lab.close();
  }
}

/** What stands before `--` is the spec's file, what stands behind it a command. */
function splitWords(words: readonly string[]): { file: string | undefined; command: string[] } {
  const separator = process.argv.indexOf("--");
  const behind = separator < 0 ? [] : process.argv.slice(separator + 1);
  const before = words.slice(0, words.length - behind.length);
  if (before.length > 1) throw new UsageError(`Cannot understand ${before[1]}: a command goes behind --`);
  if (separator >= 0 && behind.length === 0) throw new UsageError("Cannot run a command: there is none behind --");
  return { file: before[0], command: behind };
}

async function loadSpec(file: string): Promise<LabSpec> {
  if (extname(file) === "")
    throw new UsageError(
      `Cannot run ${file}: it is no experiment and no .json or .ts file; experiments are ${Object.keys(experiments).join(", ")}`,
    );
  let spec: unknown;
  if (extname(file) === ".json") {
    try {
      spec = JSON.parse(readFileSync(file, "utf8"));
    } catch (cause) {
      throw new CommandError(`Cannot read the lab in ${file}: ${(cause as Error).message}`, { cause });
    }
  } else {
    const { importFile } = await import("../../chain/index.ts");
    spec = (await importFile(file))["default"];
  }
  const { hosts, links } = (spec ?? {}) as Partial<LabSpec>;
  if (typeof hosts !== "object" || hosts === null || !Array.isArray(links))
    throw new CommandError(`Cannot read the lab in ${file}: it has no { hosts: {...}, links: [...] }`);
  return spec as LabSpec;
}

async function check(lab: Lab, { json }: RunFlags): Promise<void> {
  const line = new LiveLine();
  line.show("measuring …");
  const rows = await measureLab(lab, {
    onRow: ({ link, quantity, measured, unit }) =>
      line.show(`${link}: ${quantity} ${measured.toPrecision(4)} ${unit} …`),
  });
  line.clear();
  if (json) printJson(rows);
  else print(formatAccuracy(rows));
  if (rows.some(({ ok }) => !ok)) process.exitCode = 1;
}

async function runCommand(lab: Lab, command: readonly string[], host: string | undefined): Promise<void> {
  const names = Object.keys(lab.spec.hosts).map((name) => [`EMPTCP_${name.toUpperCase()}`, lab.netnsOf(name)]);
  const inside = host === undefined ? [] : ["ip", "netns", "exec", lab.netnsOf(host)];
  const [executable, ...args] = [...inside, ...command] as [string, ...string[]];
  const child = spawn(executable, args, { stdio: "inherit", env: { ...process.env, ...Object.fromEntries(names) } });
  try {
    const [code] = (await once(child, "exit")) as [number | null];
    process.exitCode = code === 0 ? 0 : 1;
  } catch (cause) {
    throw new CommandError(`Cannot run ${command[0]}: ${(cause as Error).message}`, { cause });
  }
}

async function keep(lab: Lab, { json }: RunFlags): Promise<never> {
  const hosts = Object.keys(lab.spec.hosts).map((name) => lab.host(name));
  if (json) printJson({ runId: lab.runId, pid: process.pid, hosts, links: lab.spec.links });
  else {
    print(
      formatTable(
        [
          { title: "HOST", of: ({ name }) => name },
          {
            title: "ADDRESSES",
            of: ({ interfaces }) => interfaces.map(({ link, ipv4 }) => `${link} ${ipv4}`).join(", "),
          },
          { title: "ENTER WITH", of: ({ netns }) => `ip netns exec ${netns} bash` },
        ],
        hosts,
      ),
    );
    print("\nThe lab is up until Ctrl-C.");
  }
  // Signals close the lab and end the process.
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 1000));
    lab.check();
  }
}

function clean({ json }: { readonly json?: true }): void {
  const dead = new Set(listLabs().flatMap(({ alive, namespaces }) => (alive ? [] : namespaces)));
  const chains = listChains().filter(({ description: { netns } }) => netns.name !== undefined && dead.has(netns.name));
  for (const chain of chains) chain.remove();
  const labs = cleanLab();
  const names = chains.map(({ name }) => name);
  if (json) return printJson({ labs, chains: names });
  if (labs.length === 0) return print("Nothing to clean: no run was killed");
  for (const { pid, namespaces } of labs) print(`Removed ${namespaces.join(", ")} of process ${pid}`);
  if (names.length > 0) print(`Removed chains ${names.join(", ")}`);
}
