/**
 * The kernel's helper functions that network policies can use: number and name as in `___BPF_FUNC_MAPPER`
 * (include/uapi/linux/bpf.h), and what each argument is.
 */

/**
 * - `context`: the program's context, `map`: a map, `key`/`value`: memory of the map's key or value size
 * - `memory`: bytes that are read, `buffer`: bytes that are written; their `size` is the next argument
 * - `record`: a reserved ring buffer record, `kernel`: a pointer into kernel memory, `int`: a number
 */
export type ArgumentKind =
  "context" | "map" | "key" | "value" | "memory" | "buffer" | "size" | "record" | "kernel" | "int";

export interface Helper {
  readonly number: number;
  /** The kernel's name without `bpf_`. */
  readonly name: string;
  readonly args: readonly ArgumentKind[];
  /** Whether packet pointers taken before the call are invalid after it. */
  readonly invalidatesPackets: boolean;
}

function helper(number: number, name: string, args: readonly ArgumentKind[], effect?: "invalidatesPackets"): Helper {
  return { number, name, args, invalidatesPackets: effect === "invalidatesPackets" };
}

export const helpers = {
  mapLookupElem: helper(1, "map_lookup_elem", ["map", "key"]),
  mapUpdateElem: helper(2, "map_update_elem", ["map", "key", "value", "int"]),
  mapDeleteElem: helper(3, "map_delete_elem", ["map", "key"]),
  ktimeGetNs: helper(5, "ktime_get_ns", []),
  tracePrintk: helper(6, "trace_printk", ["memory", "size", "int", "int", "int"]),
  getPrandomU32: helper(7, "get_prandom_u32", []),
  getSmpProcessorId: helper(8, "get_smp_processor_id", []),
  skbStoreBytes: helper(9, "skb_store_bytes", ["context", "int", "memory", "size", "int"], "invalidatesPackets"),
  l3CsumReplace: helper(10, "l3_csum_replace", ["context", "int", "int", "int", "int"], "invalidatesPackets"),
  l4CsumReplace: helper(11, "l4_csum_replace", ["context", "int", "int", "int", "int"], "invalidatesPackets"),
  tailCall: helper(12, "tail_call", ["context", "map", "int"], "invalidatesPackets"),
  cloneRedirect: helper(13, "clone_redirect", ["context", "int", "int"], "invalidatesPackets"),
  redirect: helper(23, "redirect", ["int", "int"]),
  skbLoadBytes: helper(26, "skb_load_bytes", ["context", "int", "buffer", "size"]),
  csumDiff: helper(28, "csum_diff", ["memory", "size", "memory", "size", "int"]),
  getHashRecalc: helper(34, "get_hash_recalc", ["context"]),
  skbChangeTail: helper(38, "skb_change_tail", ["context", "int", "int"], "invalidatesPackets"),
  skbPullData: helper(39, "skb_pull_data", ["context", "int"], "invalidatesPackets"),
  csumUpdate: helper(40, "csum_update", ["context", "int"]),
  setHashInvalid: helper(41, "set_hash_invalid", ["context"]),
  skbChangeHead: helper(43, "skb_change_head", ["context", "int", "int"], "invalidatesPackets"),
  xdpAdjustHead: helper(44, "xdp_adjust_head", ["context", "int"], "invalidatesPackets"),
  getSocketCookie: helper(46, "get_socket_cookie", ["context"]),
  setsockopt: helper(49, "setsockopt", ["context", "int", "int", "memory", "size"]),
  skbAdjustRoom: helper(50, "skb_adjust_room", ["context", "int", "int", "int"], "invalidatesPackets"),
  redirectMap: helper(51, "redirect_map", ["map", "int", "int"]),
  xdpAdjustMeta: helper(54, "xdp_adjust_meta", ["context", "int"], "invalidatesPackets"),
  getsockopt: helper(57, "getsockopt", ["context", "int", "int", "buffer", "size"]),
  sockOpsCbFlagsSet: helper(59, "sock_ops_cb_flags_set", ["context", "int"]),
  xdpAdjustTail: helper(65, "xdp_adjust_tail", ["context", "int"], "invalidatesPackets"),
  skRelease: helper(86, "sk_release", ["kernel"]),
  spinLock: helper(93, "spin_lock", ["value"]),
  spinUnlock: helper(94, "spin_unlock", ["value"]),
  skFullsock: helper(95, "sk_fullsock", ["kernel"]),
  tcpSock: helper(96, "tcp_sock", ["kernel"]),
  skStorageGet: helper(107, "sk_storage_get", ["map", "kernel", "memory", "int"]),
  skStorageDelete: helper(108, "sk_storage_delete", ["map", "kernel"]),
  probeReadKernel: helper(113, "probe_read_kernel", ["buffer", "size", "kernel"]),
  jiffies64: helper(118, "jiffies64", []),
  getNetnsCookie: helper(122, "get_netns_cookie", ["context"]),
  ktimeGetBootNs: helper(125, "ktime_get_boot_ns", []),
  seqWrite: helper(127, "seq_write", ["kernel", "memory", "size"]),
  ringbufOutput: helper(130, "ringbuf_output", ["map", "memory", "size", "int"]),
  ringbufReserve: helper(131, "ringbuf_reserve", ["map", "size", "int"]),
  ringbufSubmit: helper(132, "ringbuf_submit", ["record", "int"]),
  ringbufDiscard: helper(133, "ringbuf_discard", ["record", "int"]),
  ringbufQuery: helper(134, "ringbuf_query", ["map", "int"]),
  skcToTcp6Sock: helper(136, "skc_to_tcp6_sock", ["kernel"]),
  skcToTcpSock: helper(137, "skc_to_tcp_sock", ["kernel"]),
  loadHdrOpt: helper(142, "load_hdr_opt", ["context", "buffer", "size", "int"]),
  storeHdrOpt: helper(143, "store_hdr_opt", ["context", "memory", "size", "int"]),
  reserveHdrOpt: helper(144, "reserve_hdr_opt", ["context", "int", "int"]),
  redirectPeer: helper(155, "redirect_peer", ["int", "int"]),
  checkMtu: helper(163, "check_mtu", ["context", "int", "value", "int", "int"]),
  ktimeGetCoarseNs: helper(160, "ktime_get_coarse_ns", []),
  xdpGetBuffLen: helper(188, "xdp_get_buff_len", ["context"]),
  xdpLoadBytes: helper(189, "xdp_load_bytes", ["context", "int", "buffer", "size"]),
  xdpStoreBytes: helper(190, "xdp_store_bytes", ["context", "int", "memory", "size"]),
  mapLookupPercpuElem: helper(195, "map_lookup_percpu_elem", ["map", "key", "int"]),
  skcToMptcpSock: helper(196, "skc_to_mptcp_sock", ["kernel"]),
  ktimeGetTaiNs: helper(208, "ktime_get_tai_ns", []),
} as const satisfies Record<string, Helper>;
export type HelperName = keyof typeof helpers;

const byNumber = new Map<number, Helper>(Object.values(helpers).map((entry) => [entry.number, entry]));

/** The helper with a number, if the table has it. */
export function helperByNumber(number: number): Helper | undefined {
  return byNumber.get(number);
}
