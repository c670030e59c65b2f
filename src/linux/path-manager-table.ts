/** The netlink family `mptcp_pm`: commands, their attributes, flags of addresses (include/uapi/linux/mptcp_pm.h). */
import type { FamilyTable } from "./generic-netlink.ts";

const address = {
  family: [1, "u16"],
  id: [2, "u8"],
  address4: [3, "bytes"],
  address6: [4, "bytes"],
  port: [5, "u16"],
  flags: [6, "u32"],
  interfaceIndex: [7, "s32"],
} as const;

const endpoint = { address: [1, address] } as const;
const limits = { acceptedAddresses: [2, "u32"], subflows: [3, "u32"] } as const;
const token = { token: [4, "u32"] } as const;
const subflow = { address: [1, address], ...token, remote: [6, address] } as const;

export const pathManagerFamily = {
  name: "mptcp_pm",
  needs: "CONFIG_MPTCP=y, Linux 5.7 or newer",
  commands: {
    addEndpoint: { id: 1, attributes: endpoint, since: "5.7" },
    removeEndpoint: { id: 2, attributes: endpoint, since: "5.7" },
    /** With a token the addresses of a connection whose path manager is in user space. */
    getEndpoint: { id: 3, attributes: { ...endpoint, ...token }, since: "5.7" },
    flushEndpoints: { id: 4, attributes: endpoint, since: "5.7" },
    setLimits: { id: 5, attributes: limits, since: "5.7" },
    getLimits: { id: 6, attributes: limits, since: "5.7" },
    setFlags: { id: 7, attributes: subflow, since: "5.12" },
    announce: { id: 8, attributes: { address: [1, address], ...token }, since: "5.19" },
    withdraw: { id: 9, attributes: { ...token, id: [5, "u8"] }, since: "5.19" },
    createSubflow: { id: 10, attributes: subflow, since: "5.19" },
    destroySubflow: { id: 11, attributes: subflow, since: "5.19" },
  },
} as const satisfies FamilyTable;

export type PathManagerCommandName = keyof typeof pathManagerFamily.commands;

/** Multicast group of what happens to connections. */
export const pathManagerEvents = "mptcp_pm_events";

/** Bits of an address's flags. `implicit` is the kernel's own: an address that a connection uses without being told to. */
export const endpointFlags = { signal: 1, subflow: 2, backup: 4, fullmesh: 8, implicit: 16, laminar: 32 } as const;
export type EndpointFlag = keyof typeof endpointFlags;

export const encodeFlags = (flags: readonly EndpointFlag[]): number =>
  flags.reduce((bits, flag) => bits | endpointFlags[flag], 0);

export const decodeFlags = (bits: number): EndpointFlag[] =>
  (Object.keys(endpointFlags) as EndpointFlag[]).filter((flag) => (bits & endpointFlags[flag]) !== 0);
