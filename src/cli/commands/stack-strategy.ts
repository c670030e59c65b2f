/** `emptcp stack strategy …`: what connections and subflows under congestion control emptcp are told to do. */
import type { Command } from "commander";
import {
  Strategies,
  strategyKinds,
  type Strategy,
  type StrategyRecord,
  type StrategyTarget,
} from "../../instack/strategies.ts";
import { readRate } from "../../policy/types.ts";
import { UsageError } from "../errors.ts";
import { parseFlow } from "../flow-filter.ts";
import { print, printJson } from "../output.ts";
import { formatBytes, formatCount, formatEndpoint, formatMbit, formatTable } from "../table.ts";
import { formatToken } from "../watch/render.ts";

export function addStrategy(stack: Command): void {
  const strategy = stack
    .command("strategy")
    .summary("list, set and remove strategies of connections and subflows")
    .description(
      "Strategies: what congestion control emptcp does for a connection, or for one of its subflows, which goes first.\n" +
        "TARGET is a connection's token as emptcp watch shows it, or a subflow's ends on this host and the peer's,\n" +
        "for example 10.0.1.1:40000,10.0.9.1:443.",
    );
  strategy
    .command("list")
    .summary("list the strategies that are set")
    .option("--json", "print [{ target, strategy }]")
    .action(({ json }: { json?: true }) => {
      using strategies = new Strategies();
      const found = strategies.list();
      if (json) return printJson(found);
      if (found.length === 0) return print("No strategy is set");
      print(
        formatTable<StrategyRecord>(
          [
            { title: "TARGET", of: ({ target }) => describeTarget(target) },
            { title: "STRATEGY", of: ({ strategy: { kind } }) => kind },
            { title: "", of: (one) => describeAmount(one.strategy) },
          ],
          found,
        ),
      );
    });
  strategy
    .command("set")
    .summary("set a strategy")
    .description(
      "Sets the strategy of a connection or a subflow, in the place of the one it has. It holds from its next ACK on.\n\n" +
        "  window BYTES     no more than that under way, e.g. 64kB\n" +
        "  rate RATE        paced to that, e.g. 20mbit\n" +
        "  weight N         a share of its connection as large as N is among the weights of its subflows\n" +
        "  coupled NAME     lia, olia, balia or wvegas lets the window grow\n" +
        "  credit N         sends up to the byte that N says, see the README of policies/\n" +
        "  none             what the base does",
    )
    .argument("<target>", "a token, or LOCAL:PORT,REMOTE:PORT")
    .argument("<kind>", strategyKinds.join(", "))
    .argument("[amount]", "how much, as the kind says")
    .option("--json", "print { target, strategy }")
    .addHelpText(
      "after",
      `
Examples:
  sudo emptcp stack strategy set 1a2b3c4d coupled lia
  sudo emptcp stack strategy set 10.0.1.1:40000,10.0.9.1:443 rate 20mbit
  sudo emptcp stack strategy set [2001:db8::1]:40000,[2001:db8::2]:443 weight 70`,
    )
    .action((text: string, kind: string, amount: string | undefined, { json }: { json?: true }) => {
      const target = parseTarget(text);
      const wanted = parseStrategy(kind, amount);
      using strategies = new Strategies();
      strategies.set(target, wanted);
      if (json) return printJson({ target, strategy: wanted });
      print(`${describeTarget(target)}: ${[wanted.kind, describeAmount(wanted)].join(" ").trim()}`);
    });
  strategy
    .command("remove")
    .summary("take strategies back")
    .argument("<target...>", "tokens, or LOCAL:PORT,REMOTE:PORT")
    .option("--json", "print { removed: [targets], missing: [targets] }")
    .action((texts: string[], { json }: { json?: true }) => {
      const targets = texts.map(parseTarget);
      using strategies = new Strategies();
      const removed = targets.filter((target) => strategies.remove(target));
      const missing = targets.filter((target) => !removed.includes(target));
      if (json) return printJson({ removed, missing });
      for (const target of removed) print(`${describeTarget(target)}: none`);
      for (const target of missing) print(`${describeTarget(target)} had no strategy`);
    });
}

/** @throws UsageError */
export function parseTarget(text: string): StrategyTarget {
  if (/^(0x)?[0-9a-f]{1,8}$/i.test(text)) return { token: Number.parseInt(text.replace(/^0x/i, ""), 16) };
  const [local, remote] = parseFlow(text) ?? [];
  if (
    local?.address === undefined ||
    local.port === undefined ||
    remote?.address === undefined ||
    remote.port === undefined
  )
    throw new UsageError(
      `Cannot tell whom ${text} means: give a connection's token, for example 1a2b3c4d, ` +
        "or a subflow's ends, for example 10.0.1.1:40000,10.0.9.1:443",
    );
  return {
    local: { address: local.address, port: local.port },
    remote: { address: remote.address, port: remote.port },
  };
}

const byteUnits: Readonly<Record<string, number>> = {
  "": 1,
  b: 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  kib: 1024,
  mib: 1024 ** 2,
};

/** `65536`, `64kB`, `1.5MiB`; undefined when it is none of them. */
function parseBytes(text: string): number | undefined {
  const [, digits, unit = ""] = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/i.exec(text) ?? [];
  const factor = byteUnits[unit.toLowerCase()];
  return digits === undefined || factor === undefined ? undefined : Math.round(Number(digits) * factor);
}

/** @throws UsageError */
export function parseStrategy(kind: string, amount: string | undefined): Strategy {
  const wrong = (expects: string): never => {
    throw new UsageError(
      `Cannot set strategy ${kind}${amount === undefined ? "" : ` ${amount}`}: give ${expects}; see emptcp stack strategy set --help`,
    );
  };
  const integer = (): number => (amount !== undefined && /^\d+$/.test(amount) ? Number(amount) : wrong("an integer"));
  switch (kind) {
    case "none":
      return amount === undefined ? { kind } : wrong("no amount");
    case "window":
      return { kind, windowBytes: parseBytes(amount ?? "") ?? wrong("bytes, for example 64kB") };
    case "rate":
      return { kind, rateBytesPerSecond: Number(readRate(amount) ?? wrong("a rate, for example 20mbit")) };
    case "credit":
      return { kind, creditBytes: integer() };
    case "weight":
      return { kind, weight: integer() };
    case "coupled":
      return { kind, algorithm: (amount ?? wrong("an algorithm, for example lia")) as "lia" };
    default:
      return wrong(`one of ${strategyKinds.join(", ")}`);
  }
}

function describeTarget(target: StrategyTarget): string {
  if ("token" in target) return formatToken(target.token);
  const { local, remote } = target;
  return `${formatEndpoint(local.address, local.port)},${formatEndpoint(remote.address, remote.port)}`;
}

function describeAmount(strategy: Strategy): string {
  switch (strategy.kind) {
    case "none":
      return "";
    case "window":
      return formatBytes(strategy.windowBytes);
    case "rate":
      return formatMbit((strategy.rateBytesPerSecond * 8) / 1e6);
    case "credit":
      return formatCount(strategy.creditBytes);
    case "weight":
      return String(strategy.weight);
    case "coupled":
      return strategy.algorithm;
  }
}
