/** Chains of built-in policies that the tests run everywhere. */
import { MemberSet } from "../../chain/member-set.ts";
import { rate } from "../../policy/index.ts";
import { packetType } from "../../policies/index.ts";
import type { ChainOptions, Selection } from "./policy-harness.ts";

/** A rate each: what the member brings along decides. */
const sources = new MemberSet("src", {
  name: "sources",
  params: { rate },
  members: [
    { prefix: "10.0.0.0/23", rate: "8kbit" },
    { prefix: "10.0.0.2", rate: "20mbit" },
    { prefix: "fd00::/63", rate: "12kbit" },
    { prefix: "fd00::/127", rate: "30mbit" },
  ],
});
const pairs = new MemberSet("ip_pair", {
  members: [
    { local: "10.0.0.1", remote: "10.0.0.2" },
    { local: "10.0.1.1", remote: "10.0.0.1" },
    { local: "fd00::1", remote: "fd00::2" },
  ],
});
const ports = new MemberSet("port", { constants: { side: "local" }, members: [{ port: 80 }, { port: 443 }] });

const limit = ["rate_limit", { rate: "8kbit" }] as const;
const typeChoices =
  packetType.params.type.representation.kind === "choice" ? packetType.params.type.representation.choices : [];

/** By what they show; the generated frames use addresses in 10.0.0.0/23 and fd00::/63 and ports 80, 443 and 5001. */
export const actorChains: Readonly<Record<string, ChainOptions>> = {
  record: { actors: ["record"] },
  blk_subflow: { actors: ["blk_subflow"] },
  rate_limit: { actors: [limit] },
  "police, cap_window, clamp_mss": {
    actors: [
      // So much that no packet meets a limit, which would depend on the clock.
      ["police", { rate: "8gbit" }],
      ["cap_window", { window: 1000 }],
      ["clamp_mss", { by: 40 }],
    ],
  },
  audit_credits: { actors: ["audit_credits"] },
  "blk_subflow, record, rate_limit": { actors: ["blk_subflow", "record", limit] },
  "blk_subflow, record, rate_limit at the rate of a set's member": {
    select: sources,
    actors: ["blk_subflow", "record", ["rate_limit", { rate: sources.param("rate") }]],
  },
  "blk_subflow, record, rate_limit behind a prefix": {
    select: ["dst", { prefix: "10.0.0.0/24" }],
    actors: ["blk_subflow", "record", limit],
  },
};

const selections: Readonly<Record<string, Selection>> = {
  "src v4": ["src", { prefix: "10.0.0.0/31" }],
  "src v6": ["src", { prefix: "fd00:0:0:1::/64" }],
  "dst v4": ["dst", { prefix: "10.0.1.0/24" }],
  "dst v6, not on a byte's edge": ["dst", { prefix: "fd00::2/127" }],
  "dst v6, shorter than a word": ["dst", { prefix: "fc00::/7" }],
  "all of IPv4": ["dst", { prefix: "0.0.0.0/0" }],
  "all of IPv6": ["dst", { prefix: "::/0" }],
  "ip_pair v4": ["ip_pair", { local: "10.0.0.1", remote: "10.0.0.2" }],
  "ip_pair v6": ["ip_pair", { local: "fd00:0:0:0::1", remote: "fd00::3" }],
  "subflow v4": ["subflow", { local: "10.0.0.2", remote: "10.0.1.1", localPort: 443, remotePort: 80 }],
  "subflow v6": ["subflow", { local: "fd00::1", remote: "fd00::1", localPort: 80, remotePort: 80 }],
  "port, either side": ["port", { port: 443 }],
  "port, ours": ["port", { port: 80, side: "local" }],
  "port, the peer's": ["port", { port: 80, side: "remote" }],
  "a set of prefixes": sources,
  "a set of pairs of addresses": pairs,
  "a set of ports, and none of another": { and: [ports, { not: pairs }] },
  "sequence of subflows": ["sequence", { of: "subflow", from: 0xc000_0000, to: 0x4000_0000 }],
  "sequence of data, all in the lower half": ["sequence", { of: "data", from: 5, to: 0x8000_0000 }],
  "sequence of data, where numbers start again": ["sequence", { of: "data", from: 1n << 63n, to: 0x7fff_ffff }],
  and: {
    and: [
      ["src", { prefix: "10.0.0.0/23" }],
      ["packet_type", { type: "pure_ack" }],
    ],
  },
  or: {
    or: [
      ["src", { prefix: "10.0.0.1" }],
      ["dst", { prefix: "fd00::/32" }],
      ["packet_type", { type: "rst" }],
    ],
  },
  not: { not: ["packet_type", { type: "data" }] },
  "and, or and not together": {
    and: [
      {
        or: [
          ["src", { prefix: "10.0.0.0/24" }],
          ["dst", { prefix: "fd00::/16" }],
        ],
      },
      { not: { and: [["packet_type", { type: "data_ack" }], { not: ["packet_type", { type: "fin" }] }] } },
    ],
  },
};

export const selectorChains: Readonly<Record<string, ChainOptions>> = {
  ...Object.fromEntries(
    Object.entries({
      ...selections,
      ...Object.fromEntries(typeChoices.map((type): [string, Selection] => [type, ["packet_type", { type }]])),
    }).map(([name, select]): [string, ChainOptions] => [name, { select, actors: ["record"] }]),
  ),
  "all but forged announcements": { select: { not: "forged" }, actors: ["record"] },
  "mptcp_conn, with what it tells of connections": {
    select: ["mptcp_conn", { token: 5 }],
    actors: ["get_connect", "get_subflow"],
  },
  "what connections tell": { actors: ["get_connect", "get_subflow"] },
};
