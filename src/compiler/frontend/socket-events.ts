/** When actors on sockets run: callbacks of the kernel, and how it is asked for them (include/uapi/linux/bpf.h). */
import type { Policy } from "../../policy/policy.ts";
import { socketEvents, type SocketEvent } from "../../policy/socket.ts";

/** BPF_SOCK_OPS_*_CB, and the BPF_SOCK_OPS_*_CB_FLAG without which a socket's owner is not called. */
const callbacks: Readonly<Record<SocketEvent, { readonly operations: readonly number[]; readonly flag: number }>> = {
  connect: { operations: [3], flag: 0 },
  established: { operations: [4, 5], flag: 0 },
  rtt: { operations: [12], flag: 1 << 3 },
  rto: { operations: [8], flag: 1 << 0 },
  closed: { operations: [10], flag: 1 << 2 },
};

/** The operations by number; that of a passive connection is taken for an active one's. */
export const operation = { connect: 3, established: 4, passivelyEstablished: 5, rto: 8, state: 10 } as const;

/** The events' names by operation, as `passivelyEstablished` is left out. */
export const eventNames: readonly string[] = Array.from(
  { length: 13 },
  (_, number) => socketEvents.find((event) => callbacks[event].operations[0] === number) ?? "",
);

export const eventsOfActor = ({ at = ["established"] }: Pick<Policy, "at">): readonly SocketEvent[] => at;

/** A bit for each operation at which `events` happen. */
export function operationBits(events: readonly SocketEvent[]): number {
  return events.flatMap((event) => callbacks[event].operations).reduce((bits, number) => bits | (1 << number), 0);
}

/** What a chain's actors want of a socket. */
export interface Wanted {
  readonly events: readonly SocketEvent[];
  /** Callbacks to ask for. */
  readonly flags: number;
}

/** Events, those at which callbacks are asked for among them. */
export function wantedBy(actors: readonly Pick<Policy, "at">[]): Wanted {
  const asked = new Set(actors.length > 0 ? actors.flatMap(eventsOfActor) : eventsOfActor({}));
  const flags = [...asked].reduce((bits, event) => bits | callbacks[event].flag, 0);
  // A SYN can be lost as well, and a connection end before it begins.
  const early = asked.has("rto") || asked.has("closed");
  const all = new Set<SocketEvent>([
    ...asked,
    ...(flags ? (["established"] as const) : []),
    ...(early ? (["connect"] as const) : []),
  ]);
  return { events: socketEvents.filter((event) => all.has(event)), flags };
}
