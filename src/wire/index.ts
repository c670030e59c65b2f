/** Packets as values: parse, emit, checksums, sequence numbers, MPTCP's cryptography, capture files. */
export * from "./bytes.ts";
export * from "./checksum.ts";
export * from "./crypto.ts";
export * from "./errors.ts";
export * from "./ethernet.ts";
export * from "./ip.ts";
export * from "./ipv4.ts";
export * from "./ipv6.ts";
export { emitMptcpOption, mptcpOptionKind, parseMptcpOption } from "./mptcp/codec.ts";
export * from "./mptcp/options.ts";
export * from "./packet.ts";
export * from "./sequence.ts";
export * from "./tcp-options.ts";
export * from "./tcp.ts";
export * from "./pcap.ts";
export * from "./pcapng.ts";
