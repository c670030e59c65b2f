import { describe, expect, it } from "vitest";
import { makeFrame } from "../compiler/testing/packets.ts";
import { chain } from "../compiler/testing/policy-harness.ts";
import { parsePacket, type TcpOption } from "../wire/index.ts";

// What holds a rate without a control loop: a policer, a fixed window, and room for options in segments.

const [SYN, SYN_ACK, RST] = [0x02, 0x12, 0x04];
const bothWays = ["tcx_ingress", "tcx_egress"] as const;

const v4 = { source: "10.0.0.1", destination: "10.0.0.2" };
const v6 = { source: "fd00::1", destination: "fd00::2" };

const policed = (params: object) => chain({ actors: [["police", params as never]] }).vm(...bothWays);
/** 1000 bytes of payload in a frame of `length`. */
const data = (ecn = 0, addresses: object = v4): Uint8Array => makeFrame({ ...addresses, ecn, payload: 1000 });
const ecnOf = (frame: Uint8Array): number => parsePacket(frame).ip!.trafficClass & 3;
const capped = (window: number) => chain({ actors: [["cap_window", { window }]] }).vm("tcx_ingress");
const greet = (shift?: number): Uint8Array =>
  makeFrame({ tcp: { flags: SYN }, options: shift === undefined ? [] : [{ kind: "windowScale", shift }] });
const windowOf = (frame: Uint8Array): number => parsePacket(frame).tcp!.window;
const mss = (bytes: number): TcpOption => ({ kind: "maximumSegmentSize", bytes });
const nop: TcpOption = { kind: "nop" };
const mssOf = (frame: Uint8Array): number | undefined =>
  parsePacket(frame).tcp!.options.flatMap((one) => (one.kind === "maximumSegmentSize" ? [one.bytes] : []))[0];
const from = (port: number) => makeFrame({ payload: 500, tcp: { sourcePort: port } });

describe("police", () => {
  const { length } = data();

  it("lets pass what the rate gives and a burst, whatever comes", () => {
    const vm = policed({ rate: "8mbit", burst: 10 * length });
    let passed = 0;
    // 4000 packets a second, of which 1 Mbyte per second may pass.
    for (let i = 0; i < 8000; i++) {
      if (vm.run(data(), "tcx_ingress").verdict === "pass") passed += length;
      vm.clockNs += 250_000n;
    }
    expect(passed).toBeGreaterThan(2_000_000 - length);
    expect(passed).toBeLessThan(2_000_000 + 12 * length);
  });

  it("never drops what comes slower", () => {
    const vm = policed({ rate: "8mbit", burst: length });
    for (let i = 0; i < 100; i++) {
      expect(vm.run(data(), "tcx_ingress").verdict).toBe("pass");
      vm.clockNs += BigInt(length) * 1000n;
    }
  });

  it("lets a burst of 100 ms pass unless told otherwise", () => {
    const vm = policed({ rate: "8mbit" });
    const passed = Array.from({ length: 1000 }, () => vm.run(data(), "tcx_ingress").verdict).indexOf("drop");
    expect(passed).toBe(Math.ceil((100_000 + 1) / length));
  });

  it.each([
    ["IPv4", v4],
    ["IPv6", v6],
  ])("marks packets of senders that understand ECN up to twice the burst, and drops beyond: %s", (_, addresses) => {
    const { length: bytes } = data(0, addresses);
    const vm = policed({ rate: "8mbit", burst: 10 * bytes });
    const seen = [1, 2, 3].map((ecn) => {
      vm.clockNs += 10_000_000_000n;
      return Array.from({ length: 30 }, () => {
        const { verdict, packet } = vm.run(data(ecn, addresses), "tcx_egress");
        if (verdict === "pass") expect(parsePacket(packet).tcp).not.toHaveProperty("checksum");
        return verdict === "pass" ? ecnOf(packet) : "drop";
      });
    });
    for (const [i, ecn] of [1, 2, 3].entries())
      expect(seen[i]).toEqual([...Array(11).fill(ecn), ...Array(10).fill(3), ...Array(9).fill("drop")]);
  });

  it("holds each subflow and each direction by itself", () => {
    const vm = policed({ rate: "8kbit", burst: 1 });
    expect([from(1), from(2), from(1)].map((frame) => vm.run(frame, "tcx_ingress").verdict)).toEqual([
      "pass",
      "pass",
      "drop",
    ]);
    const back = makeFrame({ ...v4, payload: 500, tcp: { sourcePort: 80, destinationPort: 1 } });
    expect([back, back].map((frame) => vm.run(frame, "tcx_egress").verdict)).toEqual(["pass", "drop"]);
  });

  it("drops no acknowledgment, and none of the packets that begin and end a connection", () => {
    const vm = policed({ rate: "8kbit", burst: 1 });
    for (let i = 0; i < 3; i++) vm.run(makeFrame({ payload: 500 }), "tcx_ingress");
    for (const flags of [SYN, SYN_ACK, 0x10, 0x11, RST])
      expect(vm.run(makeFrame({ tcp: { flags } }), "tcx_ingress").verdict).toBe("pass");
  });

  it("follows the rate while packets pass", () => {
    const vm = policed({ rate: "8kbit", burst: 1 });
    const verdict = () => vm.run(data(), "tcx_ingress").verdict;
    expect([verdict(), verdict()]).toEqual(["pass", "drop"]);
    vm.set(0, { rate: "8gbit", burst: 1_000_000 });
    vm.clockNs += 3_000_000_000n;
    expect(Array.from({ length: 100 }, verdict)).not.toContain("drop");
  });
});

