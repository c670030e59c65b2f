/** `emptcp stack list`, `show` and `metrics`. */
import type { Command } from "commander";
import { listInStack, openInStack } from "../../instack/actors.ts";
import { MetricsReader, type SubflowMetrics } from "../../instack/metrics.ts";
import type { OperationRates, OperationRuns, RunningInStack, StackUser } from "../../instack/running.ts";
import { readSeconds } from "../arguments.ts";
import { colours, print, printJson, withProgress } from "../output.ts";
import { formatAge, formatBytes, formatCount, formatEndpoint, formatMbit, formatTable, type Column } from "../table.ts";
import { formatToken } from "../watch/render.ts";
import { summaryOf } from "./stack-change.ts";

export function addStackInspect(stack: Command): void {
  stack
    .command("list")
    .summary("list what is registered")
    .description("Lists all congestion control that emptcp registered on this machine, whoever did it.")
    .option("--json", "print [{ name, policy, base, operations, sockets, connections, ... }]")
    .addHelpText("after", "\nExamples:\n  sudo emptcp stack list\n  sudo emptcp stack list --json | jq -r '.[].name'")
    .action(({ json }: { json?: true }) => {
      const actors = listInStack().map(summarize);
      if (json) return printJson(actors);
      if (actors.length === 0) return print("Nothing is registered");
      print(
        formatTable(
          [
            { title: "NAME", of: ({ name }) => name },
            { title: "POLICY", of: ({ policy }) => policy },
            { title: "BASE", of: ({ base }) => base ?? "-" },
            { title: "OPERATIONS", of: ({ operations }) => operations.join(", ") || "-" },
            { title: "SINCE", of: ({ registered }) => formatAge(registered) },
            { title: "SOCKETS", of: ({ sockets }) => formatCount(sockets), align: "right" },
            { title: "CONNECTIONS", of: ({ connections }) => formatCount(connections), align: "right" },
          ],
          actors,
        ),
      );
      for (const { name, fixed, isRegistered } of actors) {
        if (fixed !== undefined) print(`${name} cannot be changed: ${fixed}`);
        if (!isRegistered) print(`${name} was taken out by somebody else: emptcp stack stop ${name} removes the rest`);
      }
    });

  stack
    .command("show")
    .summary("show what one does, and for whom")
    .description("Shows an actor's operations, what it counts and keeps, and the connections that use it.")
    .argument("<name>", "a registered one")
    .option("--rates [seconds]", "measure for that long (1): runs per second, and what they cost", readSeconds)
    .option("--json", "print { name, programs: [...], users: [...], counters, state, rates, ... }")
    .addHelpText("after", "\nExamples:\n  sudo emptcp stack show emptcp\n  sudo emptcp stack show emptcp --rates 5")
    .action(async (name: string, { json, rates: seconds }: { json?: true; rates?: number | true }) => {
      const running = openInStack(name);
      const rates =
        seconds === undefined
          ? undefined
          : await withProgress("measuring …", async () => await running.rates(seconds === true ? 1 : seconds));
      const details = { ...inspect(running), ...(rates && { rates }) };
      if (json) return printJson(details);
      printDetails(details, rates);
    });

  stack
    .command("metrics")
    .summary("show what the stack measures of each subflow")
    .description("Shows what congestion control emptcp sees of the subflows under it, at most a millisecond old.")
    .argument("[name]", "a registered one: only subflows under it")
    .option("--json", "print [{ token, id, local, remote, strategy, cwnd, srttUs, ... }]")
    .addHelpText(
      "after",
      "\nExamples:\n  sudo emptcp stack metrics\n  sudo emptcp stack metrics --json | jq '.[].srttUs'",
    )
    .action((name: string | undefined, { json }: { json?: true }) => {
      const users = name === undefined ? undefined : new Set(openInStack(name).users().map(endsOf));
      using reader = new MetricsReader();
      const metrics = reader.read().filter((one) => users?.has(endsOf(one)) ?? true);
      if (json) return printJson(metrics.map(forJson));
      print(metrics.length > 0 ? metricsTable(metrics) : "No MPTCP subflow is measured");
    });
}

type Ends = Pick<SubflowMetrics, "local" | "remote">;

const endsOf = ({ local, remote }: Ends): string =>
  `${formatEndpoint(local.address, local.port)} > ${formatEndpoint(remote.address, remote.port)}`;

const connectionsOf = (users: readonly StackUser[]): number => new Set(users.flatMap(({ token }) => token ?? [])).size;

function summarize(running: RunningInStack) {
  const users = running.users();
  return {
    ...summaryOf(running.description),
    isRegistered: running.isRegistered(),
    sockets: users.length,
    connections: connectionsOf(users),
  };
}

