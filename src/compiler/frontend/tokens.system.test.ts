import { describe, expect, it } from "vitest";
import { mptcpToken, type TcpOption } from "../../wire/index.ts";
import { KernelRunner } from "../testing/kernel-runner.ts";
import { makeFrame } from "../testing/packets.ts";
import { chain } from "../testing/policy-harness.ts";
import { policySource } from "../testing/policy-source.ts";
import { importEverything } from "../testing/refusals.ts";

/** Learns a connection from its first packet, in either version. */
const source = policySource(`${importEverything}
export const learn = selector({
  name: "learn",
  state: { connections: flows({ token: u32, tokenV0: u32 }) },
  observe(packet, { connections }) {
    if (!packet.tcp.syn) return;
    let key: u64 = 0;
    for (const option of packet.tcp.options)
      if (option.subtype === subtype.capable && option.length >= 12) { key = option.u64(4); break; }
    if (key === 0) return;
    const connection = connections.getOrCreate(packet.flow);
    if (!connection) return;
    connection.token = mptcpToken(key);
    connection.tokenV0 = mptcpTokenV0(key);
  },
  run(packet, _, { connections }) { return connections.get(packet.flow) !== undefined; },
});`);

const key = 0x0123_4567_89ab_cdefn;

describe("mptcpToken()", () => {
  it.each(["tcx_ingress", "xdp"] as const)("gives in the kernel what crypto libraries give, on %s", (hook) => {
    const tested = chain({ source, select: "learn", actors: ["record"] });
    const vm = tested.vm(hook);
    using kernel = new KernelRunner(tested, hook);
    const capable: TcpOption = {
      kind: "mpCapable",
      version: 1,
      checksumRequired: false,
      extensibility: false,
      denyJoinId0: false,
      hmac: true,
      reserved: 0,
      senderKey: key,
    };
    const frame = makeFrame({ tcp: { flags: 0x12 }, options: [capable] });
    for (const runner of [vm, kernel]) {
      runner.run(frame);
      expect(runner.state()["selector0.connections"][0].fields).toEqual({
        token: BigInt(mptcpToken(key, 1)),
        tokenV0: BigInt(mptcpToken(key, 0)),
      });
    }
    // A quarter of what the verifier follows at most: others share the program.
    expect(kernel.verifiedInstructions()).toBeLessThan(250_000);
  });
});
