import { describe, expect, it } from "vitest";
import {
  alu32,
  addFieldOffset,
  alu64,
  atomicCompareExchange,
  call,
  callKernel,
  endian,
  exit,
  goto,
  jump32,
  load,
  loadBits,
  loadField,
  loadImm64,
  loadMap,
  loadMapValue,
  loadType,
  storeField,
  storeImm,
} from "./asm.ts";
import { DecodeError, decode } from "./decode.ts";
import { EncodeError, encode, slotIndex, slots } from "./encode.ts";
import type { Instruction } from "./instruction.ts";
import { helperByNumber, helpers } from "./helpers.ts";
import { randomProgram } from "./testing/random-program.ts";

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
const bytesOf = (text: string) => Uint8Array.from(Buffer.from(text, "hex"));

describe("encode()", () => {
  // Expected bytes: RFC 9669 tables, worked out by hand.
  it.each([
    ["r0 = -1", alu64.mov.imm(0, -1), "b7000000ffffffff"],
    ["w3 += w4", alu32.add.reg(3, 4), "0c43000000000000"],
    ["r1 s/= r2", alu64.sdiv.reg(1, 2), "3f21010000000000"],
    ["r1 = (s8)r2", alu64.movSigned(1, 2, 8), "bf21080000000000"],
    ["r5 = be16 r5", endian.toBe(5, 16), "dc05000010000000"],
    ["r5 = bswap64 r5", endian.swap(5, 64), "d705000040000000"],
    ["r2 = *(u32 *)(r1 +76)", load(4, 2, 1, 76), "61124c0000000000"],
    ["*(u8 *)(r10 -1) = 7", storeImm(1, 10, -1, 7), "720affff07000000"],
    ["if w1 s< -5 goto +3", jump32.slt.imm(1, -5, 3), "c6010300fbffffff"],
    ["cmpxchg", atomicCompareExchange(8, 10, -8, 1), "db1af8fff1000000"],
    ["call 5", call("ktimeGetNs"), "8500000005000000"],
    ["exit", exit(), "9500000000000000"],
    ["wide", loadImm64(6, 0x1122334455667788n), "18060000887766550000000044332211"],
  ])("%s", (_, instruction, expected) => {
    expect(hex(encode([instruction]))).toBe(expected);
  });

  it("resolves maps and fields", () => {
    const resolver = { map: () => 9, field: () => 24 };
    expect(hex(encode([loadMap(1, "flows")], resolver))).toBe("18110000090000000000000000000000");
    expect(hex(encode([loadMapValue(1, "params", 8)], resolver))).toBe("18210000090000000000000008000000");
    expect(hex(encode([loadField(8, 1, 2, "sock", "sk_prot")], resolver))).toBe("7921180000000000");
  });

  it("puts what the kernel numbers into immediates: offsets both ways, bits, structures, functions", () => {
    const resolver = {
      field: () => 24,
      bitField: () => ({ shift: 3, bits: 4 }),
      type: () => 0x1234,
      function: () => 0x5678,
    };
    const bytes = (instruction: Instruction) => hex(encode([instruction], resolver));
    expect(bytes(addFieldOffset(1, "mptcp_sock", "conn_list"))).toBe("0701000018000000");
    expect(bytes(addFieldOffset(1, "mptcp_subflow_context", "node", "negative"))).toBe("07010000e8ffffff");
    expect(bytes(loadType(2, "mptcp_sock"))).toBe("b702000034120000");
    expect(bytes(loadBits(2, "tcp_sock", "nonagle", "shift"))).toBe("b702000003000000");
    expect(bytes(loadBits(2, "tcp_sock", "nonagle", "mask"))).toBe("b70200000f000000");
    expect(bytes(callKernel("bpf_rdonly_cast"))).toBe("8520000078560000");
  });

  it("asks for fields of the size that a program expects", () => {
    const sizes: (number | undefined)[] = [];
    const field = (_struct: string, _field: string, size?: number) => (sizes.push(size), 8);
    encode([loadField(4, 1, 2, "tcp_sock", "snd_cwnd", 4), storeField(4, 2, "tcp_sock", "snd_cwnd", 1)], { field });
    expect(sizes).toEqual([4, undefined]);
  });

  it("refuses references that nothing resolves", () => {
    expect(() => encode([exit(), loadMap(1, "flows")])).toThrow(
      new EncodeError(1, "nothing gives a number for map flows"),
    );
    expect(() => encode([loadField(8, 1, 2, "sock", "sk_prot")])).toThrow(EncodeError);
    expect(() => encode([callKernel("tcp_reno_ssthresh")])).toThrow("kernel function tcp_reno_ssthresh");
    expect(() => encode([loadType(1, "mptcp_sock")])).toThrow("struct mptcp_sock");
  });
});

describe("decode()", () => {
  it("is the inverse of encode() on random programs", () => {
    for (let seed = 0; seed < 300; seed++) {
      const bytes = encode(randomProgram(seed).instructions, { map: () => seed });
      const decoded = decode(bytes);
      expect(hex(encode(decoded))).toBe(hex(bytes));
      expect(decode(encode(decoded))).toEqual(decoded);
    }
  });

  it.each([
    ["an instruction cut off", "b7000000ffffff", 0],
    ["a wide load cut off", "95000000000000001806000088776655", 1],
    ["a wide load with an operation in its second half", "1806000088776655b700000000000000", 1],
    ["an unknown operation", "ff00000000000000", 0],
    ["register 11", "bfb1000000000000", 0],
    ["an unknown atomic operation", "db1af8ff02000000", 0],
  ])("refuses %s", (_, text, slot) => {
    expect(() => decode(bytesOf(text))).toThrow(DecodeError);
    try {
      decode(bytesOf(text));
    } catch (error) {
      expect((error as DecodeError).slot).toBe(slot);
    }
  });

  it("gives a program or a DecodeError for any bytes", () => {
    let state = 1;
    for (let round = 0; round < 2000; round++) {
      const bytes = Uint8Array.from(
        { length: 8 * (1 + (round % 4)) },
        () => (state = (state * 48271) % 0x7fff_ffff) & 0xff,
      );
      try {
        expect(hex(encode(decode(bytes))).length).toBe(bytes.length * 2);
      } catch (error) {
        expect(error).toBeInstanceOf(DecodeError);
      }
    }
  });
});

describe("slots()", () => {
  it("counts wide loads twice", () => {
    const program = [loadImm64(1, 0n), alu64.mov.imm(0, 0), exit()];
    expect(slots(program)).toBe(4);
    expect(slotIndex(program)).toEqual([0, 2, 3, 4]);
  });
});

describe("constructors", () => {
  it("refuse what does not fit", () => {
    expect(() => goto(0x8000)).toThrow(RangeError);
    expect(() => alu64.mov.imm(0, 2 ** 32)).toThrow(RangeError);
    expect(() => alu64.mov.reg(11, 0)).toThrow(RangeError);
    expect(() => alu32.movSigned(0, 1, 32)).toThrow(RangeError);
  });

  it("take unsigned 32-bit immediates as their bits", () => {
    expect(alu32.mov.imm(0, 0xffff_ffff)).toEqual(alu32.mov.imm(0, -1));
  });
});

it("helperByNumber() knows each helper by its number", () => {
  for (const helper of Object.values(helpers)) expect(helperByNumber(helper.number)).toBe(helper);
});