describe("cap_window", () => {
  it.each([
    ["by the shift of the SYN", 7, 65_536, 512],
    ["of a connection without shifts", undefined, 5000, 5000],
    ["by at most 14", 200, 65_536, 4],
    ["and never closes it", 14, 1000, 1],
  ])("lowers the window %s", (_, shift, window, shown) => {
    const vm = capped(window);
    vm.run(greet(shift));
    expect(windowOf(vm.run(makeFrame({ tcp: { window: 60_000 } })).packet)).toBe(shown);
    expect(windowOf(vm.run(makeFrame({ tcp: { window: 0 } })).packet)).toBe(0);
  });

  it("leaves handshakes and resets alone, and what it knows no shift of", () => {
    const vm = capped(1000);
    const ack = makeFrame({ tcp: { window: 60_000 } });
    expect(vm.run(ack).packet).toEqual(ack);
    expect(vm.counters().cannot).toEqual([{ no_room: 0, unknown_scale: 1 }]);
    for (const flags of [SYN, SYN_ACK, RST]) {
      const frame = makeFrame({ tcp: { flags, window: 60_000 } });
      expect(vm.run(frame).packet).toEqual(frame);
    }
  });
});

describe("clamp_mss", () => {
  const clamp = chain({ actors: [["clamp_mss", { by: 12 }]] });

  it.each([
    ["first", [mss(1460)]],
    ["at an odd place", [nop, mss(1460), nop, nop, nop]],
    ["behind others", [{ kind: "windowScale", shift: 7 }, mss(1460), nop]],
  ] satisfies [string, TcpOption[]][])("lowers the option %s, in either direction", (_, options) => {
    for (const [hook, flags] of [
      ["tcx_ingress", SYN],
      ["tcx_egress", SYN_ACK],
    ] as const)
      for (const addresses of [v4, v6]) {
        const { packet } = clamp.vm(hook).run(makeFrame({ ...addresses, tcp: { flags }, options }), hook);
        expect(mssOf(packet)).toBe(1448);
        expect(parsePacket(packet).tcp).not.toHaveProperty("checksum");
      }
  });

  it("carries over from one byte to the next", () => {
    const { packet } = clamp.vm("tcx_ingress").run(makeFrame({ tcp: { flags: SYN }, options: [mss(1285)] }));
    expect(mssOf(packet)).toBe(1273);
  });

  it("leaves alone what is no SYN, and says where there is nothing to lower", () => {
    const vm = clamp.vm("tcx_ingress");
    const frames = [
      makeFrame({ options: [mss(1460)] }),
      makeFrame({ tcp: { flags: SYN } }),
      makeFrame({ tcp: { flags: SYN }, options: [mss(59)] }),
    ];
    for (const frame of frames) expect(vm.run(frame).packet).toEqual(frame);
    expect(vm.counters().cannot).toEqual([{ no_mss: 1, too_small: 1 }]);
  });
});