function inspect(running: RunningInStack) {
  return {
    ...summaryOf(running.description),
    isRegistered: running.isRegistered(),
    programs: running.operations(),
    counters: running.counters(),
    state: running.state().map(({ slot, ...contents }) => ({ name: slot.name, ...contents })),
    users: running.users(),
  };
}

function printDetails(details: ReturnType<typeof inspect>, rates: readonly OperationRates[] | undefined): void {
  const { name, policy, file, base, registered, programs, counters, users, operations, isRegistered } = details;
  const where = file === undefined ? "built in" : file;
  print(
    `${colours.bold(name)}  ${policy} (${where})${base === undefined ? "" : ` on top of ${base}`}, ${formatAge(registered)}`,
  );
  if (!isRegistered) print("  It was taken out by somebody else: no new socket gets it");
  print(`  defines      ${operations.join(", ") || "nothing"}`);
  print(`  connections  ${formatCount(connectionsOf(users))}, ${formatCount(users.length)} sockets`);
  for (const [reason, count] of Object.entries(counters.cannot))
    print(`  could not    ${reason}: ${formatCount(count)}`);
  print("");
  print(formatTable([...programColumns, ...(rates ? rateColumns(rates) : [])], programs));
  const busy = users.filter(({ state }) => state === "established").slice(0, shownUsers);
  if (busy.length === 0) return;
  print("");
  print(
    formatTable(
      [
        { title: "TOKEN", of: ({ token }) => (token === undefined ? "plain TCP" : formatToken(token)) },
        { title: "SOCKET", of: endsOf },
      ],
      busy,
    ),
  );
  const more = users.filter(({ state }) => state === "established").length - busy.length;
  if (more > 0) print(`and ${formatCount(more)} more`);
}

const programColumns: readonly Column<OperationRuns>[] = [
  { title: "OPERATION", of: ({ operation }) => operation },
  { title: "CODE", of: ({ bytes }) => formatBytes(bytes), align: "right" },
];

function rateColumns(rates: readonly OperationRates[]): Column<OperationRuns>[] {
  const rateOf = ({ operation }: OperationRuns) => rates.find((one) => one.operation === operation);
  return [
    { title: "RUNS/S", of: (one) => formatCount(Math.round(rateOf(one)?.runsPerSecond ?? 0)), align: "right" },
    {
      title: "NS/RUN",
      of: (one) => {
        const ns = rateOf(one)?.nsPerRun;
        return ns === undefined ? "-" : String(Math.round(ns));
      },
      align: "right",
    },
  ];
}

/** Sockets in the table; --json has all of them. */
const shownUsers = 20;

const mbit = (bytesPerSecond: number): string =>
  Number.isFinite(bytesPerSecond) ? formatMbit((bytesPerSecond * 8) / 1e6) : "-";
const ms = (us: number): string => (us === 0 ? "-" : `${(us / 1000).toFixed(1)} ms`);

function metricsTable(metrics: readonly SubflowMetrics[]): string {
  return formatTable(
    [
      { title: "TOKEN", of: ({ token }) => formatToken(token) },
      { title: "ID", of: ({ id }) => String(id), align: "right" },
      { title: "SUBFLOW", of: endsOf },
      { title: "STRATEGY", of: ({ strategy }) => (strategy === "none" ? "-" : strategy) },
      { title: "STATE", of: ({ caState, backup }) => `${caState}${backup ? ", backup" : ""}` },
      { title: "CWND", of: ({ cwnd }) => String(cwnd), align: "right" },
      { title: "IN FLIGHT", of: ({ inFlight }) => String(inFlight), align: "right" },
      { title: "RTT", of: ({ srttUs }) => ms(srttUs), align: "right" },
      { title: "MIN RTT", of: ({ minRttUs }) => ms(minRttUs), align: "right" },
      { title: "PACING", of: ({ pacingRate }) => mbit(pacingRate), align: "right" },
      { title: "DELIVERY", of: ({ deliveryRate }) => mbit(deliveryRate), align: "right" },
      { title: "DELIVERED", of: ({ delivered }) => formatCount(delivered), align: "right" },
      { title: "LOST", of: ({ lost }) => formatCount(lost), align: "right" },
      { title: "RETR", of: ({ retransmissions }) => formatCount(retransmissions), align: "right" },
    ],
    metrics,
  );
}

/** JSON has no infinity. */
function forJson(metrics: SubflowMetrics) {
  return { ...metrics, maxPacingRate: Number.isFinite(metrics.maxPacingRate) ? metrics.maxPacingRate : null };
}
