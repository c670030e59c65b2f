import { describe, expect, it } from "vitest";
import type { Hook } from "../compiler/index.ts";
import { actorChains, selectorChains } from "../compiler/testing/chains.ts";
import { canTestRun, capturedFrames, generatedFrames, locateTcp } from "../compiler/testing/frames.ts";
import { KernelRunner } from "../compiler/testing/kernel-runner.ts";
import { chain, type ChainOptions, type Runner, type StateEntry } from "../compiler/testing/policy-harness.ts";
import { makeFrame } from "../compiler/testing/packets.ts";
import { WireError, parsePacket } from "../wire/index.ts";

const packetHooks = ["xdp", "tcx_ingress", "tcx_egress"] as const;
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

/** Times differ between two clocks; whether one was noted does not. */
function withoutTimes(state: Readonly<Record<string, readonly StateEntry[]>>): unknown {
  return Object.entries(state).map(([name, entries]) => [
    name,
    entries.map(({ key, fields }) => [
      key,
      Object.entries(fields).map(([field, value]) => (field.endsWith("Ns") ? [field, value !== 0n] : [field, value])),
    ]),
  ]);
}

/**
 * Round-trip times and window scales as if the flows had been measured, so that rate_limit gets to act. The times are so
 * long that no window is corrected while the test runs, which would depend on the clock.
 */
function measured(_name: string, { key, fields }: StateEntry): Record<string, bigint> {
  if (!("scaleKnown" in fields)) return {};
  const random = BigInt(`0x${key.slice(20, 32)}`) ^ BigInt(`0x${key.slice(64, 72)}`);
  const rttUs = (random % 50_000_000n) + 60_000_000n;
  return { ...("rttUs" in fields && { rttUs }), scale: random % 15n, scaleKnown: 1n };
}

const optionWriters: ReadonlySet<string> = new Set(["blk_subflow", "clamp_mss", "audit_credits"]);
const windowWriters: ReadonlySet<string> = new Set(["rate_limit", "cap_window"]);

/** Bytes of a frame a chain may change: of the options, of the window, and of the checksum. */
function ownedBytes(frame: Uint8Array, actors: readonly string[]): readonly (readonly [from: number, to: number])[] {
  const found = locateTcp(frame);
  if (!found) return [];
  return [
    ...(actors.some((name) => optionWriters.has(name)) ? [[found.tcp + 20, found.payload] as const] : []),
    ...(actors.some((name) => windowWriters.has(name)) ? [[found.tcp + 14, found.tcp + 16] as const] : []),
    ...(actors.length > 0 ? [[found.tcp + 16, found.tcp + 18] as const] : []),
  ];
}

function hasRightChecksum(frame: Uint8Array): boolean {
  try {
    const { tcp } = parsePacket(frame);
    return tcp !== undefined && tcp.checksum === undefined;
  } catch (error) {
    if (error instanceof WireError) return false;
    throw error;
  }
}

function checkHarmless(before: Uint8Array, after: Uint8Array, actors: readonly string[]): void {
  const owned = ownedBytes(before, actors);
  const strange = [...after.keys()].filter(
    (at) => after[at] !== before[at] && !owned.some(([from, to]) => at >= from && at < to),
  );
  expect({ length: after.length, strange }, hex(before)).toEqual({ length: before.length, strange: [] });
  if (hasRightChecksum(before)) expect(hasRightChecksum(after), `checksum of ${hex(before)}`).toBe(true);
}

function runBoth(options: ChainOptions, hook: Hook, frames: readonly Uint8Array[]): { changed: number; seen: number } {
  const actors = (options.actors ?? []).map((use) => (typeof use === "string" ? use : use[0]));
  const writers = actors.filter((name) => name !== "record");
  const tested = chain(options);
  const vm = tested.vm(hook);
  using kernel = new KernelRunner(tested, hook);
  let changed = 0;
  const pass = (): void => {
    for (const frame of frames) {
      const [left, right] = [vm, kernel].map((runner: Runner) => {
        const { verdict, packet } = runner.run(frame);
        return { verdict, packet: hex(packet), ...runner.counters() };
      });
      if (JSON.stringify(left) !== JSON.stringify(right)) expect(left, `VM, for ${hex(frame)}`).toEqual(right);
      if (left.packet === hex(frame)) continue;
      changed++;
      checkHarmless(frame, Buffer.from(left.packet, "hex"), writers);
    }
    expect(withoutTimes(vm.state())).toEqual(withoutTimes(kernel.state()));
  };
  pass();
  for (const runner of [vm, kernel]) runner.changeState(measured);
  pass();
  return { changed, seen: vm.counters().seen };
}

/** Which of the chains must have changed packets, when thousands of all kinds went through. */
function mustChange(options: ChainOptions, hook: Hook): boolean {
  return (options.actors ?? []).some((use) => [use].flat()[0] === "blk_subflow") || hook !== "tcx_egress";
}

/** ACKs of a subflow that carry grants, of which some are not to be believed. */
const grants = Array.from({ length: 60 }, (_, i) =>
  makeFrame({
    options: [
      { kind: "unknown", bytes: Uint8Array.of(254, 8, 0xec, 0xd7, i % 9 === 0 ? 9 : 0, i % 5, (i * 37) % 251, i) },
    ],
    tcp: { acknowledgment: 400 * i },
  }),
);
const frames = [...capturedFrames(), ...generatedFrames(700, 7), ...grants];

describe.each(packetHooks)("VM and kernel agree on %s", (hook) => {
  const usable = frames.filter((frame) => canTestRun(frame, hook));

  it.each(Object.entries(actorChains))("on what thousands of packets become: %s", (name, options) => {
    const { changed, seen } = runBoth(options, hook, usable);
    expect(seen).toBeGreaterThan(1000);
    if (name === "record") expect(changed).toBe(0);
    else if (mustChange(options, hook)) expect(changed).toBeGreaterThan(10);
  });

  it.each(Object.entries(selectorChains))("on which packets match: %s", (_name, options) => {
    expect(runBoth(options, hook, usable.slice(0, 500)).changed).toBe(0);
  });

  it("on which frames hold a whole TCP segment, as a careful reader finds", () => {
    const vm = chain({ actors: ["record"] }).vm(hook);
    for (const frame of frames) {
      const before = vm.counters().seen;
      vm.run(frame);
      expect(vm.counters().seen - before, hex(frame)).toBe(locateTcp(frame) ? 1 : 0);
    }
  });
});
