import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { makeFrame } from "../testing/packets.ts";
import { outputs, writing } from "../testing/outputs.ts";

/** The two halves of a key are parameters of the policy. */
const keys = [
  [0, 0],
  [0xffff_ffff, 0xffff_ffff],
  [0x0123_4567, 0x89ab_cdef],
  [0x8000_0000, 1],
  [0xdead_beef, 0x0bad_cafe],
] as const;

function expected(algorithm: string, [upper, lower]: (typeof keys)[number]): bigint {
  const key = Buffer.alloc(8);
  key.writeUInt32BE(upper, 0);
  key.writeUInt32BE(lower, 4);
  return BigInt(createHash(algorithm).update(key).digest().readUInt32BE(0));
}

describe("mptcpToken() and mptcpTokenV0()", () => {
  it.each([
    ["mptcpToken", "sha256"],
    ["mptcpTokenV0", "sha1"],
  ])("%s is the start of the key's %s", (name, algorithm) => {
    const vm = writing(`out.x = ${name}((u64(a) << 32) | u64(b));`, "", "", "tcx_ingress");
    for (const key of keys)
      expect(outputs(vm, makeFrame(), { a: key[0], b: key[1] })[0]).toBe(expected(algorithm, key));
  });

  it("take a key that is known while compiling", () => {
    const vm = writing("out.x = mptcpToken(0x0123_4567_89ab_cdef);");
    expect(outputs(vm, makeFrame())[0]).toBe(expected("sha256", [0x0123_4567, 0x89ab_cdef]));
  });
});
