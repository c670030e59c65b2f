/** `emptcp paths announce`, `emptcp paths withdraw`: addresses of this host that peers are told of, by hand. */
import type { Command } from "commander";
import type { ConnectionState } from "../../linux/connections.ts";
import { interfaceIndex } from "../../linux/interfaces.ts";
import { withNetns } from "../../linux/netns.ts";
import type { Endpoint, PathManager } from "../../linux/path-manager.ts";
import { readInteger } from "../arguments.ts";
import { CommandError, UsageError } from "../errors.ts";
import { print, printJson } from "../output.ts";
import { readAddress } from "../paths-text.ts";
import { formatEnd, formatToken } from "../watch/render.ts";
import { netnsOption, tellWhetherLocal } from "./paths-inspect.ts";
import { chooseId, knownAddresses, openConnection } from "./paths-subflow.ts";

interface Flags {
  readonly netns?: string;
  readonly json?: true;
}

interface AnnounceFlags extends Flags {
  readonly id?: number;
  readonly port?: number;
  readonly interface?: string;
}

const whose =
  "of a connection whose paths user space manages, that is, which was opened while sysctl\n" +
  "net.mptcp.path_manager was userspace. TOKEN names it, as emptcp paths connections shows it.";

export function addPathsAddresses(paths: Command): void {
  paths
    .command("announce")
    .summary("tell a connection's peer of an address of this host")
    .description(`Tells the peer of an address that it may open subflows to, ${whose}`)
    .argument("<token>", "of the connection")
    .argument("<address>", "IPv4 or IPv6")
    .option("--port <number>", "where something listens there (default: the connection's)", readInteger(1, 65535))
    .option("--id <number>", "its id (default: the one it has in the connection, or a free one)", readInteger(1, 255))
    .option("--interface <name>", "that it is on")
    .option(...netnsOption)
    .option("--json", "print { token, address, id, port }")
    .addHelpText(
      "after",
      `
That it was sent is all that is told here: whether the peer uses the address is its own decision.

Examples:
  sudo emptcp paths announce 1a2b3c4d 10.0.2.1
  sudo emptcp paths announce 1a2b3c4d 2001:db8::1 --port 8443`,
    )
    .action(announceCommand);
  paths
    .command("withdraw")
    .summary("take an address back that a connection's peer was told of")
    .description(`Takes an address back, and both sides close the subflows that use it, ${whose}`)
    .argument("<token>", "of the connection")
    .argument("<address>", "or its id, which announcing it showed")
    .option(...netnsOption)
    .option("--json", "print { token, id }")
    .addHelpText(
      "after",
      "\nExamples:\n  sudo emptcp paths withdraw 1a2b3c4d 10.0.2.1\n  sudo emptcp paths withdraw 1a2b3c4d 3",
    )
    .action(withdrawCommand);
}

function announceCommand(text: string, address: string, flags: AnnounceFlags): void {
  const { netns, json, port, interface: device } = flags;
  const announced = { address: readAddress(address), ...(port !== undefined && { port }) };
  const [connection, manager] = openConnection(text, netns);
  using _closed = manager;
  const { token } = connection;
  const id = flags.id ?? chooseId(connection, knownAddresses(manager, token), announced, 1);
  manager.announce({
    token,
    id,
    ...announced,
    ...(device !== undefined && { interfaceIndex: withNetns(netns, () => interfaceIndex(device)) }),
  });
  tellWhetherLocal(announced.address, netns);
  if (json) return printJson({ token, id, ...announced });
  print(`${port === undefined ? announced.address : formatEnd({ ...announced, port })}: announced, id ${id}`);
}

function withdrawCommand(text: string, which: string, { netns, json }: Flags): void {
  const [connection, manager] = openConnection(text, netns);
  using _closed = manager;
  const { token } = connection;
  const id = idOf(connection, manager, which);
  manager.withdraw({ token, id });
  if (json) return printJson({ token, id });
  print(`${which}: withdrawn${which === String(id) ? "" : `, id ${id}`}`);
}

/** @throws CommandError, UsageError */
function idOf(connection: ConnectionState, manager: PathManager, which: string): number {
  if (/^\d+$/.test(which)) {
    if (Number(which) <= 255) return Number(which);
    throw new UsageError(`Cannot withdraw address ${which}: ids go from 0 to 255`);
  }
  const address = readAddress(which);
  const known = knownAddresses(manager, connection.token);
  const found = known.filter((one) => one.address === address);
  if (found.length === 1) return found[0].id;
  const those = known.map((one) => `${one.id} (${describe(one)})`).join(", ");
  throw new CommandError(
    found.length > 1
      ? `Address ${which} has several ids in connection ${formatToken(connection.token)}; give one: ${those}`
      : `Connection ${formatToken(connection.token)} does not use address ${which}; it knows ${those || "none"}`,
  );
}

const describe = ({ address, port }: Endpoint): string => (port === undefined ? address : formatEnd({ address, port }));
