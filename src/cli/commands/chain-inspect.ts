/** `emptcp chain list` and `show`. */
import type { Command } from "commander";
import { showSelector } from "../../chain/description.ts";
import type { FlowRecord } from "../../chain/index.ts";
import { byConnection, type ConnectionRecord } from "../../chain/connection-records.ts";
import type { StateContents, TableRecord } from "../../chain/state.ts";
import type { StateOwner } from "../../compiler/layout.ts";
import { listChains, openChain } from "../../chain/chains.ts";
import type { RunningChain } from "../../chain/running.ts";
import { readSeconds } from "../arguments.ts";
import { printRates } from "../chain-rates.ts";
import { describePlaces } from "../chain-text.ts";
import { colours, print, printJson, withProgress } from "../output.ts";
import { formatAge, formatCount, formatTable } from "../table.ts";

export function addInspect(chain: Command): void {
  chain
    .command("list")
    .summary("list the attached chains")
    .description(
      "Lists all attached chains of this machine, whoever attached them, in the order they run where they share a hook.",
    )
    .option("--json", "print [{ name, selector, actors, attachments, seen, matched, ... }]")
    .addHelpText("after", "\nExamples:\n  sudo emptcp chain list\n  sudo emptcp chain list --json | jq -r '.[].name'")
    .action(({ json }: { json?: true }) => {
      const chains = listChains().map(summarize);
      if (json) return printJson(chains);
      if (chains.length === 0) return print("No chain is attached");
      print(
        formatTable(
          [
            { title: "NAME", of: ({ name }) => name },
            { title: "PACKETS", of: ({ selector }) => showSelector(selector) },
            { title: "ACTORS", of: ({ actors }) => actors.map((actor) => actor.name).join(", ") },
            { title: "ATTACHED TO", of: describePlaces },
            { title: "PRIORITY", of: ({ priority }) => String(priority), align: "right" },
            { title: "SINCE", of: ({ submitted }) => formatAge(submitted) },
            { title: "SEEN", of: ({ seen }) => formatCount(seen), align: "right" },
            { title: "MATCHED", of: ({ matched }) => formatCount(matched), align: "right" },
          ],
          chains,
        ),
      );
      for (const { name, fixed } of chains) if (fixed !== undefined) print(`${name} cannot be changed: ${fixed}`);
    });

  chain
    .command("show")
    .summary("show what a chain does")
    .description(
      "Shows a chain's selectors and actors with their counters, its parameters, and what it keeps of each flow.",
    )
    .argument("<name>", "a chain")
    .option(
      "--rates [seconds]",
      "measure for that long (1): packets per second, and what the programs cost",
      readSeconds,
    )
    .option("--json", "print { name, counters, actors: [{ name, params }], sets, state, rates, ... }")
    .addHelpText(
      "after",
      `
Examples:
  sudo emptcp chain show phones
  sudo emptcp chain show phones --rates 5
  sudo emptcp chain show phones --json | jq .counters

While --rates measures, the kernel times every eBPF program of this machine, at about 30 ns a run. It times programs, not
the policies that were fused into one.`,
    )
    .action(async (name: string, { json, rates: seconds }: { json?: true; rates?: number | true }) => {
      const running = openChain(name);
      const rates =
        seconds === undefined
          ? undefined
          : await withProgress("measuring …", async () => await running.rates(seconds === true ? 1 : seconds));
      const details = { ...inspect(running), ...(rates && { rates }) };
      if (json) return printJson(details);
      printDetails(details);
      if (rates) printRates(rates);
    });
}

function summarize(running: RunningChain) {
  const { name, selector, actors, netns, options, submitted, fixed } = running.description;
  const { seen, matched } = running.counters();
  const { priority = 0 } = options;
  const attachments = running.attachments();
  return { name, selector, actors, attachments, netns, priority, submitted, seen, matched, ...(fixed && { fixed }) };
}

interface StateTable extends StateContents {
  /** The policies that use it, ` + ` between them. */
  readonly actor: string;
  readonly name: string;
}

function inspect(running: RunningChain) {
  const { name, selector, actors, netns, submitted, mode = "fused" } = running.description;
  const attachments = running.attachments();
  const params = running.params();
  const counters = running.counters();
  const nameOf = ({ kind, index }: StateOwner): string => (kind === "actor" ? actors : counters.selectors)[index].name;
  const state = running.state().map(({ slot, ...contents }): StateTable => {
    const users = [...new Set(slot.owners.map(nameOf))].join(" + ");
    return { actor: users, name: slot.name, ...contents };
  });
  return {
    name,
    selector,
    attachments,
    netns,
    submitted,
    mode,
    actors: actors.map((actor, i) => ({
      ...actor,
      params: params[i],
    })),
    counters,
    sets: running.description.layout.sets.map(({ name: set, selector: of, maxEntries }) => ({
      name: set,
      selector: of,
      members: running.members(set).count(),
      max: maxEntries,
    })),
    state,
  };
}

