/**
 * Generic netlink: families and their multicast groups by name, what commands and attributes the running kernel takes, and
 * sockets for commands described by tables (include/uapi/linux/genetlink.h).
 */
import {
  concat,
  decodeAttributes,
  encodeAttributes,
  NetlinkSocket,
  type Attributes,
  type AttributeTable,
  type NetlinkError,
  type NetlinkMessage,
} from "./netlink.ts";
import { withNetns, type NetworkNamespace } from "./netns.ts";
import { hasErrno } from "./socket-calls.ts";

const NETLINK_GENERIC = 16;
const GENL_ID_CTRL = 0x10;
const CTRL_VERSION = 2;
const CTRL_CMD_GETFAMILY = 3;
const CTRL_CMD_GETPOLICY = 10;
const headerLength = 4;

const operationAttributes = { id: [1, "u32"], flags: [2, "u32"] } as const;
const groupAttributes = { name: [1, "string"], id: [2, "u32"] } as const;
const controlAttributes = {
  id: [1, "u16"],
  name: [2, "string"],
  version: [3, "u32"],
  operations: [6, "bytes"],
  groups: [7, "bytes"],
  policies: [8, "bytes"],
  operationPolicies: [9, "bytes"],
  operation: [10, "u32"],
} as const;

/** A family as the running kernel has it. */
export type GenericFamily = {
  readonly name: string;
  /** The netlink message type of its commands. */
  readonly id: number;
  readonly version: number;
  /** Numbers of the commands that it takes. */
  readonly commands: ReadonlySet<number>;
  /** Multicast groups by name. */
  readonly groups: ReadonlyMap<string, number>;
};

/** The kernel has no such family: it is not configured, or a module is missing. */
export class NoSuchFamilyError extends Error {
  readonly family: string;
  constructor(family: string, needs: string) {
    super(`Cannot use netlink family ${family}: this kernel has none; it needs ${needs}`);
    this.name = "NoSuchFamilyError";
    this.family = family;
  }
}

/** The entries of an array of attributes: what is nested under the numbers 1, 2, …, read by one table. */
function decodeArray<T extends AttributeTable>(table: T, bytes: Uint8Array): [index: number, value: Attributes<T>][] {
  return attributeNumbers(bytes).map((id) => {
    const { it } = decodeAttributes({ it: [id, "bytes"] } as const, bytes);
    return [id, decodeAttributes(table, it ?? new Uint8Array(0))];
  });
}

function attributeNumbers(bytes: Uint8Array): number[] {
  const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found: number[] = [];
  for (let at = 0; at + 4 <= bytes.length;) {
    const length = data.getUint16(at, true);
    if (length < 4 || at + length > bytes.length) break;
    found.push(data.getUint16(at + 2, true) & 0x3fff);
    at += (length + 3) & ~3;
  }
  return found;
}

/** A family in the kernel's answer to CTRL_CMD_GETFAMILY; undefined when it is none. */
export function parseFamily({ payload }: Pick<NetlinkMessage, "payload">): GenericFamily | undefined {
  const found = decodeAttributes(controlAttributes, payload.subarray(headerLength));
  if (found.id === undefined || found.name === undefined) return undefined;
  const operations = decodeArray(operationAttributes, found.operations ?? new Uint8Array(0));
  const groups = decodeArray(groupAttributes, found.groups ?? new Uint8Array(0));
  return {
    name: found.name,
    id: found.id,
    version: found.version ?? 1,
    commands: new Set(operations.flatMap(([, { id }]) => id ?? [])),
    groups: new Map(
      groups.flatMap(([, { name, id }]) => (name === undefined || id === undefined ? [] : [[name, id] as const])),
    ),
  };
}

const headerOf = (command: number, version: number): number[] => [command, version, 0, 0];

const encodeCommand = <T extends AttributeTable>(
  command: number,
  version: number,
  table: T,
  values: Attributes<T>,
): Uint8Array => concat([Uint8Array.from(headerOf(command, version)), encodeAttributes(table, values)]);

/** A family of the running kernel; undefined when it has none of the name. @throws NetlinkError */
export function findFamily(socket: NetlinkSocket, name: string): GenericFamily | undefined {
  try {
    const request = encodeCommand(CTRL_CMD_GETFAMILY, CTRL_VERSION, controlAttributes, { name });
    const answers = socket.ask(GENL_ID_CTRL, 0, request);
    return answers.map(parseFamily).find((family) => family !== undefined);
  } catch (error) {
    if (hasErrno(error, "ENOENT")) return undefined;
    throw error;
  }
}

/** What a family offers: its commands by name, each with its number and its attributes, and who provides it. */
export type FamilyTable = {
  readonly name: string;
  /** What a kernel needs for it, in words. */
  readonly needs: string;
  readonly commands: {
    readonly [name: string]: {
      readonly id: number;
      readonly attributes: AttributeTable;
      /** First release that has it, e.g. `5.19`. */
      readonly since: string;
    };
  };
};

type CommandAttributes<T extends FamilyTable, C extends keyof T["commands"]> = Attributes<
  T["commands"][C]["attributes"]
>;

/** A command with what goes with it. */
export type GenericCommand<T extends FamilyTable, C extends keyof T["commands"] = keyof T["commands"]> = {
  readonly [name in C]: { readonly command: name; readonly attributes: CommandAttributes<T, name> };
}[C];

