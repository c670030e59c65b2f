/**
 * Commands to the kernel's MPTCP path manager: subflows and addresses of single connections, where the path manager is in
 * user space (sysctl net.mptcp.path_manager=userspace), and the endpoints and limits of the kernel's own.
 */
import { errnos, SystemCallError } from "./ffi.ts";
import { CommandSocket, type GenericCommand } from "./generic-netlink.ts";
import type { Attributes } from "./netlink.ts";
import type { NetworkNamespace } from "./netns.ts";
import { explainPathManager, PathManagerError } from "./path-manager-errors.ts";
import {
  decodeFlags,
  encodeFlags,
  pathManagerFamily,
  type EndpointFlag,
  type PathManagerCommandName,
} from "./path-manager-table.ts";
import { hasErrno } from "./socket-calls.ts";
import { addressBytes, addressText, AF_INET, AF_INET6, familyOf, type SocketAddress } from "./sockaddr.ts";

export { activePathManager, PathManagerError, type RefusalKind } from "./path-manager-errors.ts";
export type { EndpointFlag } from "./path-manager-table.ts";

type AddressAttributes = Attributes<(typeof pathManagerFamily)["commands"]["addEndpoint"]["attributes"]["address"][1]>;

/** An address of the kernel's path manager, or of a connection. */
export type Endpoint = {
  /** 1 to 255; 0 stands for the address of a connection's first subflow. */
  readonly id: number;
  readonly address: string;
  /** Where the kernel listens for subflows; absent: at the port of the connection. */
  readonly port?: number;
  readonly flags: readonly EndpointFlag[];
  readonly interfaceIndex?: number;
};

export type EndpointOptions = {
  readonly address: string;
  /** The kernel chooses one when it is absent. */
  readonly id?: number;
  readonly port?: number;
  readonly flags: readonly EndpointFlag[];
  readonly interfaceIndex?: number;
};

/** Of each connection: peers' addresses that are used without being told to, and subflows besides the first. */
export type PathLimits = { readonly acceptedAddresses: number; readonly subflows: number };

export type AnnounceOptions = {
  readonly token: number;
  readonly address: string;
  /** 1 to 255. */
  readonly id: number;
  /** Of a listener; absent: that of the connection. */
  readonly port?: number;
  readonly interfaceIndex?: number;
};

export type WithdrawOptions = { readonly token: number; readonly id: number };

export type CreateSubflowOptions = {
  readonly token: number;
  readonly local: {
    readonly address: string;
    /** Absent: the kernel chooses one. With one, the address counts as another, and needs an id of its own. */
    readonly port?: number;
    /** Of the address: 0 is that of the first subflow's address. */
    readonly id: number;
    readonly interfaceIndex?: number;
  };
  readonly remote: SocketAddress;
  /** To be used only when no other is left. */
  readonly backup?: boolean;
};

export type SubflowEnds = { readonly token: number; readonly local: SocketAddress; readonly remote: SocketAddress };

/** Something to do, for `PathManager.run` and `runAll`; made by {@link commands}. */
export type PathManagerCommand = GenericCommand<typeof pathManagerFamily> & {
  /** Completes "Cannot …". */
  readonly action: string;
};

const hex = (token: number): string => token.toString(16).padStart(8, "0");
const end = ({ address, port }: { address: string; port?: number | undefined }): string =>
  `${address}${port === undefined ? "" : ` port ${port}`}`;

function integer(value: number, least: number, most: number, what: string): number {
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw new RangeError(`Cannot use ${what} ${value}: it is a whole number from ${least} to ${most}`);
}

type AddressOptions = {
  readonly address: string;
  readonly id?: number | undefined;
  readonly port?: number | undefined;
  readonly flags?: number;
  readonly interfaceIndex?: number | undefined;
};

/** @throws RangeError for what is no IP address, id or port */
function encodeAddress({ address, id, port, flags, interfaceIndex }: AddressOptions): AddressAttributes {
  const family = familyOf(address);
  const bytes = addressBytes(address);
  return {
    family,
    ...(family === AF_INET ? { address4: bytes } : { address6: bytes }),
    ...(id !== undefined && { id: integer(id, 0, 255, "address id") }),
    ...(port !== undefined && { port: integer(port, 1, 65535, "port") }),
    ...(flags ? { flags } : {}),
    ...(interfaceIndex !== undefined && { interfaceIndex: integer(interfaceIndex, 1, 0x7fffffff, "interface index") }),
  };
}

function decodeAddress({ id = 0, address4, address6, port, flags = 0, interfaceIndex }: AddressAttributes): Endpoint[] {
  const bytes = address4 ?? address6;
  if (bytes?.length !== 4 && bytes?.length !== 16) return [];
  return [
    {
      id,
      address: addressText(bytes),
      ...(port ? { port } : {}),
      flags: decodeFlags(flags),
      ...(interfaceIndex ? { interfaceIndex } : {}),
    },
  ];
}

