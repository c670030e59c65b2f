/** `emptcp paths endpoints …`: the addresses and limits of the kernel's own path manager. */
import { Argument, type Command } from "commander";
import { interfaceIndex } from "../../linux/interfaces.ts";
import { withNetns } from "../../linux/netns.ts";
import { activePathManager, PathManager, type Endpoint, type EndpointFlag } from "../../linux/path-manager.ts";
import { readInteger } from "../arguments.ts";
import { CommandError, UsageError } from "../errors.ts";
import { print, printJson } from "../output.ts";
import { readAddress } from "../paths-text.ts";
import { formatTable } from "../table.ts";
import { netnsOption, tellWhetherLocal } from "./paths-inspect.ts";

interface Flags {
  readonly netns?: string;
  readonly json?: true;
}

interface AddFlags extends Flags {
  readonly id?: number;
  readonly port?: number;
  readonly interface?: string;
}

interface LimitFlags extends Flags {
  readonly subflows?: number;
  readonly acceptedAddresses?: number;
}

const flagNames = ["subflow", "signal", "backup", "fullmesh", "laminar"] as const satisfies readonly EndpointFlag[];

const open = (netns: string | undefined) => new PathManager({ ...(netns !== undefined && { netns }) });

export function addPathsEndpoints(paths: Command): void {
  const endpoints = paths
    .command("endpoints")
    .summary("list, add, change and remove endpoints of the kernel's path manager, and its limits")
    .description(
      "Endpoints: addresses from which the kernel's own path manager opens subflows, or which it announces to peers.\n" +
        "They count for connections that are opened while sysctl net.mptcp.path_manager is kernel.",
    );
  endpoints
    .command("list", { isDefault: true })
    .summary("list them")
    .option(...netnsOption)
    .option("--json", "print [{ id, address, port, flags, interfaceIndex }]")
    .action(({ netns, json }: Flags) => {
      using manager = open(netns);
      list(manager.endpoints(), json);
      tellWhoManages(netns);
    });
  endpoints
    .command("add")
    .summary("add one; connections that are open use it, too")
    .argument("<address>", "of this host")
    .addArgument(new Argument("<flags...>", "what it is for").choices(flagNames))
    .option("--id <number>", "its id (default: the kernel chooses)", readInteger(1, 255))
    .option("--port <number>", "with signal: where the kernel listens for subflows", readInteger(1, 65535))
    .option("--interface <name>", "leave through this interface")
    .option(...netnsOption)
    .option("--json", "print all endpoints, as list does")
    .addHelpText(
      "after",
      `
  subflow   open subflows from it        backup    those only for when no other is left
  signal    announce it to peers         fullmesh  to each address of the peer
  laminar   from it to addresses that the peer announces (Linux 6.18)

Examples:
  sudo emptcp paths endpoints add 10.0.2.1 subflow backup
  sudo emptcp paths endpoints add 10.0.2.1 signal --port 8443`,
    )
    .action((text: string, flags: EndpointFlag[], { netns, json, id, port, interface: device }: AddFlags) => {
      const address = readAddress(text);
      using manager = open(netns);
      manager.addEndpoint({
        address,
        flags,
        ...(id !== undefined && { id }),
        ...(port !== undefined && { port }),
        ...(device !== undefined && { interfaceIndex: withNetns(netns, () => interfaceIndex(device)) }),
      });
      list(manager.endpoints(), json);
      tellWhetherLocal(address, netns);
      tellWhoManages(netns);
    });
  endpoints
    .command("flags")
    .summary("change whether one is a backup, or fullmesh")
    .argument("<endpoint>", "its id or address")
    .addArgument(new Argument("[flags...]", "what it is from now on; none: neither").choices(["backup", "fullmesh"]))
    .option(...netnsOption)
    .option("--json", "print all endpoints, as list does")
    .action((text: string, flags: EndpointFlag[], { netns, json }: Flags) => {
      using manager = open(netns);
      manager.setFlags(choose(manager.endpoints(), text).id, flags);
      list(manager.endpoints(), json);
    });
  endpoints
    .command("remove")
    .summary("remove endpoints, and their subflows")
    .argument("[endpoints...]", "ids or addresses")
    .option("--all", "all of them")
    .option(...netnsOption)
    .option("--json", "print the endpoints that are left, as list does")
    .action((texts: string[], { netns, json, all }: Flags & { all?: true }) => {
      if ((texts.length === 0) === (all === undefined))
        throw new UsageError("Cannot remove endpoints: name some by id or address, or give --all");
      using manager = open(netns);
      if (all) manager.flushEndpoints();
      const there = manager.endpoints();
      for (const { id } of texts.map((text) => choose(there, text))) manager.removeEndpoint(id);
      list(manager.endpoints(), json);
    });
  endpoints
    .command("limits")
    .summary("show or set how many subflows and announced addresses a connection may use")
    .option("--subflows <number>", "besides the first", readInteger(0, 255))
    .option("--accepted-addresses <number>", "that the peer announced", readInteger(0, 255))
    .option(...netnsOption)
    .option("--json", "print { subflows, acceptedAddresses }")
    .action(({ netns, json, subflows, acceptedAddresses }: LimitFlags) => {
      using manager = open(netns);
      if (subflows !== undefined || acceptedAddresses !== undefined)
        manager.setLimits({
          ...(subflows !== undefined && { subflows }),
          ...(acceptedAddresses !== undefined && { acceptedAddresses }),
        });
      const limits = manager.limits();
      if (json) return printJson(limits);
      print(`subflows ${limits.subflows}, accepted addresses ${limits.acceptedAddresses}`);
    });
}

/** @throws CommandError, UsageError */
function choose(endpoints: readonly Endpoint[], text: string): Endpoint {
  const wanted = /^\d+$/.test(text) ? Number(text) : readAddress(text);
  const found = endpoints.filter(({ id, address }) => id === wanted || address === wanted);
  if (found.length === 1) return found[0];
  const ids = endpoints.map(({ id, address }) => `${id} (${address})`).join(", ");
  throw new CommandError(
    found.length > 1
      ? `Address ${text} is that of several endpoints; give an id`
      : `There is no endpoint ${text}; there are ${ids || "none"}`,
  );
}

function list(endpoints: readonly Endpoint[], json: true | undefined): void {
  if (json) return printJson(endpoints);
  if (endpoints.length === 0) return print("No endpoint");
  print(
    formatTable<Endpoint>(
      [
        { title: "ID", of: ({ id }) => String(id), align: "right" },
        { title: "ADDRESS", of: ({ address }) => address },
        { title: "PORT", of: ({ port }) => (port === undefined ? "" : String(port)) },
        { title: "FLAGS", of: ({ flags }) => flags.join(" ") },
      ],
      endpoints,
    ),
  );
}

function tellWhoManages(netns: string | undefined): void {
  const active = activePathManager(netns);
  if (active !== "kernel")
    process.stderr.write(
      `emptcp: New connections do not use endpoints: sysctl net.mptcp.path_manager is ${active}, not kernel\n`,
    );
}