/** A socket for the commands of one family, in one namespace. It stays open; requests are synchronous and short. */
export class CommandSocket<T extends FamilyTable> implements Disposable {
  readonly family: GenericFamily;
  readonly #table: T;
  readonly #socket: NetlinkSocket;
  readonly #accepted = new Map<number, ReadonlySet<number>>();
  #open = true;

  /** @throws NoSuchFamilyError, SystemCallError */
  constructor(table: T, netns?: NetworkNamespace) {
    this.#table = table;
    this.#socket = withNetns(netns, () => new NetlinkSocket(NETLINK_GENERIC));
    try {
      const family = findFamily(this.#socket, table.name);
      if (!family) throw new NoSuchFamilyError(table.name, table.needs);
      this.family = family;
    } catch (error) {
      this.#socket.close();
      throw error;
    }
  }

  /** Whether the running kernel has the command. */
  has(command: keyof T["commands"]): boolean {
    return this.family.commands.has(this.#entry(command).id);
  }

  /**
   * Whether the running kernel looks at an attribute of a command; kernels pass over those that they do not know. True where
   * the kernel does not tell (before Linux 5.11).
   */
  accepts<C extends keyof T["commands"]>(
    command: C,
    attribute: keyof T["commands"][C]["attributes"] & string,
  ): boolean {
    const { id, attributes } = this.#entry(command);
    let known = this.#accepted.get(id);
    if (!known) this.#accepted.set(id, (known = this.#readPolicy(id)));
    return known.size === 0 || known.has(attributes[attribute][0]);
  }

  /** Sends one command and waits until it is done. @throws NetlinkError (the kernel's answer) */
  request<C extends keyof T["commands"]>(command: C, attributes: CommandAttributes<T, C>): void {
    const { id, attributes: table } = this.#usable(command);
    this.#socket.requestAttributes(this.family.id, headerOf(id, this.family.version), table, attributes);
  }

  /** Sends commands together; the kernel does them in order. For each its error, or undefined. */
  requestAll(commands: readonly GenericCommand<T>[]): (NetlinkError | undefined)[] {
    const type = this.family.id;
    return this.#socket.requestAll(
      commands.map(({ command, attributes }) => ({ type, payload: this.#encode(command, attributes) })),
    );
  }

  /** What the kernel answers to one command. @throws NetlinkError */
  ask<C extends keyof T["commands"]>(command: C, attributes: CommandAttributes<T, C>): CommandAttributes<T, C>[] {
    return this.#decode(command, this.#socket.ask(this.family.id, 0, this.#encode(command, attributes)));
  }

  /** All that the kernel lists. @throws NetlinkError, InterruptedDumpError */
  dump<C extends keyof T["commands"]>(command: C, attributes: CommandAttributes<T, C>): CommandAttributes<T, C>[] {
    return this.#decode(command, this.#socket.dump(this.family.id, this.#encode(command, attributes)));
  }

  /** Safe to call twice. */
  close(): void {
    if (this.#open) this.#socket.close();
    this.#open = false;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #entry(command: keyof T["commands"]): FamilyTable["commands"][string] {
    return this.#table.commands[command as string];
  }

  #usable(command: keyof T["commands"]): FamilyTable["commands"][string] {
    if (!this.#open) throw new Error(`Cannot send a command to ${this.#table.name}: the socket is closed`);
    return this.#entry(command);
  }

  #encode<C extends keyof T["commands"]>(command: C, values: CommandAttributes<T, C>): Uint8Array {
    const { id, attributes } = this.#usable(command);
    return encodeCommand(id, this.family.version, attributes, values);
  }

  #decode<C extends keyof T["commands"]>(command: C, messages: NetlinkMessage[]): CommandAttributes<T, C>[] {
    const { attributes } = this.#entry(command);
    return messages.map(
      ({ payload }) => decodeAttributes(attributes, payload.subarray(headerLength)) as CommandAttributes<T, C>,
    );
  }

  /** The attributes in the kernel's own description of a command; empty where it has none to give. */
  #readPolicy(operation: number): Set<number> {
    const values = { id: this.family.id, operation };
    const request = encodeCommand(CTRL_CMD_GETPOLICY, CTRL_VERSION, controlAttributes, values);
    let answers: NetlinkMessage[];
    try {
      answers = this.#socket.dump(GENL_ID_CTRL, request);
    } catch (error) {
      if (hasErrno(error, "EOPNOTSUPP", "EINVAL", "ENODATA", "ENOENT")) return new Set();
      throw error;
    }
    const found = answers.map(({ payload }) => decodeAttributes(controlAttributes, payload.subarray(headerLength)));
    const which = found.flatMap(({ operationPolicies }) =>
      operationPolicies ? decodeArray({ do: [1, "u32"], dump: [2, "u32"] }, operationPolicies) : [],
    );
    const index = which.find(([id]) => id === operation)?.[1].do ?? 0;
    const policies = found.flatMap(({ policies: one }) =>
      one ? decodeArray({}, one).map(([id]) => [id, one] as const) : [],
    );
    return new Set(
      policies.flatMap(([id, bytes]) => {
        if (id !== index) return [];
        const { policy } = decodeAttributes({ policy: [id, "bytes"] }, bytes) as { policy?: Uint8Array };
        return policy ? attributeNumbers(policy) : [];
      }),
    );
  }
}
