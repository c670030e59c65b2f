/** TCP headers in words, for people who know the RFCs' names. */
import { toHex } from "./bytes.ts";
import { formatIpAddress } from "./ip.ts";
import type { TcpOption } from "./tcp-options.ts";
import { TcpFlag } from "./tcp.ts";

const optionNames: Readonly<Record<TcpOption["kind"], string>> = {
  endOfList: "end",
  nop: "nop",
  maximumSegmentSize: "MSS",
  windowScale: "window scale",
  sackPermitted: "SACK permitted",
  sack: "SACK",
  timestamps: "timestamps",
  mpCapable: "MP_CAPABLE",
  mpJoinSyn: "MP_JOIN",
  mpJoinSynAck: "MP_JOIN",
  mpJoinAck: "MP_JOIN",
  dss: "DSS",
  addAddr: "ADD_ADDR",
  removeAddr: "REMOVE_ADDR",
  mpPrio: "MP_PRIO",
  mpFail: "MP_FAIL",
  mpFastclose: "MP_FASTCLOSE",
  mpTcpRst: "MP_TCPRST",
  mptcpUnknown: "unknown MPTCP option",
  unknown: "unknown option",
  malformed: "malformed option",
};

/** Fields whose value says enough without their name. */
const bare: ReadonlySet<string> = new Set(["bytes", "shift", "address"]);

/** The option's name as the RFCs write it: `ADD_ADDR`, `MSS`. */
export function tcpOptionName({ kind }: TcpOption): string {
  return optionNames[kind];
}

/** Name and fields: `ADD_ADDR 10.0.0.7 addressId=2`, `MSS 1460`; flags by their names, and only those that are set. */
export function describeTcpOption(option: TcpOption): string {
  const words = Object.entries(option).flatMap(([name, value]: [string, unknown]) => {
    if (name === "kind" || value === undefined || value === false) return [];
    if (value === true) return [name];
    const text = describeValue(name, value);
    return [bare.has(name) ? text : `${name}=${text}`];
  });
  return [optionNames[option.kind], ...words].join(" ");
}

function describeValue(name: string, value: unknown): string {
  if (value instanceof Uint8Array) return name === "address" ? formatIpAddress(value) : toHex(value);
  if (Array.isArray(value))
    return (value as { left: number; right: number }[]).map(({ left, right }) => `${left}-${right}`).join(",");
  // Keys, nonces, tokens and HMACs are patterns of bits rather than amounts.
  if (/key|nonce|token|hmac/i.test(name)) return `0x${(value as number | bigint).toString(16)}`;
  return String(value);
}

/** `SYN,ACK`; `none` where no bit is set. */
export function describeTcpFlags(flags: number): string {
  const set = Object.entries(TcpFlag).filter(([, bit]) => (flags & bit) !== 0);
  return set.map(([name]) => name.toUpperCase()).join(",") || "none";
}
