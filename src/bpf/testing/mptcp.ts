/** MPTCP connections of kernel objects, for tests of what runs in the stack. */
import type { FieldValue, KernelObjects } from "../vm/kernel-objects.ts";

const TCP_ESTABLISHED = 1;
const AF_INET = 2;

type Fields = Readonly<Record<string, FieldValue>>;

/** Addresses of objects; subflows are in the order in which they were given, and numbered from 1. */
export interface ConnectionObjects {
  readonly connection: bigint;
  readonly sockets: readonly bigint[];
  readonly contexts: readonly bigint[];
}

/**
 * Makes a connection with established subflows, each from 10.0.0.N to 10.1.0.N. Fields are as `KernelObjects.make` takes them.
 * @param subflows fields of their sockets
 * @param fields those of the `mptcp_sock`
 */
export function makeConnection(
  objects: KernelObjects,
  subflows: readonly Fields[],
  fields: Fields = {},
): ConnectionObjects {
  const connection = objects.make("mptcp_sock", fields);
  const sockets = subflows.map((own, i) => objects.make("tcp_sock", { is_mptcp: 1, ...endpoints(i + 1), ...own }));
  const contexts = sockets.map((tcp_sock, i) =>
    objects.make("mptcp_subflow_context", { conn: connection, tcp_sock, subflow_id: i + 1 }),
  );
  sockets.forEach((socket, i) => objects.write(socket, "inet_connection_sock.icsk_ulp_data", contexts[i]));
  objects.link(connection, "mptcp_sock.conn_list", contexts, "mptcp_subflow_context.node");
  return { connection, sockets, contexts };
}

function endpoints(number: number): Fields {
  return {
    "sock_common.skc_state": TCP_ESTABLISHED,
    "sock_common.skc_family": AF_INET,
    "sock_common.skc_rcv_saddr": Uint8Array.of(10, 0, 0, number),
    "sock_common.skc_daddr": Uint8Array.of(10, 1, 0, number),
    "sock_common.skc_num": 40_000 + number,
    // In network byte order.
    "sock_common.skc_dport": Uint8Array.of(443 >> 8, 443 & 0xff),
  };
}