const mapped = (address: Uint8Array): Uint8Array => Uint8Array.of(...new Uint8Array(10), 0xff, 0xff, ...address);

/**
 * The same removal of a subflow between IPv4 addresses, as one of an IPv6 socket, such as those that a listener at `::`
 * accepts: when the kernel looks for subflows to remove, it takes the two for different ones.
 */
function asIpv6(one: PathManagerCommand): PathManagerCommand | undefined {
  if (one.command !== "destroySubflow") return undefined;
  const { token, address: local, remote } = one.attributes;
  if (!local?.address4 || !remote?.address4) return undefined;
  const convert = ({ address4 = new Uint8Array(4), port = 0 }: AddressAttributes): AddressAttributes => ({
    family: AF_INET6,
    address6: mapped(address4),
    port,
  });
  return {
    ...one,
    attributes: { ...(token !== undefined && { token }), address: convert(local), remote: convert(remote) },
  };
}

const { signal, backup: backupFlag } = { signal: encodeFlags(["signal"]), backup: encodeFlags(["backup"]) };

/** Commands as data. @throws RangeError for what is no IP address, id, port or token */
export const commands = {
  announce({ token, address, id, port, interfaceIndex }: AnnounceOptions): PathManagerCommand {
    integer(id, 1, 255, "address id");
    return {
      command: "announce",
      action: `announce ${end({ address, port })} to the peer of connection ${hex(token)}`,
      attributes: { token, address: encodeAddress({ address, id, port, interfaceIndex, flags: signal }) },
    };
  },
  withdraw({ token, id }: WithdrawOptions): PathManagerCommand {
    return {
      command: "withdraw",
      action: `withdraw address ${id} of connection ${hex(token)}`,
      attributes: { token, id: integer(id, 0, 255, "address id") },
    };
  },
  createSubflow({ token, local, remote, backup = false }: CreateSubflowOptions): PathManagerCommand {
    return {
      command: "createSubflow",
      action: `create a subflow of connection ${hex(token)} from ${end(local)} to ${end(remote)}`,
      attributes: {
        token,
        address: encodeAddress({ ...local, flags: backup ? backupFlag : 0 }),
        remote: encodeAddress({ address: remote.address, port: remote.port }),
      },
    };
  },
  destroySubflow({ token, local, remote }: SubflowEnds): PathManagerCommand {
    return {
      command: "destroySubflow",
      action: `remove the subflow from ${end(local)} to ${end(remote)} of connection ${hex(token)}`,
      attributes: {
        token,
        address: encodeAddress({ address: local.address, port: local.port }),
        remote: encodeAddress({ address: remote.address, port: remote.port }),
      },
    };
  },
  setBackup({ token, local, remote, backup }: SubflowEnds & { readonly backup: boolean }): PathManagerCommand {
    return {
      command: "setFlags",
      action: `make the subflow from ${end(local)} to ${end(remote)} of connection ${hex(token)} ${backup ? "a backup" : "no backup"}`,
      attributes: {
        token,
        address: encodeAddress({ address: local.address, port: local.port, flags: backup ? backupFlag : 0 }),
        remote: encodeAddress({ address: remote.address, port: remote.port }),
      },
    };
  },
} as const;

/** Speaks to the path manager of one network namespace. The socket stays open until it is closed. */
export class PathManager implements Disposable {
  readonly #netns: NetworkNamespace | undefined;
  readonly #socket: CommandSocket<typeof pathManagerFamily>;

  /** @throws NoSuchFamilyError, SystemCallError */
  constructor({ netns }: { readonly netns?: NetworkNamespace } = {}) {
    this.#netns = netns;
    this.#socket = new CommandSocket(pathManagerFamily, netns);
  }

  /** Whether the running kernel has the command. */
  has(command: PathManagerCommandName): boolean {
    return this.#socket.has(command);
  }

  /** @throws PathManagerError */
  run(command: PathManagerCommand): void {
    const [error] = this.runAll([command]);
    if (error) throw error;
  }

