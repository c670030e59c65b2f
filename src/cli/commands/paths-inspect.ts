/** `emptcp paths connections`, `emptcp paths events`. */
import type { Command } from "commander";
import { usableAddresses, watchAddresses, type LocalAddress } from "../../linux/addresses.ts";
import { listConnections } from "../../linux/connections.ts";
import { watchPathManager, type MptcpEvent } from "../../linux/mptcp-events.ts";
import { readInteger } from "../arguments.ts";
import { undoAtExit } from "../cleanup.ts";
import { lineOf, mptcpJson, mptcpLine } from "../event-lines.ts";
import { print, printJson, printJsonLine, wantsColour } from "../output.ts";
import { chooseConnection, connectionTable, parseToken } from "../paths-text.ts";

export const netnsOption = ["--netns <namespace>", "of this network namespace, by name or path"] as const;

export function addPathsInspect(paths: Command): void {
  paths
    .command("connections")
    .summary("list connections with their subflows: RTO, windows, rates, priorities")
    .argument("[token]", "of one connection (default: all)")
    .option(...netnsOption)
    .option("--json", "print [{ token, state, serverSide, info, subflows: [{ local, remote, tcp, ... }] }]")
    .addHelpText(
      "after",
      `
Examples:
  sudo emptcp paths connections
  sudo emptcp paths connections 1a2b3c4d --json | jq '.[].subflows[] | { local, rto: .tcp.rtoUs }'`,
    )
    .action((token: string | undefined, { netns, json }: { netns?: string; json?: true }) => {
      const all = listConnections(netns);
      const shown = token === undefined ? all : [chooseConnection(all, parseToken(token))];
      if (process.geteuid?.() !== 0)
        process.stderr.write("emptcp: Run as root to see all subflows: the kernel tells others no tokens\n");
      if (json) return printJson(shown);
      print(shown.length > 0 ? connectionTable(shown, wantsColour(process.stdout)) : "No MPTCP connection");
    });
  paths
    .command("events")
    .summary("show what happens to connections, subflows and addresses, as it happens")
    .description("Shows what the path manager tells, and addresses of this host that come and go, until Ctrl-C.")
    .argument("[token]", "of one connection (default: all, and addresses)")
    .option(...netnsOption)
    .option("--count <number>", "end after so many", readInteger(1))
    .option("--json", "print one object a line: { time, source, event, ... }")
    .addHelpText(
      "after",
      `
Events: created, established, closed, announced, removed, subflow_established, subflow_closed,
subflow_priority, listener_created, listener_closed; address_added, address_removed; overrun,
where the kernel had more to tell than there was room for.

Examples:
  sudo emptcp paths events
  sudo emptcp paths events --netns client --json | jq -c 'select(.event == "subflow_closed")'`,
    )
    .action(eventsCommand);
}

interface EventFlags {
  readonly netns?: string;
  readonly count?: number;
  readonly json?: true;
}

type Told = { readonly line: string; readonly json: object };

const addressEvent = (event: string, { address, interface: name, ...rest }: LocalAddress): Told => ({
  line: lineOf(Date.now(), "address", `${event.padEnd(19)}  ${address}  ${name}`),
  json: { time: new Date().toISOString(), source: "address", event, address, interface: name, ...rest },
});

const overrun = (): Told => ({
  line: lineOf(Date.now(), "mptcp", "overrun              events are missing: there were too many at once"),
  json: { time: new Date().toISOString(), source: "mptcp", event: "overrun" },
});

async function eventsCommand(text: string | undefined, { netns, count = Infinity, json }: EventFlags): Promise<void> {
  const token = text === undefined ? undefined : parseToken(text);
  await new Promise<void>((resolve) => {
    let left = count;
    const open: Disposable[] = [];
    const end = undoAtExit(() => {
      for (const one of open) one[Symbol.dispose]();
    });
    const tell = (told: Told) => {
      if (left === 0) return;
      if (json) printJsonLine(told.json);
      else print(told.line);
      if (--left > 0) return;
      // Not in the middle of a batch that is being read.
      setImmediate(() => {
        end();
        resolve();
      });
    };
    const event = (one: MptcpEvent) => {
      if (token === undefined || one.token === token) tell({ line: mptcpLine(one), json: mptcpJson(one) });
    };
    open.push(watchPathManager({ event, lost: () => tell(overrun()) }, { netns }));
    if (token !== undefined) return;
    let there = false;
    const changed = (what: string) => (address: LocalAddress) => {
      if (there) tell(addressEvent(what, address));
    };
    open.push(watchAddresses({ added: changed("address_added"), removed: changed("address_removed") }, { netns }));
    there = true;
  });
}

/** The kernel takes any address that peers are to be told of, or that subflows are to come from. */
export function tellWhetherLocal(address: string, netns: string | undefined): void {
  if (!usableAddresses(netns).some((one) => one.address === address))
    process.stderr.write(
      `emptcp: ${address} is none of this host's addresses now: nothing comes from it, and peers reach it only where ` +
        "something translates it\n",
    );
}
