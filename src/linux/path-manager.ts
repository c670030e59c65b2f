/**
 * Commands to the kernel's MPTCP path manager: subflows and addresses of single connections, where the path manager is in
 * user space (sysctl net.mptcp.path_manager=userspace), and the endpoints and limits of the kernel's own.
 */
import { errnos, SystemCallError } from "./ffi.ts";
import { CommandSocket } from "./generic-netlink.ts";
import { NetlinkError } from "./netlink.ts";
import type { NetworkNamespace } from "./netns.ts";
import {
  asIpv6,
  pathManagerCommands,
  decodeAddress,
  encodeAddress,
  end,
  hex,
  integer,
  normalAddress,
  type AnnounceOptions,
  type CreateSubflowOptions,
  type Endpoint,
  type EndpointOptions,
  type PathLimits,
  type PathManagerCommand,
  type SubflowEnds,
  type WithdrawOptions,
} from "./path-manager-commands.ts";
import { explainPathManager, PathManagerError } from "./path-manager-errors.ts";
import {
  encodeFlags,
  pathManagerFamily,
  type EndpointFlag,
  type PathManagerCommandName,
} from "./path-manager-table.ts";
import { hasErrno } from "./socket-calls.ts";

export {
  pathManagerCommands,
  type AnnounceOptions,
  type CreateSubflowOptions,
  type Endpoint,
  type EndpointOptions,
  type PathLimits,
  type PathManagerCommand,
  type SubflowEnds,
  type WithdrawOptions,
} from "./path-manager-commands.ts";
export { activePathManager, PathManagerError, type RefusalKind } from "./path-manager-errors.ts";
export type { EndpointFlag } from "./path-manager-table.ts";

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
  run(one: PathManagerCommand): void {
    if (!this.has(one.command)) throw this.#unsupported({ action: one.action(), command: one.command });
    try {
      this.#socket.request(one.command, one.attributes);
    } catch (error) {
      if (!(error instanceof NetlinkError)) throw error;
      const left = this.#again(one, error);
      if (left) throw explainPathManager(one.action(), left, this.#netns);
    }
  }

  /** Sends commands together; the kernel does them in order, whatever becomes of others. For each its error, or undefined. */
  runAll(all: readonly PathManagerCommand[]): (PathManagerError | undefined)[] {
    const possible = all.filter(({ command }) => this.has(command));
    const errors = possible.length > 0 ? this.#socket.requestAll(possible) : [];
    let next = 0;
    return all.map((one) => {
      if (!this.has(one.command)) return this.#unsupported({ action: one.action(), command: one.command });
      const error = errors[next++];
      const left = error && this.#again(one, error);
      return left && explainPathManager(one.action(), left, this.#netns);
    });
  }

  /** What may have been refused for the family of its addresses is tried with the other. @returns what is wrong then */
  #again(one: PathManagerCommand, error: NetlinkError): NetlinkError | undefined {
    const mapped = hasErrno(error, "ESRCH") ? asIpv6(one) : undefined;
    return mapped ? this.#socket.requestAll([mapped])[0] : error;
  }

  /** Tells the peer of an address. @throws PathManagerError, RangeError */
  announce(options: AnnounceOptions): void {
    this.run(pathManagerCommands.announce(options));
  }

  /** Takes an address back; its subflows are closed by both sides. @throws PathManagerError, RangeError */
  withdraw(options: WithdrawOptions): void {
    this.run(pathManagerCommands.withdraw(options));
  }

  /**
   * Starts a subflow. That its SYN was sent is all this tells: an event says whether it was established or failed.
   * @throws PathManagerError, RangeError
   */
  createSubflow(options: CreateSubflowOptions): void {
    this.run(pathManagerCommands.createSubflow(options));
  }

  /** Closes a subflow; its local address is forgotten, too, so that its id may be used for another. @throws PathManagerError */
  destroySubflow(ends: SubflowEnds): void {
    this.run(pathManagerCommands.destroySubflow(ends));
  }

  /** Asks both sides to use a subflow only when no other is left, or to use it again. @throws PathManagerError */
  setBackup(options: SubflowEnds & { readonly backup: boolean }): void {
    this.run(pathManagerCommands.setBackup(options));
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
    this.#request(action, "addEndpoint", { address: encodeAddress(options, bits) });
    const added = this.endpoints().find(
      (one) => one.address === normalAddress(options.address) && one.port === options.port,
    );
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
    this.run({ action: () => action, command, attributes } as PathManagerCommand);
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