function printDetails(details: ReturnType<typeof inspect>): void {
  const { name, selector, actors, counters, sets, state, submitted, mode } = details;
  print(`${colours.bold(name)}  attached to ${describePlaces(details)}, ${mode}, ${formatAge(submitted)}`);
  print(
    `Packets: ${showSelector(selector)}; seen ${formatCount(counters.seen)}, matched ${formatCount(counters.matched)}\n`,
  );
  if (counters.selectors.length > 0)
    print(
      `${formatTable(
        [
          { title: "SELECTOR", of: (row) => row.name },
          { title: "SEEN", of: ({ seen }) => formatCount(seen), align: "right" },
          { title: "MATCHED", of: ({ matched }) => formatCount(matched), align: "right" },
        ],
        counters.selectors,
      )}\n`,
    );
  print(
    formatTable(
      [
        { title: "ACTOR", of: ({ actor }) => (actor.disabled ? `${actor.name} [disabled]` : actor.name) },
        { title: "SEEN", of: ({ counted }) => formatCount(counted.seen), align: "right" },
        { title: "ACTED", of: ({ counted }) => formatCount(counted.acted), align: "right" },
        { title: "COULD NOT", of: ({ counted }) => describeReasons(counted.cannot) },
        { title: "PARAMETERS", of: ({ actor }) => describeFields(actor.params) || "-" },
      ],
      actors.map((actor, i) => ({ actor, counted: counters.actors[i] })),
    ),
  );
  for (const { name: actor, note } of actors) if (note !== undefined) print(`${actor}: ${note}`);
  for (const set of sets)
    print(
      `Set ${set.name} (${set.selector}): ${formatCount(set.members)} of at most ${formatCount(set.max)} members; ` +
        `emptcp chain members ${name} ${set.name} lists them`,
    );
  for (const table of state) printState(table);
}

function describeReasons(cannot: Readonly<Record<string, number>>): string {
  const reasons = Object.entries(cannot).filter(([, count]) => count > 0);
  return reasons.map(([reason, count]) => `${formatCount(count)} ${reason}`).join(", ") || "-";
}

function describeFields(fields: Readonly<Record<string, string | number>>): string {
  return Object.entries(fields)
    .map(([key, value]) => `${key}=${value}`)
    .join(" ");
}

const mostRows = 40;

function endpoint(address: string, port: number): string {
  return `${address.includes(":") ? `[${address}]` : address}:${port}`;
}

/** Fields that are not 0 in every record: the others tell nothing. */
function told(records: readonly { readonly fields: Readonly<Record<string, number>> }[]): string[] {
  return Object.keys(records[0].fields).filter((field) => records.some(({ fields }) => fields[field] !== 0));
}

function printConnections(records: readonly ConnectionRecord[]): void {
  if (records.length === 0) return;
  const shown = records.map((fields) => ({ fields: { ...fields } as Record<string, number> }));
  print(`\n${formatCount(records.length)} ${records.length === 1 ? "connection" : "connections"}`);
  print(
    formatTable(
      told(shown).map((field) => ({
        title: field,
        of: ({ fields }: (typeof shown)[number]) =>
          field.startsWith("token") ? hex(fields[field]) : String(fields[field]),
        align: "right" as const,
      })),
      shown.slice(0, mostRows),
    ),
  );
}

const hex = (token: number): string => token.toString(16).padStart(8, "0");

function printState({ actor, name, flows, table, slots, shared, perCpu }: StateTable): void {
  const single = shared ?? perCpu;
  if (single) print(`\n${actor}, ${name}: ${describeFields(single)}`);
  const records = table ?? slots;
  if (records) printTable(actor, name, records);
  if (!flows) return;
  print(`\n${actor}, ${name}: ${formatCount(flows.length)} ${flows.length === 1 ? "flow" : "flows"}`);
  if (flows.length === 0) return;
  print(
    formatTable<FlowRecord>(
      [
        { title: "LOCAL", of: ({ local, localPort }) => endpoint(local, localPort) },
        { title: "REMOTE", of: ({ remote, remotePort }) => endpoint(remote, remotePort) },
        ...told(flows).map((field) => ({
          title: field,
          of: ({ fields }: FlowRecord) => String(fields[field]),
          align: "right" as const,
        })),
      ],
      flows.slice(0, mostRows),
    ),
  );
  if (flows.length > mostRows) print(`… and ${formatCount(flows.length - mostRows)} more; --json has all of them`);
  printConnections(byConnection(flows));
}

function printTable(actor: string, name: string, records: readonly TableRecord[]): void {
  print(`\n${actor}, ${name}: ${formatCount(records.length)} ${records.length === 1 ? "record" : "records"}`);
  if (records.length === 0) return;
  print(
    formatTable<TableRecord>(
      [
        { title: "KEY", of: ({ key }) => String(key), align: "right" },
        ...told(records).map((field) => ({
          title: field,
          of: ({ fields }: TableRecord) => String(fields[field]),
          align: "right" as const,
        })),
      ],
      records.slice(0, mostRows),
    ),
  );
  if (records.length > mostRows) print(`… and ${formatCount(records.length - mostRows)} more; --json has all of them`);
}
