/** `emptcp paths subflow …`: subflows of single connections, by hand. */
import type { Command } from "commander";
import { ConnectionReader, listConnections, type ConnectionState } from "../../linux/connections.ts";
import { interfaceIndex } from "../../linux/interfaces.ts";
import { watchPathManager, type MptcpEvent } from "../../linux/mptcp-events.ts";
import { withNetns } from "../../linux/netns.ts";
import { PathManager, PathManagerError, type CreateSubflowOptions, type Endpoint } from "../../linux/path-manager.ts";
import { readInteger } from "../arguments.ts";
import { undoAtExit } from "../cleanup.ts";
import { CommandError, UsageError } from "../errors.ts";
import { print, printJson } from "../output.ts";
import { chooseConnection, chooseSubflow, describeEnds, parseEnds, parseToken } from "../paths-text.ts";
import { formatEnd, formatToken } from "../watch/render.ts";
import { netnsOption } from "./paths-inspect.ts";

interface Flags {
  readonly netns?: string;
  readonly json?: true;
}

interface AddFlags extends Flags {
  readonly id?: number;
  readonly interface?: string;
  readonly backup?: true;
}

const answerTimeoutMs = 5000;
const pollMs = 20;

export function addPathsSubflow(paths: Command): void {
  const subflow = paths
    .command("subflow")
    .summary("add, remove and prioritise subflows of a connection")
    .description(
      "Adds, removes and prioritises subflows of a connection whose paths user space manages, that is, which was opened\n" +
        "while sysctl net.mptcp.path_manager was userspace.\n" +
        "TOKEN names the connection, as emptcp paths connections shows it; ENDS are LOCAL[:PORT][,REMOTE[:PORT]], as much of\n" +
        "it as tells the subflow from the others.",
    );
  subflow
    .command("add")
    .summary("open a subflow, and wait until it is established or has failed")
    .argument("<token>", "of the connection")
    .argument("<ends>", "LOCAL[:PORT][,REMOTE[:PORT]]; the remote end is that of the first subflow unless it is given")
    .option(
      "--id <number>",
      "the local address's id (default: the one it has in the connection, or a free one)",
      readInteger(0, 255),
    )
    .option("--interface <name>", "leave through this interface")
    .option("--backup", "to be used only when no other is left")
    .option(...netnsOption)
    .option("--json", "print the event: { kind, token, local, remote, localId, ... }")
    .addHelpText(
      "after",
      `
Examples:
  sudo emptcp paths subflow add 1a2b3c4d 10.0.2.1
  sudo emptcp paths subflow add 1a2b3c4d 10.0.2.1:5000,10.0.9.1:443 --backup`,
    )
    .action(addCommand);
  subflow
    .command("remove")
    .summary("close a subflow")
    .argument("<token>", "of the connection")
    .argument("<ends>", "of the subflow")
    .option(...netnsOption)
    .option("--json", "print { removed: { local, remote } }")
    .addHelpText("after", "\nExamples:\n  sudo emptcp paths subflow remove 1a2b3c4d 10.0.2.1")
    .action((token: string, ends: string, { netns, json }: Flags) => {
      const [connection, manager] = openConnection(token, netns);
      using _closed = manager;
      const { local, remote } = chooseSubflow(connection, ends);
      manager.destroySubflow({ token: connection.token, local, remote });
      if (json) return printJson({ removed: { local, remote } });
      print(`${describeEnds({ local, remote })}: removed`);
    });
  subflow
    .command("backup")
    .summary("use a subflow only when no other is left, or as any other again; both sides do so")
    .argument("<token>", "of the connection")
    .argument("<ends>", "of the subflow")
    .argument("[state]", "on, off", "on")
    .option(...netnsOption)
    .option("--json", "print { local, remote, backup }")
    .addHelpText("after", "\nExamples:\n  sudo emptcp paths subflow backup 1a2b3c4d 10.0.2.1 off")
    .action((token: string, ends: string, state: string, { netns, json }: Flags) => {
      if (state !== "on" && state !== "off") throw new UsageError(`Cannot make a backup ${state}: give on or off`);
      const [connection, manager] = openConnection(token, netns);
      using _closed = manager;
      const { local, remote } = chooseSubflow(connection, ends);
      const backup = state === "on";
      manager.setBackup({ token: connection.token, local, remote, backup });
      if (json) return printJson({ local, remote, backup });
      print(`${describeEnds({ local, remote })}: ${backup ? "backup" : "normal"}`);
    });
}

/** The manager is the caller's to close. @throws CommandError, UsageError */
export function openConnection(text: string, netns: string | undefined): [ConnectionState, PathManager] {
  const token = parseToken(text);
  const connections = listConnections(netns);
  if (process.geteuid?.() !== 0 && !connections.some((one) => one.token === token))
    throw new CommandError(`Cannot tell which connection ${text} is: run as root; the kernel tells others no tokens`);
  const connection = chooseConnection(connections, token);
  return [connection, new PathManager({ ...(netns !== undefined && { netns }) })];
}

