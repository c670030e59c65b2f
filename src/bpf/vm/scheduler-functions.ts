/** Functions of the kernel for schedulers of packets (net/mptcp/bpf.c of the MPTCP tree): iteration over subflows, and choice. */
import type { KernelFunction } from "./kernel-functions.ts";
import type { KernelObjects } from "./kernel-objects.ts";

/** Where iterators are: by the address of their state on a program's stack, which subflows are left. */
const iterators = new WeakMap<KernelObjects, Map<bigint, bigint[]>>();

function iteratorsOf(objects: KernelObjects): Map<bigint, bigint[]> {
  let known = iterators.get(objects);
  if (!known) iterators.set(objects, (known = new Map()));
  return known;
}

/** The structures of a connection's subflows. */
function subflowsOf(objects: KernelObjects, connection: bigint): bigint[] {
  const end = objects.fieldAddress(connection, "mptcp_sock.conn_list");
  const distance = BigInt(objects.layout.find("mptcp_subflow_context", "node").offset);
  const found: bigint[] = [];
  let at = objects.read(connection, "mptcp_sock.conn_list.next");
  while (at !== end && at !== 0n) {
    found.push(at - distance);
    at = objects.read(at - distance, "mptcp_subflow_context.node.next");
  }
  return found;
}

export const schedulerFunctions: Readonly<Record<string, KernelFunction>> = {
  bpf_iter_mptcp_subflow_new(objects, state, connection) {
    iteratorsOf(objects).set(state, subflowsOf(objects, objects.given(connection, 2)));
    return 0;
  },
  bpf_iter_mptcp_subflow_next(objects, state) {
    const left = iteratorsOf(objects).get(state);
    if (!left) throw objects.error("call", "argument 1 is no iterator that has begun");
    const next = left.shift() ?? 0n;
    if (next !== 0n) objects.trust(next);
    return next;
  },
  bpf_iter_mptcp_subflow_destroy(objects, state) {
    if (!iteratorsOf(objects).delete(state)) throw objects.error("call", "argument 1 is no iterator that has begun");
  },
  mptcp_subflow_set_scheduled(objects, context, scheduled) {
    objects.write(context, "mptcp_subflow_context.scheduled", scheduled & 1n);
  },
};
