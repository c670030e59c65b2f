import { describe, expect, it } from "vitest";
import { makeFrame } from "../compiler/testing/packets.ts";
import { chain, type VmRunner } from "../compiler/testing/policy-harness.ts";
import { parseIpAddress, parsePacket, type TcpOption } from "../wire/index.ts";

// What blk_subflow keeps, and what add_subflow makes of it, on one host.

const layouts: [address: string, port: number | undefined][] = [
  ["10.1.2.3", undefined],
  ["10.1.2.3", 7001],
  ["2001:db8::42:1", undefined],
  ["2001:db8::42:1", 7001],
];

/** What both an announcement and its echo say. */
const announced = (address: string, port?: number, addressId = 9) =>
  ({
    kind: "addAddr",
    version: 1,
    addressId,
    address: parseIpAddress(address),
    ...(port !== undefined && { port }),
  }) as const;
const announcement = (...of: Parameters<typeof announced>): TcpOption => ({
  ...announced(...of),
  echo: false,
  hmac: 0x0102_0304_0506_0708n,
});
const nop: TcpOption = { kind: "nop" };
const usual: readonly TcpOption[] = [nop, nop, { kind: "timestamps", value: 5, echoReply: 6 }];
const dataAck: TcpOption = { kind: "unknown", bytes: Uint8Array.of(30, 8, 0x20, 1, 0, 0, 0, 1) };
/** RFC 6824: the IP version where version 1 has flags, and no HMAC. */
const olderAnnouncement: TcpOption = { kind: "unknown", bytes: Uint8Array.of(30, 8, 0x34, 5, 10, 0, 0, 9) };

const frame = (options: readonly TcpOption[], payload = 0): Uint8Array => makeFrame({ options, payload });
const optionsOf = (packet: Uint8Array): readonly TcpOption[] =>
  parsePacket(packet).tcp!.options.filter(({ kind }) => kind !== "nop");

describe("blk_subflow by echo", () => {
  const blocking = chain({ actors: [["blk_subflow", { method: "echo" }]] });

  it.each(layouts)("answers an announcement of %s, port %s, as its receiver would", (address, port) => {
    const { verdict, packet } = blocking.vm("tcx_ingress").run(frame([announcement(address, port)]));
    expect(verdict).toBe("redirect");
    const { tcp } = parsePacket(packet);
    expect(tcp).toMatchObject({ sourcePort: 80, destinationPort: 5001, flags: 0x10 });
    expect(tcp).not.toHaveProperty("checksum");
    expect(optionsOf(packet)).toEqual([{ ...announced(address, port), echo: true }]);
  });

  it("only blocks what the older version announces, which knows no echoes", () => {
    const vm = blocking.vm("tcx_ingress");
    expect(vm.run(frame([olderAnnouncement])).verdict).toBe("drop");
    expect(vm.state()["0.keptOptions"]).toHaveLength(1);
  });
});

describe("add_subflow", () => {
  const both = chain({ actors: ["blk_subflow", "add_subflow"] });
  const blocked = (option: TcpOption): VmRunner => {
    const vm = both.vm("tcx_ingress");
    expect(vm.run(frame([option])).verdict).toBe("drop");
    return vm;
  };

  it.each(layouts)(
    "gives back the announcement of %s, port %s, with its signature, and then lets it pass",
    (address, port) => {
      const option = announcement(address, port);
      const vm = blocked(option);
      expect(optionsOf(vm.run(frame([])).packet)).toEqual([option]);
      const after = frame([dataAck]);
      expect(vm.run(after).packet).toEqual(after);
      const repeated = frame([option]);
      expect(vm.run(repeated)).toEqual({ verdict: "pass", packet: repeated });
    },
  );

  it("sends it beside a segment that has no room, whose bytes stay what they were", () => {
    const option = announcement("2001:db8::42:1");
    const vm = blocked(option);
    const data = frame([...usual, dataAck], 1000);
    const { packet, clones } = vm.run(data);
    expect(optionsOf(packet)).toEqual([usual[2], option]);
    expect(clones).toMatchObject([{ packet: data }]);
  });

  it("gives back several, one with each packet", () => {
    const [first, second] = [announcement("10.1.2.3", undefined, 3), announcement("10.1.2.4", undefined, 60)];
    const vm = blocked(first);
    vm.run(frame([second]));
    expect([0, 1, 2].flatMap(() => optionsOf(vm.run(frame([])).packet))).toEqual([first, second]);
  });

  it("waits, and says so, while no packet has room", () => {
    const vm = blocked(announcement("10.1.2.3"));
    const full = frame([{ kind: "unknown", bytes: Uint8Array.of(253, 40, ...Array<number>(38).fill(1)) }], 1);
    expect(vm.run(full, "tcx_ingress", { mark: 1 }).packet).toEqual(full);
    expect(vm.counters().cannot[1]["option_space"]).toBeGreaterThan(0);
    expect(optionsOf(vm.run(frame([])).packet)).toHaveLength(1);
  });
});
