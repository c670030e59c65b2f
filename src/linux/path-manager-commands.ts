/** Commands to the path manager as data, and addresses as it writes them. Pure. */
import type { GenericCommand } from "./generic-netlink.ts";
import type { Attributes } from "./netlink.ts";
import { decodeFlags, encodeFlags, type EndpointFlag, type pathManagerFamily } from "./path-manager-table.ts";
import { addressBytes, addressText, AF_INET, AF_INET6, type SocketAddress } from "./sockaddr.ts";

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
  readonly port?: number | undefined;
  readonly interfaceIndex?: number | undefined;
};

export type WithdrawOptions = { readonly token: number; readonly id: number };

export type CreateSubflowOptions = {
  readonly token: number;
  readonly local: {
    readonly address: string;
    /** Absent: the kernel chooses one. With one, the address counts as another, and needs an id of its own. */
    readonly port?: number | undefined;
    /** Of the address: 0 is that of the first subflow's address. */
    readonly id: number;
    readonly interfaceIndex?: number | undefined;
  };
  readonly remote: SocketAddress;
  /** To be used only when no other is left. */
  readonly backup?: boolean;
};

export type SubflowEnds = { readonly token: number; readonly local: SocketAddress; readonly remote: SocketAddress };

/** Something to do, for `PathManager.run` and `runAll`; made by {@link pathManagerCommands}. */
export type PathManagerCommand = GenericCommand<typeof pathManagerFamily> & {
  /** Completes "Cannot …"; composed for those that fail only. */
  readonly action: () => string;
};

export const hex = (token: number): string => token.toString(16).padStart(8, "0");
export const end = ({ address, port }: { address: string; port?: number | undefined }): string =>
  `${address}${port === undefined ? "" : ` port ${port}`}`;

export function integer(value: number, least: number, most: number, what: string): number {
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw new RangeError(`Cannot use ${what} ${value}: it is a whole number from ${least} to ${most}`);
}

type AddressOptions = {
  readonly address: string;
  readonly id?: number | undefined;
  readonly port?: number | undefined;
  readonly interfaceIndex?: number | undefined;
};

/** @throws RangeError for what is no IP address, id or port */
export function encodeAddress({ address, id, port, interfaceIndex }: AddressOptions, flags = 0): AddressAttributes {
  const bytes = addressBytes(address);
  const result: AddressAttributes =
    bytes.length === 4 ? { family: AF_INET, address4: bytes } : { family: AF_INET6, address6: bytes };
  if (id !== undefined) result.id = integer(id, 0, 255, "address id");
  if (port !== undefined) result.port = integer(port, 1, 65535, "port");
  if (flags !== 0) result.flags = flags;
  if (interfaceIndex !== undefined) result.interfaceIndex = integer(interfaceIndex, 1, 0x7fffffff, "interface index");
  return result;
}

export function decodeAddress({
  id = 0,
  address4,
  address6,
  port,
  flags = 0,
  interfaceIndex,
}: AddressAttributes): Endpoint[] {
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

/** An IPv4 address as IPv6 sockets have it (::ffff:…). */
const mapped = ({ address4 = new Uint8Array(4), port = 0 }: AddressAttributes): AddressAttributes => ({
  family: AF_INET6,
  address6: Uint8Array.of(...new Uint8Array(10), 0xff, 0xff, ...address4),
  port,
});

/**
 * The same removal of a subflow between IPv4 addresses, as one of an IPv6 socket, such as those that a listener at `::`
 * accepts: when the kernel looks for subflows to remove, it takes the two for different ones.
 */
export function asIpv6(one: PathManagerCommand): PathManagerCommand | undefined {
  if (one.command !== "destroySubflow") return undefined;
  const { address, remote } = one.attributes;
  if (!address?.address4 || !remote?.address4) return undefined;
  return { ...one, attributes: { ...one.attributes, address: mapped(address), remote: mapped(remote) } };
}

const { signal, backup: backupFlag } = { signal: encodeFlags(["signal"]), backup: encodeFlags(["backup"]) };

/** Commands as data. @throws RangeError for what is no IP address, id, port or token */
export const pathManagerCommands = {
  announce({ token, address, id, port, interfaceIndex }: AnnounceOptions): PathManagerCommand {
    integer(id, 1, 255, "address id");
    return {
      command: "announce",
      action: () => `announce ${end({ address, port })} to the peer of connection ${hex(token)}`,
      attributes: { token, address: encodeAddress({ address, id, port, interfaceIndex }, signal) },
    };
  },
  withdraw({ token, id }: WithdrawOptions): PathManagerCommand {
    return {
      command: "withdraw",
      action: () => `withdraw address ${id} of connection ${hex(token)}`,
      attributes: { token, id: integer(id, 0, 255, "address id") },
    };
  },
  createSubflow({ token, local, remote, backup = false }: CreateSubflowOptions): PathManagerCommand {
    return {
      command: "createSubflow",
      action: () => `create a subflow of connection ${hex(token)} from ${end(local)} to ${end(remote)}`,
      attributes: {
        token,
        address: encodeAddress(local, backup ? backupFlag : 0),
        remote: encodeAddress({ address: remote.address, port: remote.port }),
      },
    };
  },
  destroySubflow({ token, local, remote }: SubflowEnds): PathManagerCommand {
    return {
      command: "destroySubflow",
      action: () => `remove the subflow from ${end(local)} to ${end(remote)} of connection ${hex(token)}`,
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
      action: () =>
        `make the subflow from ${end(local)} to ${end(remote)} of connection ${hex(token)} ${backup ? "a backup" : "no backup"}`,
      attributes: {
        token,
        address: encodeAddress({ address: local.address, port: local.port }, backup ? backupFlag : 0),
        remote: encodeAddress({ address: remote.address, port: remote.port }),
      },
    };
  },
} as const;

/** An address as the kernel lists it. */
export const normalAddress = (address: string): string => addressText(addressBytes(address));
