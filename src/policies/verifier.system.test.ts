import { describe, expect, it } from "vitest";
import type { Hook } from "../compiler/index.ts";
import { actorChains, selectorChains } from "../compiler/testing/chains.ts";
import { KernelRunner } from "../compiler/testing/kernel-runner.ts";
import { chain, type ChainOptions } from "../compiler/testing/policy-harness.ts";

/** The kernel gives up at a million; a chain of three actors should leave room for a user's own. */
const mostFollowed = 600_000;
const packetHooks = ["xdp", "tcx_ingress", "tcx_egress"] as const;

const chains: Readonly<Record<string, ChainOptions>> = {
  ...actorChains,
  "grant_credits, which keeps accounts": { actors: ["record", ["grant_credits", { rate: "10mbit" }]] },
  "packet_type, which walks the options": selectorChains["join_syn"],
  "sequence of data, which reads DSS options in all their lengths":
    selectorChains["sequence of data, all in the lower half"],
  "blk_subflow but for forged announcements": { select: { not: "forged" }, actors: ["blk_subflow"] },
  "mptcp_conn, which hashes keys": selectorChains["mptcp_conn, with what it tells of connections"],
  "packet_type, negated": { select: { not: ["packet_type", { type: "data_fin" }] }, actors: ["record"] },
};
const onHooks = Object.entries(chains).flatMap(([name, options]) =>
  packetHooks.map((hook): [string, Hook, ChainOptions] => [name, hook, options]),
);

describe("the verifier follows a chain with room to spare", () => {
  it.each(onHooks)("%s on %s", (_name, hook, options) => {
    using kernel = new KernelRunner(chain(options), hook);
    const followed = kernel.verifiedInstructions();
    if (process.env["SHOW_VERIFIED"]) console.info(`${_name} on ${hook}: ${followed}`);
    expect(followed).toBeLessThan(mostFollowed);
  });

  it.each(["sock_ops", "iter_tcp", "iter_tcp_release"] as const)("pace on %s", (hook) => {
    const select = ["subflow", { local: "fd00::1", remote: "fd00::2", localPort: 1, remotePort: 2 }] as const;
    using kernel = new KernelRunner(chain({ select, actors: [["pace", { rate: "1mbit" }]] }), hook);
    expect(kernel.verifiedInstructions()).toBeLessThan(1000);
  });
});
