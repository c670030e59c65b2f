import { expect, it } from "vitest";
import { MemberSet } from "../chain/member-set.ts";
import { KernelRunner } from "../compiler/testing/kernel-runner.ts";
import { makeFrame } from "../compiler/testing/packets.ts";
import { chain, type Runner } from "../compiler/testing/policy-harness.ts";
import { policySource } from "../compiler/testing/policy-source.ts";
import { u16 } from "../policy/index.ts";
import { parsePacket } from "../wire/index.ts";

const source = policySource(`
import { actor, u16 } from "emptcp/policy";
export const fix = actor({
  name: "fix",
  direction: "both",
  params: { window: u16 },
  run({ tcp }, { window }) { tcp.window = window; },
});
`);

const size = 100_000;
/** Member `i`: both IP versions, each with a window of its own. */
const subflow = (i: number) => ({
  ...(i % 2
    ? { local: "10.0.0.1", remote: `10.1.${(i >> 8) & 255}.${i & 255}` }
    : { local: "fd00::1", remote: `fd00::${(i >> 8).toString(16)}:${(i & 255).toString(16)}` }),
  localPort: 80,
  remotePort: 1024 + (i >> 4),
});
const windowOf = (i: number): number => 1 + (i % 65_535);
const arriving = (i: number): Uint8Array => {
  const { local, remote, localPort, remotePort } = subflow(i);
  return makeFrame({ source: remote, destination: local, tcp: { sourcePort: remotePort, destinationPort: localPort } });
};

it("a set of 100 000 subflows gives each packet its member's parameter, in VM and kernel, and others none", () => {
  const set = new MemberSet("subflow", {
    params: { window: u16 },
    max: size,
    members: Array.from({ length: size }, (_, i) => ({ ...subflow(i), window: windowOf(i) })),
  });
  const tested = chain({ source, select: set, actors: [["fix", { window: set.param("window") }]] });
  const sample = Array.from({ length: 500 }, (_, k) => (k * 7919) % size);
  const check = (runner: Runner): void => {
    const windows = (members: readonly number[]) =>
      members.map((i) => parsePacket(runner.run(arriving(i)).packet).tcp!.window);
    expect(windows(sample)).toEqual(sample.map(windowOf));
    expect(windows([size, size + 1, size + 77])).toEqual([1000, 1000, 1000]);
    expect(runner.counters()).toMatchObject({ seen: 503, matched: [500], acted: [500] });
  };
  check(tested.vm("tcx_ingress"));
  using kernel = new KernelRunner(tested, "tcx_ingress");
  check(kernel);
});