/**
 * The id that a local address has in a connection, or may take. With a port it counts as an address of its own. To be
 * announced, an address needs another id than 0, which is `least` then.
 */
export function chooseId(
  { local, subflows }: Pick<ConnectionState, "local" | "subflows">,
  known: readonly { id: number; address: string; port?: number }[],
  { address, port }: { address: string; port?: number | undefined },
  least: 0 | 1 = 0,
): number {
  const same = known.find((one) => one.address === address && one.port === port);
  if (same && same.id >= least) return same.id;
  if (port === undefined && address === local.address && least === 0) return 0;
  const taken = new Set([...known.map(({ id }) => id), ...subflows.map(({ localId }) => localId)]);
  for (let id = 1; id < 256; id++) if (!taken.has(id)) return id;
  throw new CommandError("Cannot add a subflow: the connection has used all 255 address ids");
}

/** None before Linux 6.10, which does not tell: then ids of addresses without subflows are not known. */
export function knownAddresses(manager: PathManager, token: number): Endpoint[] {
  try {
    return manager.addressesOf(token);
  } catch (error) {
    if (error instanceof PathManagerError && error.kind === "unsupported") return [];
    throw error;
  }
}

async function addCommand(text: string, ends: string, flags: AddFlags): Promise<void> {
  const { netns, json, backup = false } = flags;
  const [from, to] = parseEnds(ends);
  const { address, port } = from;
  if (address === undefined) throw new UsageError(`Cannot add a subflow from ${ends}: give its local address`);
  const [connection, manager] = openConnection(text, netns);
  using _closed = manager;
  const { token } = connection;
  const device = flags.interface;
  const options: CreateSubflowOptions = {
    token,
    local: {
      address,
      ...(port !== undefined && { port }),
      id: flags.id ?? chooseId(connection, knownAddresses(manager, token), { address, port }),
      ...(device !== undefined && { interfaceIndex: withNetns(netns, () => interfaceIndex(device)) }),
    },
    remote: { address: to?.address ?? connection.remote.address, port: to?.port ?? connection.remote.port },
    backup,
  };
  const event = await answerTo(options, netns, () => manager.createSubflow(options));
  const where = `${formatEnd(event.local ?? { address, port: port ?? 0 })} > ${formatEnd(options.remote)}`;
  if (event.kind !== "subflow_established")
    throw new CommandError(
      `The subflow ${where} of connection ${formatToken(token)} was not established: ${event.errorName ?? "the peer closed it; it may have reached its limit of subflows"}`,
    );
  if (json) return printJson(event);
  print(`${where}: established, ids ${event.localId ?? 0}/${event.remoteId ?? 0}${backup ? ", backup" : ""}`);
}

/** Whether an event is about the subflow that was asked for. */
function answers({ kind, ...event }: MptcpEvent, { token, local, remote }: CreateSubflowOptions): boolean {
  return (
    (kind === "subflow_established" || kind === "subflow_closed") &&
    event.token === token &&
    event.localId === local.id &&
    event.local?.address === local.address &&
    event.remote?.address === remote.address &&
    event.remote.port === remote.port
  );
}

/**
 * What becomes of a subflow that `create` asks for: established, or closed. A peer that does not want it answers its SYN all
 * the same, and resets it afterwards, so it counts when the peer has acknowledged the whole handshake.
 * @throws CommandError when nothing is heard of it, what `create` throws
 */
async function answerTo(
  options: CreateSubflowOptions,
  netns: string | undefined,
  create: () => void,
): Promise<MptcpEvent> {
  return await new Promise<MptcpEvent>((resolve, reject) => {
    const sockets = new ConnectionReader({ netns });
    let established: MptcpEvent | undefined;
    const settle = (event: MptcpEvent) => {
      end();
      resolve(event);
    };
    const check = () => {
      if (!established?.local) return;
      const subflow = sockets.subflow(established.local, options.remote, established.interfaceIndex);
      if (subflow?.fullyEstablished) settle(established);
    };
    const event = (one: MptcpEvent) => {
      if (!answers(one, options)) return;
      if (one.kind === "subflow_closed") return settle(one);
      established = one;
      check();
    };
    const reader = watchPathManager({ event }, { netns });
    const poll = setInterval(check, pollMs);
    const timer = setTimeout(() => {
      end();
      const seconds = answerTimeoutMs / 1000;
      reject(
        new CommandError(`The peer has not answered within ${seconds} s; emptcp paths events tells what comes of it`),
      );
    }, answerTimeoutMs);
    const end = undoAtExit(() => {
      clearTimeout(timer);
      clearInterval(poll);
      reader.close();
      sockets.close();
    });
    try {
      create();
    } catch (error) {
      end();
      reject(error);
    }
  });
}
