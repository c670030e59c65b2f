/**
 * Arbitrary packets for property tests (fast-check is a development dependency: nothing but tests may import this file).
 * Frames stay below 300 bytes and are mostly MPTCP over TCP.
 */
export * from "./testing-hostile.ts";
export * from "./testing-packets.ts";
