import { afterAll, describe, expect, it } from "vitest";
import { KernelRunner } from "../testing/kernel-runner.ts";
import { makeFrame, type PacketParts } from "../testing/packets.ts";
import { chain } from "../testing/policy-harness.ts";
import type { Hook } from "../index.ts";
import { segmentMakers } from "../testing/segment-makers.ts";
import type { TcpOption } from "../../wire/index.ts";

const nop: TcpOption = { kind: "nop" };
const usual: readonly TcpOption[] = [nop, nop, { kind: "timestamps", value: 0x0a0b_0c0d, echoReply: 0x0102_0304 }];
const v6 = { source: "fd00::2", destination: "fd00::1" };
const frames: Readonly<Record<string, PacketParts>> = {
  "a pure ACK": { options: usual },
  "a bare one": {},
  "a segment with payload": { options: usual, payload: 1001 },
  IPv6: { ...v6, options: usual, payload: 20 },
  "IP options in a VLAN": { vlans: [7], ipOptions: new Uint8Array(8).fill(1), payload: 3 },
  "a full header": { options: [...usual, { kind: "unknown", bytes: Uint8Array.of(253, 28, ...Array(26).fill(1)) }] },
};

const hooksOf = (actor: string): readonly Hook[] =>
  actor === "repaint" ? ["tcx_ingress", "tcx_egress"] : ["xdp", "tcx_ingress", "tcx_egress"];

describe("segments that a chain makes", () => {
  const runners = new Map<string, KernelRunner>();
  afterAll(() => {
    for (const runner of runners.values()) runner[Symbol.dispose]();
  });

  // A copy that the kernel sends in a test run would leave by the loopback interface of whoever runs it: in the lab only.
  const actors = ["insert_priority", "insert_wide", "insert_saved", "answer_priority", "elsewhere", "repaint"];
  const cases = actors.flatMap((actor) =>
    hooksOf(actor).flatMap((hook) =>
      Object.entries(frames).map(([name, parts]) => [actor, hook, name, parts] as const),
    ),
  );
  it.each(cases)("%s on %s: the VM and the kernel agree on %s", (actor, hook, _, parts) => {
    const under = chain({ source: segmentMakers, actors: [actor] });
    const key = `${actor} ${hook}`;
    const kernel = runners.get(key) ?? new KernelRunner(under, hook);
    runners.set(key, kernel);
    const frame = makeFrame(parts);
    const { verdict, packet } = under.vm(hook).run(frame, hook);
    expect(kernel.run(frame, hook)).toEqual({ verdict, packet });
  });
});
