/** Helpers for records of sockets, which go with their socket. */
import { helpers as table } from "../helpers.ts";
import { implement } from "./helpers.ts";
import type { HelperFunction, Machine } from "./machine.ts";
import { Errno, SocketStorageMap } from "./maps.ts";

/** BPF_SK_STORAGE_GET_F_CREATE (include/uapi/linux/bpf.h). */
const CREATE = 1n;

/** Any pointer that a program has is a socket. */
export function anySocket(machine: Machine, argument: number): bigint {
  return machine.wide(argument);
}

function storage(machine: Machine): SocketStorageMap {
  const map = machine.map(1);
  if (!(map instanceof SocketStorageMap)) throw machine.error("call", "argument 1 is no map for records of sockets");
  return map;
}

/** `socketOf` says which socket an argument is. */
export function storageHelpers(socketOf: (machine: Machine, argument: number) => bigint): [number, HelperFunction][] {
  return [
    implement(table.skStorageGet, (machine) => {
      const map = storage(machine);
      const flags = machine.wide(4);
      if ((flags & ~CREATE) !== 0n) return 0;
      const socket = socketOf(machine, 2);
      if (socket === 0n) return 0;
      const value = machine.wide(3) === 0n ? undefined : machine.memory(3, map.spec.valueSize, false);
      const block = map.of(socket) ?? (flags === CREATE ? map.create(socket, value) : undefined);
      return block ? machine.pointer(block.highIn(machine.space)) : 0n;
    }),
    implement(table.skStorageDelete, (machine) => (storage(machine).forget(socketOf(machine, 2)) ? 0 : Errno.noEntry)),
  ];
}
