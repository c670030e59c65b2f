import { createHmac } from "node:crypto";
import { expect, it } from "vitest";
import { KernelRunner } from "../testing/kernel-runner.ts";
import { makeFrame } from "../testing/packets.ts";
import { chain } from "../testing/policy-harness.ts";
import { policySource } from "../testing/policy-source.ts";
import { importEverything } from "../testing/refusals.ts";

const signing = chain({
  source: policySource(`${importEverything}
export const sign = actor({ name: "sign", state: { out: shared({ hmac: u64 }) }, run(packet, _params, { out }) {
  const { sequence } = packet.tcp;
  out.hmac = mptcpHmac(0x0123_4567_89ab_cdef, u64(sequence), u64(sequence) << 32, 0, 0, 7);
} });`),
  actors: ["sign"],
});

it.each(["tcx_ingress", "xdp"] as const)(
  "mptcpHmac() gives in the kernel what crypto libraries give, on %s",
  (hook) => {
    const sequence = 0x8123_4567;
    const keys = Buffer.from("0123456789abcdef0000000081234567", "hex");
    const message = Buffer.from("81234567000000", "hex");
    const digest = createHmac("sha256", keys).update(message).digest();
    using kernel = new KernelRunner(signing, hook);
    kernel.run(makeFrame({ tcp: { sequence } }));
    expect(kernel.state()["0.out"][0].fields).toEqual({ hmac: digest.readBigUInt64BE(24) });
    expect(kernel.verifiedInstructions()).toBeLessThan(60_000);
  },
);