  /** Sends commands together; the kernel does them in order, whatever becomes of others. For each its error, or undefined. */
  runAll(all: readonly PathManagerCommand[]): (PathManagerError | undefined)[] {
    const possible = all.filter(({ command }) => this.has(command));
    const errors = possible.length > 0 ? this.#socket.requestAll(possible) : [];
    for (const [i, error] of errors.entries()) {
      const mapped = error && asIpv6(possible[i]);
      if (mapped && hasErrno(error, "ESRCH")) [errors[i]] = this.#socket.requestAll([mapped]);
    }
    let next = 0;
    return all.map((one) => {
      if (!this.has(one.command)) return this.#unsupported(one);
      const error = errors[next++];
      return error && explainPathManager(one.action, error, this.#netns);
    });
  }

  /** Tells the peer of an address. @throws PathManagerError, RangeError */
  announce(options: AnnounceOptions): void {
    this.run(commands.announce(options));
  }

  /** Takes an address back; its subflows are closed by both sides. @throws PathManagerError, RangeError */
  withdraw(options: WithdrawOptions): void {
    this.run(commands.withdraw(options));
  }

  /**
   * Starts a subflow. That its SYN was sent is all this tells: an event says whether it was established or failed.
   * @throws PathManagerError, RangeError
   */
  createSubflow(options: CreateSubflowOptions): void {
    this.run(commands.createSubflow(options));
  }

  /** Closes a subflow; its local address is forgotten, too, so that its id may be used for another. @throws PathManagerError */
  destroySubflow(ends: SubflowEnds): void {
    this.run(commands.destroySubflow(ends));
  }

  /** Asks both sides to use a subflow only when no other is left, or to use it again. @throws PathManagerError */
  setBackup(options: SubflowEnds & { readonly backup: boolean }): void {
    this.run(commands.setBackup(options));
  }

  /** The addresses that a connection has used or announced, where user space manages its paths. @throws PathManagerError */
  addressesOf(token: number): Endpoint[] {
    const action = `list the addresses of connection ${hex(token)}`;
    if (!this.#socket.accepts("getEndpoint", "token")) throw this.#unsupported({ action, since: "6.10" });
    return this.#explained(action, () => this.#listed({ token }));
  }

  /** Those of the kernel's own path manager. @throws PathManagerError */
  endpoints(): Endpoint[] {
    return this.#explained("list endpoints", () => this.#listed({}));
  }

  /** @throws PathManagerError, also when this kernel does not know one of the flags; RangeError */
  addEndpoint({ flags, ...options }: EndpointOptions): void {
    const action = `add endpoint ${end(options)}`;
    const bits = encodeFlags(flags);
    this.#request(action, "addEndpoint", { address: encodeAddress({ ...options, flags: bits }) });
    const added = this.endpoints().find((one) => one.address === normal(options.address) && one.port === options.port);
    const missing = flags.filter((flag) => added && !added.flags.includes(flag));
    if (!added || missing.length === 0) return;
    this.removeEndpoint(added.id);
    throw this.#unsupported({ action: `${action} with flag ${missing.join(", ")}`, since: "6.18" });
  }

  /**
   * Closes its subflows and takes it back where it was announced.
   * @param address with id 0 only, which stands for the first subflow of those connections that began from there
   * @throws PathManagerError, RangeError
   */
  removeEndpoint(id: number, address?: string): void {
    integer(id, address === undefined ? 1 : 0, 255, "endpoint");
    const attributes = address === undefined ? { id } : encodeAddress({ address, id });
    this.#request(`remove endpoint ${id}`, "removeEndpoint", { address: attributes });
  }

  /** Removes all endpoints. @throws PathManagerError */
  flushEndpoints(): void {
    this.#request("remove all endpoints", "flushEndpoints", {});
  }

  /** Flags of an endpoint; the kernel changes `backup` and `fullmesh` alone. @throws PathManagerError */
  setFlags(id: number, flags: readonly EndpointFlag[]): void {
    const address = { id: integer(id, 1, 255, "endpoint"), flags: encodeFlags(flags) };
    this.#request(`change the flags of endpoint ${id}`, "setFlags", { address });
  }

  limits(): PathLimits {
    const [found] = this.#explained("read limits", () => this.#socket.ask("getLimits", {}));
    return { acceptedAddresses: found?.acceptedAddresses ?? 0, subflows: found?.subflows ?? 0 };
  }

  /** What is absent stays. @throws PathManagerError */
  setLimits(limits: Partial<PathLimits>): void {
    const words = Object.entries(limits).map(([name, value]) => `${name} to ${value}`);
    for (const [name, value] of Object.entries(limits)) integer(value, 0, 0xffffffff, name);
    this.#request(`set limits: ${words.join(", ")}`, "setLimits", limits);
  }

  /** Safe to call twice. */
  close(): void {
    this.#socket.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #listed(attributes: { token?: number }): Endpoint[] {
    return this.#socket
      .dump("getEndpoint", attributes)
      .flatMap(({ address }) => (address ? decodeAddress(address) : []));
  }

  #request(action: string, command: PathManagerCommandName, attributes: PathManagerCommand["attributes"]): void {
    this.run({ action, command, attributes } as PathManagerCommand);
  }

  #explained<T>(action: string, work: () => T): T {
    try {
      return work();
    } catch (error) {
      if (error instanceof SystemCallError) throw explainPathManager(action, error, this.#netns);
      throw error;
    }
  }

  #unsupported(what: { action: string; command?: PathManagerCommandName; since?: string }): PathManagerError {
    const since = what.since ?? (what.command ? pathManagerFamily.commands[what.command].since : "");
    return new PathManagerError({
      kind: "unsupported",
      action: what.action,
      errno: errnos["EOPNOTSUPP"],
      reason: "this kernel's path manager does not know how",
      missing: `Linux ${since} or newer`,
      remedy: `It needs Linux ${since} or newer`,
    });
  }
}

/** An address as the kernel lists it. */
const normal = (address: string): string => addressText(addressBytes(address));
