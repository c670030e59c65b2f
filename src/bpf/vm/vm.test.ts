import { describe, expect, it } from "vitest";
import {
  alu32,
  alu64,
  atomic,
  call,
  callFunction,
  endian,
  exit,
  goto,
  jump64,
  load,
  loadField,
  loadImm64,
  loadMap,
  loadMapValue,
  store,
  storeImm,
} from "../asm.ts";
import type { Instruction } from "../instruction.ts";
import type { MapSpec, ProgramSpec, ProgramTypeName } from "../spec.ts";
import { VmError, type VmErrorKind } from "./errors.ts";
import { ProgramArrayMap, RingBufferMap } from "./maps.ts";
import { Vm } from "./vm.ts";

const R = { r0: 0, r1: 1, r2: 2, r3: 3, r4: 4, r5: 5, r6: 6, r7: 7, r10: 10 } as const;

function spec(
  instructions: readonly Instruction[],
  type: ProgramTypeName = "schedCls",
  maps: Readonly<Record<string, MapSpec>> = {},
): ProgramSpec {
  return { name: "test", type, license: "GPL", instructions, maps };
}

function mapSpec(type: MapSpec["type"], maxEntries: number, keySize = 4, valueSize = 8): MapSpec {
  return { name: "m", type, keySize, valueSize, maxEntries };
}

const frame = Uint8Array.from({ length: 60 }, (_, i) => (i === 12 ? 8 : i === 13 ? 0 : i));

function errorOf(run: () => unknown): VmError {
  try {
    run();
  } catch (error) {
    if (error instanceof VmError) return error;
    throw error;
  }
  throw new Error("The program ran");
}

describe("Vm.runPacket()", () => {
  it("gives full packet pointers from 4-byte loads, and bounds that compare", () => {
    const program = [
      load(4, R.r2, R.r1, 0),
      load(4, R.r3, R.r1, 4),
      alu64.mov.imm(R.r0, 0),
      alu64.mov.reg(R.r4, R.r2),
      alu64.add.imm(R.r4, 14),
      jump64.ugt.reg(R.r4, R.r3, 2),
      load(2, R.r0, R.r2, 12),
      endian.toBe(R.r0, 16),
      exit(),
    ];
    expect(new Vm(spec(program, "xdp")).runPacket(frame).returnValue).toBe(0x800);
  });

  it("returns the packet as the program left it", () => {
    const program = [load(4, R.r2, R.r1, 76), storeImm(1, R.r2, 0, 0xab), alu64.mov.imm(R.r0, 2), exit()];
    const { packet } = new Vm(spec(program)).runPacket(frame);
    expect([packet.length, packet[0], packet[1]]).toEqual([60, 0xab, 1]);
    expect(frame[0]).toBe(0);
  });

  it("describes an skb as the kernel's test run does, and returns written fields", () => {
    const program = [
      load(4, R.r0, R.r1, 16),
      load(4, R.r2, R.r1, 8),
      alu64.add.imm(R.r2, 1),
      store(4, R.r1, 8, R.r2),
      exit(),
    ];
    const result = new Vm(spec(program)).runPacket(frame, { mark: 41 });
    expect(result.returnValue).toBe(0x0008);
    expect(result.context.mark).toBe(42n);
  });

  it("adds room at the head and makes pointers from before stale", () => {
    const grow = [
      alu64.mov.reg(R.r6, R.r1),
      load(4, R.r7, R.r1, 0),
      alu64.mov.imm(R.r2, -4),
      call("xdpAdjustHead"),
      load(4, R.r2, R.r6, 0),
      storeImm(4, R.r2, 0, 0),
      exit(),
    ];
    expect([...new Vm(spec(grow, "xdp")).runPacket(frame).packet]).toEqual([0, 0, 0, 0, ...frame]);
    const stale = [...grow.slice(0, 4), load(1, R.r0, R.r7, 0), exit()];
    expect(errorOf(() => new Vm(spec(stale, "xdp")).runPacket(frame)).kind).toBe("stale");
  });

  it("keeps fragments out of reach until they are pulled", () => {
    const length = [load(4, R.r2, R.r1, 76), load(4, R.r0, R.r1, 80), alu64.sub.reg(R.r0, R.r2), exit()];
    expect(new Vm(spec(length)).runPacket(frame, { linearBytes: 34 }).returnValue).toBe(34);
    const pulled = [
      alu64.mov.reg(R.r6, R.r1),
      alu64.mov.imm(R.r2, 54),
      call("skbPullData"),
      alu64.mov.reg(R.r1, R.r6),
      ...length,
    ];
    expect(new Vm(spec(pulled)).runPacket(frame, { linearBytes: 34 }).returnValue).toBe(54);
  });

  it("refuses frames that the kernel refuses", () => {
    const program = [alu64.mov.imm(R.r0, 0), exit()];
    expect(() => new Vm(spec(program)).runPacket(new Uint8Array(13))).toThrow(RangeError);
    expect(() => new Vm(spec(program, "xdp")).runPacket(new Uint8Array(13))).toThrow(RangeError);
    expect(() => new Vm(spec(program, "xdp")).runPacket(new Uint8Array(3521))).toThrow(RangeError);
  });
});

