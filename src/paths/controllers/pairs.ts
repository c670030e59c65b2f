/** Subflows by the addresses of their ends, which is what most controllers count. */
import { familyOf, PathManagerError, type LocalAddress } from "../../linux/index.ts";
import type { Connection, NewSubflow, Subflow } from "../types.ts";

export type Remote = { readonly address: string; readonly port: number };

/** Whether a subflow between two ends is open or on its way. */
export function isThere({ subflows, pending }: Connection, local: string, remote: Remote): boolean {
  const isAt = (one: Remote) => one.address === remote.address && one.port === remote.port;
  return (
    subflows.some((one) => one.local.address === local && isAt(one.remote)) ||
    pending.some((one) => one.local === local && isAt(one.remote))
  );
}

/** The peer's addresses that take subflows: that of the connection, and what it announced. */
export function remotesOf({ denyJoinId0, remote, announced }: Connection): Remote[] {
  return [...(denyJoinId0 ? [] : [remote]), ...announced.values()];
}

export type OnInterfaces = {
  /** Names: addresses of other interfaces are left alone, such as those of bridges to containers. Default: all. */
  readonly interfaces?: readonly string[];
};

export const isOn = ({ interfaces }: OnInterfaces, address: LocalAddress): boolean =>
  interfaces?.includes(address.interface) ?? true;

/** This host's addresses of the same family as another one. */
export function localsFor({ manager }: Connection, { address }: Remote, on: OnInterfaces = {}): LocalAddress[] {
  const family = familyOf(address);
  return manager.addresses.filter((one) => familyOf(one.address) === family && isOn(on, one));
}

/** An address of an interface, to reach the peer's first address from. */
export function addressOn(connection: Connection, name: string): LocalAddress | undefined {
  return localsFor(connection, connection.remote).find((one) => one.interface === name);
}

/** The interface that a subflow leaves by. */
export function interfaceOf({ connection, local }: Subflow): string | undefined {
  return connection.manager.addresses.find(({ address }) => address === local.address)?.interface;
}

/** @returns what is in the way: no route or no such family, or the local address, which has just gone */
export function open(connection: Connection, subflow: NewSubflow): "unreachable" | "not-local" | undefined {
  try {
    connection.createSubflow(subflow);
    return undefined;
  } catch (error) {
    const kind = error instanceof PathManagerError ? error.kind : undefined;
    if (kind === "unreachable" || kind === "not-local") return kind;
    throw error;
  }
}

/** Gives up the subflows from an address that is gone: the kernel would go on sending from it, to nobody. */
export function leave(connection: Connection, address: string): void {
  for (const one of connection.subflows) if (one.local.address === address) connection.removeSubflow(one);
  for (const one of connection.pending) if (one.local === address) connection.removeSubflow(one);
}

/** One whose address went while it came. */
export function isStranded({ connection, local }: Subflow): boolean {
  return !connection.manager.addresses.some(({ address }) => address === local.address);
}

/** Opens subflows between the same two addresses as the first one, until there are so many. */
export function fillUp(connection: Connection, wanted: number): void {
  const missing = wanted - connection.subflows.length - connection.pending.length;
  for (let i = 0; i < missing; i++) connection.createSubflow();
}
