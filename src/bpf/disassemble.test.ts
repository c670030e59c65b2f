import { describe, expect, it } from "vitest";
import {
  alu32,
  addFieldOffset,
  alu64,
  atomic,
  atomicCompareExchange,
  atomicExchange,
  call,
  callFunction,
  callKernel,
  endian,
  exit,
  goto,
  gotoLong,
  jump32,
  jump64,
  load,
  loadBits,
  loadField,
  loadImm64,
  loadMap,
  loadMapValue,
  loadSigned,
  loadType,
  store,
  storeField,
  storeImm,
} from "./asm.ts";
import { disassemble, disassembleInstruction } from "./disassemble.ts";

describe("disassembleInstruction()", () => {
  it.each([
    [alu64.add.imm(1, -5), "r1 += -5"],
    [alu32.ashr.reg(1, 2), "w1 s>>= w2"],
    [alu32.smod.reg(1, 2), "w1 s%= w2"],
    [alu64.neg(3), "r3 = -r3"],
    [alu64.movSigned(1, 2, 32), "r1 = (s32)r2"],
    [endian.toBe(1, 16), "r1 = be16 r1"],
    [endian.swap(1, 32), "r1 = bswap32 r1"],
    [load(4, 0, 1, 76), "r0 = *(u32 *)(r1 +76)"],
    [loadSigned(1, 0, 1, -3), "r0 = *(s8 *)(r1 -3)"],
    [loadField(8, 0, 1, "sock", "sk_prot"), "r0 = *(u64 *)(r1 +sock.sk_prot)"],
    [store(2, 10, -2, 5), "*(u16 *)(r10 -2) = r5"],
    [storeImm(8, 10, -8, 0), "*(u64 *)(r10 -8) = 0"],
    [jump64.ugt.reg(1, 2, 5), "if r1 > r2 goto +5"],
    [jump32.test.imm(1, 16, -2), "if w1 & 16 goto -2"],
    [goto(3), "goto +3"],
    [gotoLong(-3), "gotol -3"],
    [call("mapLookupElem"), "call map_lookup_elem#1"],
    [call(999), "call helper#999"],
    [callFunction(7), "call pc+7"],
    [callKernel("tcp_reno_ssthresh"), "call tcp_reno_ssthresh"],
    [addFieldOffset(1, "mptcp_sock", "conn_list"), "r1 += offsetof(mptcp_sock.conn_list)"],
    [addFieldOffset(1, "mptcp_sock", "conn_list", "negative"), "r1 += -offsetof(mptcp_sock.conn_list)"],
    [loadBits(2, "tcp_sock", "is_cwnd_limited", "mask"), "r2 = mask(tcp_sock.is_cwnd_limited)"],
    [loadType(2, "mptcp_sock"), "r2 = type(mptcp_sock)"],
    [storeField(4, 1, "tcp_sock", "snd_cwnd", 2), "*(u32 *)(r1 +tcp_sock.snd_cwnd) = r2"],
    [exit(), "exit"],
    [loadImm64(1, -1n), "r1 = 0xffffffffffffffff ll"],
    [loadMap(1, "flows"), "r1 = map[flows] ll"],
    [loadMapValue(1, "params", 16), "r1 = map[params][0]+16 ll"],
    [atomic("add", 8, 1, 0, 2), "lock *(u64 *)(r1 +0) += r2"],
    [atomic("or", 4, 1, 4, 2, "fetch"), "w2 = atomic_fetch_or((u32 *)(r1 +4), w2)"],
    [atomicExchange(8, 1, 0, 2), "r2 = atomic64_xchg((u64 *)(r1 +0), r2)"],
    [atomicCompareExchange(8, 1, 0, 2), "r0 = atomic64_cmpxchg((u64 *)(r1 +0), r0, r2)"],
  ])("%#: %o", (instruction, text) => {
    expect(disassembleInstruction(instruction)).toBe(text);
  });
});

describe("disassemble()", () => {
  const position = { file: "policy.ts", line: 4, column: 3, text: "  return packet.length;" };
  it("labels jump targets by slot and shows each source line once", () => {
    const program = [
      { ...loadImm64(0, 1n), position },
      { ...jump64.eq.imm(1, 0, 1), position },
      alu64.mov.imm(0, 2),
      exit(),
    ];
    expect(disassemble(program, { source: true })).toBe(
      [
        "; return packet.length; @ policy.ts:4",
        "  0: r0 = 0x1 ll",
        "  2: if r1 == 0 goto L4",
        "  3: r0 = 2",
        "L4:",
        "  4: exit",
        "",
      ].join("\n"),
    );
  });
});