describe("Vm errors", () => {
  const position = { file: "policy.ts", line: 7, column: 3, text: "  packet.drop();" };
  const cases: readonly [VmErrorKind, string, readonly Instruction[]][] = [
    ["memory", "a read past the packet", [load(4, R.r2, R.r1, 76), load(1, R.r0, R.r2, 60), exit()]],
    ["memory", "a read below the stack", [load(8, R.r0, R.r10, -520), exit()]],
    ["memory", "a read through a number", [alu64.mov.imm(R.r2, 5), load(8, R.r0, R.r2, 0), exit()]],
    ["memory", "a context field that does not exist", [load(4, R.r0, R.r1, 88), exit()]],
    ["readOnly", "a write to a read-only context field", [storeImm(4, R.r1, 0, 1), exit()]],
    ["steps", "an endless loop", [goto(-1)]],
    ["call", "a helper of another program type", [call("xdpAdjustHead"), exit()]],
    ["instruction", "running off the end", [alu64.mov.imm(R.r0, 0)]],
  ];
  it.each(cases)("%s: %s", (kind, _, program) => {
    expect(errorOf(() => new Vm(spec(program), { stepLimit: 1000 }).runPacket(frame)).kind).toBe(kind);
  });

  it("name instruction, disassembly and source line", () => {
    const program = [loadImm64(R.r2, 1n), { ...load(1, R.r0, R.r2, 3), position }, exit()];
    const error = errorOf(() => new Vm(spec(program)).runPacket(frame));
    expect([error.index, error.disassembly, error.position]).toEqual([1, "r0 = *(u8 *)(r2 +3)", position]);
    expect(error.message).toContain("policy.ts:7: packet.drop();");
  });
});

describe("maps in programs", () => {
  it("share values between programs and the outside", () => {
    const maps = { counter: mapSpec("array", 2) };
    const count = [
      loadMapValue(R.r1, "counter", 0),
      alu64.mov.imm(R.r2, 3),
      atomic("add", 8, R.r1, 0, R.r2),
      alu64.mov.imm(R.r0, 0),
      exit(),
    ];
    const first = new Vm(spec(count, "schedCls", maps));
    const second = new Vm(spec(count, "xdp", maps), { maps: first.maps });
    first.runPacket(frame);
    second.runPacket(frame);
    expect(first.maps.get("counter")!.lookup(new Uint8Array(4))![0]).toBe(6);
  });

  it("look up to null or to the value itself", () => {
    const program = [
      storeImm(4, R.r10, -4, 7),
      loadMap(R.r1, "flows"),
      alu64.mov.reg(R.r2, R.r10),
      alu64.add.imm(R.r2, -4),
      call("mapLookupElem"),
      jump64.eq.imm(R.r0, 0, 2),
      storeImm(2, R.r0, 0, 0x1234),
      alu64.mov.imm(R.r0, 1),
      exit(),
    ];
    const vm = new Vm(spec(program, "schedCls", { flows: mapSpec("hash", 4) }));
    expect(vm.runPacket(frame).returnValue).toBe(0);
    const flows = vm.maps.get("flows")!;
    flows.update(Uint8Array.of(7, 0, 0, 0), new Uint8Array(8));
    expect(vm.runPacket(frame).returnValue).toBe(1);
    expect([...flows.lookup(Uint8Array.of(7, 0, 0, 0))!.subarray(0, 2)]).toEqual([0x34, 0x12]);
  });

  it("tail calls go on with the other program, and come back with an error when there is none", () => {
    const maps = { programs: mapSpec("progArray", 2, 4, 4) };
    const caller = [
      loadMap(R.r2, "programs"),
      alu64.mov.imm(R.r3, 1),
      call("tailCall"),
      alu64.mov.imm(R.r0, 1),
      exit(),
    ];
    const vm = new Vm(spec(caller, "schedCls", maps));
    expect(vm.runPacket(frame).returnValue).toBe(1);
    const programs = vm.maps.get("programs") as ProgramArrayMap;
    programs.setProgram(1, new Vm(spec([load(4, R.r0, R.r1, 0), exit()])));
    expect(vm.runPacket(frame).returnValue).toBe(60);
    programs.setProgram(1, vm);
    expect(vm.runPacket(frame)).toMatchObject({ returnValue: 1, steps: 33 * 3 + 5 });
    expect(() => programs.setProgram(0, new Vm(spec([exit()], "xdp")))).toThrow(RangeError);
  });

  it("ring buffers deliver what was submitted and refuse what does not fit", () => {
    const program = [
      loadMap(R.r1, "events"),
      alu64.mov.imm(R.r2, 2000),
      alu64.mov.imm(R.r3, 0),
      call("ringbufReserve"),
      jump64.eq.imm(R.r0, 0, 4),
      storeImm(4, R.r0, 0, 5),
      alu64.mov.reg(R.r1, R.r0),
      alu64.mov.imm(R.r2, 0),
      call("ringbufSubmit"),
      exit(),
    ];
    const vm = new Vm(spec(program, "schedCls", { events: mapSpec("ringBuffer", 4096, 0, 0) }));
    for (let i = 0; i < 3; i++) vm.runPacket(frame);
    const events = vm.maps.get("events") as RingBufferMap;
    expect(events.drain().map((record) => [record.length, record[0]])).toEqual([
      [2000, 5],
      [2000, 5],
    ]);
    expect(events.drain()).toEqual([]);
    const leak = new Vm(
      spec([...program.slice(0, 4), exit()], "schedCls", { events: mapSpec("ringBuffer", 4096, 0, 0) }),
    );
    expect(errorOf(() => leak.runPacket(frame)).kind).toBe("call");
  });
});

