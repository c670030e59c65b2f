/** Facts of a subflow: where in the kernel's structures each is. */
import { integerSizes, type IntegerName } from "../../../policy/types.ts";
import { int32, int64, pointer, type KernelField, type MemorySize, type Value } from "../../ir/ir.ts";
import type { Lowering } from "../lowering.ts";
import { widthOf, type LanguageValue } from "../values.ts";

/** The structures of one subflow. */
export interface SubflowPointers {
  /** A `struct tcp_sock *`, which is a pointer to the structures that it begins with, too. */
  readonly tcp: Value;
  /** The `struct mptcp_subflow_context *`; null on plain TCP. */
  readonly context: (lowering: Lowering) => Value;
}

/** An integer that lies as it is in `struct tcp_sock`, or in what it begins with. */
interface PlainFact {
  readonly struct: string;
  readonly field: string;
  readonly type: IntegerName;
  /** Bits of fraction. */
  readonly fraction?: number;
  readonly writable?: true;
}

const tcp = (field: string, type: IntegerName, more: Partial<PlainFact> = {}): PlainFact => ({
  struct: "tcp_sock",
  field,
  type,
  ...more,
});

export const plainFacts: Readonly<Record<string, PlainFact>> = {
  cwnd: tcp("snd_cwnd", "u32", { writable: true }),
  ssthresh: tcp("snd_ssthresh", "u32", { writable: true }),
  cwndCount: tcp("snd_cwnd_cnt", "u32", { writable: true }),
  mss: tcp("mss_cache", "u32"),
  srttUs: tcp("srtt_us", "u32", { fraction: 3 }),
  rttVarUs: tcp("mdev_us", "u32", { fraction: 2 }),
  minRttUs: tcp("rtt_min.s[0].v", "u32"),
  packetsOut: tcp("packets_out", "u32"),
  lost: tcp("lost", "u32"),
  retransmissions: tcp("total_retrans", "u32"),
  delivered: tcp("delivered", "u32"),
  bytesSent: tcp("bytes_sent", "u64"),
  bytesAcked: tcp("bytes_acked", "u64"),
  bytesRetransmitted: tcp("bytes_retrans", "u64"),
  sndUna: tcp("snd_una", "u32"),
  sndNxt: tcp("snd_nxt", "u32"),
  lastEventUs: tcp("tcp_mstamp", "u64"),
  queuedBytes: { struct: "sock", field: "sk_wmem_queued", type: "u32" },
  pacingRate: { struct: "sock", field: "sk_pacing_rate", type: "u64", writable: true },
  pacingStatus: { struct: "sock", field: "sk_pacing_status", type: "u32", writable: true },
  maxPacingRate: { struct: "sock", field: "sk_max_pacing_rate", type: "u64" },
};

/** Facts that are made of several fields. */
const madeFacts: Readonly<Record<string, (lowering: Lowering, subflow: SubflowPointers) => LanguageValue>> = {
  id: (lowering, { context }) =>
    lowering.integer("u32", loadField(lowering, context(lowering), subflowField("subflow_id"), "u32")),
  backup: (lowering, { context }) => {
    const { builder } = lowering;
    const pointer = context(lowering);
    const [own, peers] = ["request_bkup", "backup"].map((field) => loadBits(lowering, pointer, subflowField(field)));
    return lowering.boolean("ne", builder.binary("or", own, peers), builder.const(0));
  },
  inFlight: (lowering, { tcp }) => {
    const { builder } = lowering;
    const field = (name: string): Value => loadField(lowering, tcp, tcpField(name), "u32");
    const sent = builder.binary("add", field("packets_out"), field("retrans_out"));
    return lowering.integer(
      "u32",
      builder.binary("sub", sent, builder.binary("add", field("sacked_out"), field("lost_out"))),
    );
  },
  notSentBytes: (lowering, { tcp }) => {
    const [written, next] = ["write_seq", "snd_nxt"].map((name) => loadField(lowering, tcp, tcpField(name), "u32"));
    return lowering.integer("u32", lowering.builder.binary("sub", written, next));
  },
  deliveryRate: (lowering, { tcp }) => {
    const { builder } = lowering;
    const field = (name: string): Value => builder.zeroExtend(loadField(lowering, tcp, tcpField(name), "u32"));
    const bytes = builder.binary("mul", field("rate_delivered"), field("mss_cache"));
    const scaled = builder.binary("mul", bytes, builder.const(1_000_000, 64));
    // Without an interval there is none: x / 0 is 0.
    return lowering.integer("u64", builder.binary("div", scaled, field("rate_interval_us")));
  },
  caState: (lowering, { tcp }) => {
    const field = { struct: "inet_connection_sock", field: "icsk_ca_state" };
    return lowering.integer("u8", loadBits(lowering, tcp, field));
  },
  isCwndLimited: (lowering, { tcp }) =>
    lowering.boolean("ne", loadBits(lowering, tcp, tcpField("is_cwnd_limited")), lowering.builder.const(0)),
  isAppLimited: (lowering, { tcp }) => {
    const limitedUntil = loadField(lowering, tcp, tcpField("app_limited"), "u32");
    return lowering.boolean("ne", limitedUntil, lowering.builder.const(0));
  },
};

/** A fact by its name; undefined where there is none of that name. */
export function subflowFact(lowering: Lowering, subflow: SubflowPointers, name: string): LanguageValue | undefined {
  if (Object.hasOwn(madeFacts, name)) return madeFacts[name](lowering, subflow);
  if (!Object.hasOwn(plainFacts, name)) return undefined;
  const { struct, field, type, fraction } = plainFacts[name];
  const value = loadField(lowering, subflow.tcp, { struct, field }, type);
  if (fraction === undefined) return lowering.integer(type, value);
  return lowering.integer(type, lowering.builder.binary("lshr", value, lowering.builder.const(fraction)));
}

export const tcpField = (field: string): KernelField => ({ struct: "tcp_sock", field });
export const subflowField = (field: string): KernelField => ({ struct: "mptcp_subflow_context", field });

/** An integer of exactly that type. */
export function loadField({ builder }: Lowering, base: Value, field: KernelField, type: IntegerName): Value {
  const size = integerSizes[type];
  return builder.load(size, base, 0, widthOf(type) === 64 ? int64 : int32, { ...field, size });
}

/** A field of bits, all of them in one byte. */
export function loadBits({ builder }: Lowering, base: Value, { struct, field }: KernelField): Value {
  const byte = builder.load(1, base, 0, int32, { struct, field });
  const number = (part: "shift" | "mask"): Value => builder.kernelNumber({ kind: "bitField", struct, field, part });
  return builder.binary("and", builder.binary("lshr", byte, number("shift")), number("mask"));
}

/** Where a field points to, as a pointer to a structure: no access to it can fault, and what is read of null is 0. */
export function loadPointer(lowering: Lowering, base: Value, field: KernelField, struct: string): Value {
  return castTo(lowering, lowering.builder.load(8, base, 0, int64, field), struct);
}

export function castTo({ builder }: Lowering, address: Value, struct: string): Value {
  return builder.call(
    "bpf_rdonly_cast",
    [address, builder.kernelNumber({ kind: "type", struct })],
    pointer("kernel", true),
    "none",
  );
}

export function storeField(
  { builder }: Lowering,
  base: Value,
  field: KernelField,
  size: MemorySize,
  value: Value,
): void {
  builder.store(size, base, 0, value, { ...field, size });
}