describe("functions", () => {
  it("have a stack of their own and keep r6 to r9 of the caller", () => {
    const program = [
      storeImm(8, R.r10, -8, 5),
      alu64.mov.imm(R.r6, 7),
      alu64.mov.reg(R.r1, R.r10),
      callFunction(3),
      alu64.add.reg(R.r0, R.r6),
      alu32.mov.reg(R.r0, R.r0),
      exit(),
      storeImm(8, R.r10, -8, 100),
      alu64.mov.imm(R.r6, 1000),
      load(8, R.r0, R.r1, -8),
      exit(),
    ];
    expect(new Vm(spec(program)).runPacket(frame).returnValue).toBe(12);
  });
});

describe("Vm.runSocket()", () => {
  it("records socket options and callback flags", () => {
    const program = [
      alu64.mov.reg(R.r6, R.r1),
      storeImm(4, R.r10, -4, 125000),
      alu64.mov.imm(R.r2, 1),
      alu64.mov.imm(R.r3, 47),
      alu64.mov.reg(R.r4, R.r10),
      alu64.add.imm(R.r4, -4),
      alu64.mov.imm(R.r5, 4),
      call("setsockopt"),
      alu64.mov.reg(R.r1, R.r6),
      alu64.mov.imm(R.r2, 0x81),
      call("sockOpsCbFlagsSet"),
      load(4, R.r1, R.r6, 68),
      alu64.add.reg(R.r0, R.r1),
      exit(),
    ];
    const result = new Vm(spec(program, "sockOps")).runSocket({ op: 4, localPort: 443 });
    expect(result.returnValue).toBe(443 + 0x80);
    expect(result.context.cbFlags).toBe(1n);
    expect(result.socketOptions).toEqual([{ level: 1, option: 47, value: Uint8Array.of(0x48, 0xe8, 1, 0) }]);
  });
});

describe("Vm.runIteration()", () => {
  const program = [
    load(8, R.r6, R.r1, 8),
    alu64.mov.imm(R.r0, 0),
    jump64.eq.imm(R.r6, 0, 11),
    loadField(4, R.r7, R.r6, "sock", "sk_mark"),
    store(4, R.r10, -4, R.r7),
    alu64.mov.reg(R.r1, R.r6),
    call("skcToTcpSock"),
    alu64.mov.reg(R.r1, R.r0),
    alu64.mov.imm(R.r2, 1),
    alu64.mov.imm(R.r3, 47),
    alu64.mov.reg(R.r4, R.r10),
    alu64.add.imm(R.r4, -4),
    alu64.mov.imm(R.r5, 4),
    call("setsockopt"),
    exit(),
  ];
  const vm = new Vm(spec(program, "tracing"));

  it("gives the socket's fields and records the options set on it", () => {
    const socket = vm.objects.make("tcp_sock", { "sock.sk_mark": Uint8Array.of(1, 2, 3, 4) });
    expect(vm.runIteration(socket).socketOptions).toEqual([{ level: 1, option: 47, value: Uint8Array.of(1, 2, 3, 4) }]);
  });

  it("ends without a socket", () => {
    expect(vm.runIteration(undefined)).toMatchObject({ returnValue: 0, socketOptions: [] });
  });
});

describe("VmOptions", () => {
  it("inject time and randomness", () => {
    const program = [
      call("ktimeGetNs"),
      alu64.mov.reg(R.r6, R.r0),
      call("getPrandomU32"),
      alu64.add.reg(R.r0, R.r6),
      exit(),
    ];
    const vm = new Vm(spec(program), { now: () => 1n << 40n, random: () => 0xffff_ffff });
    expect(vm.runPacket(frame).r0).toBe((1n << 40n) + 0xffff_ffffn);
  });
});
