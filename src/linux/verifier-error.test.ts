import { expect, test } from "vitest";
import * as asm from "../bpf/asm.ts";
import type { Instruction } from "../bpf/instruction.ts";
import { explainVerifierLog } from "./verifier-error.ts";

const program = { name: "policy", instructions: [] as Instruction[] };

/** Sentences of the verifier (kernel/bpf/verifier.c), each with a part of the explanation it must get. */
const sentences: [sentence: string, words: string][] = [
  ["invalid access to packet, off=20 size=1, R2(id=0,off=20,r=14)", "no length check"],
  ["R2 offset is outside of the packet", "no length check"],
  ["cannot write into packet", "may only read it"],
  ["R0 invalid mem access 'map_value_or_null'", "may have found nothing"],
  ["R0 invalid mem access 'sock_or_null'", "may be absent"],
  ["R1 invalid mem access 'scalar'", "a number as if it were an address"],
  ["R1 invalid mem access 'inv'", "a number as if it were an address"],
  ["R3 invalid mem access 'map_ptr'", "through a map_ptr"],
  ["invalid access to map value, value_size=8 off=8 size=4", "4 bytes at offset 8 of a map value of 8 bytes"],
  ["R0 max value is outside of the allowed memory range", "outside of the memory it selects from"],
  ["R1 min value is outside of the allowed memory range", "outside of the memory it selects from"],
  ["R2 min value is negative, either use unsigned index or do a if (index >=0) check.", "may be negative"],
  ["R2 unbounded memory access, use 'var &= const' or 'if (var < const)'", "no limit"],
  ["R2 invalid zero-sized read: u64=[0,14]", "may be zero"],
  ["math between pkt pointer and register with unbounded min value is not allowed", "address of pkt memory"],
  ["value -2147483648 makes map_value pointer be out of bounds", "so large"],
  ["infinite loop detected at insn 0", "never ends"],
  ["back-edge from insn 3 to 1", "jumps backwards"],
  ["BPF program is too large. Processed 1000001 insn", "following 1000001 instructions"],
  ["The sequence of 8193 jumps is too complex.", "more branches"],
  ["combined stack size of 2 calls is 576. Too large", "512 bytes of stack"],
  ["invalid read from stack R10 off -8+0 size 8", "not written on every path"],
  ["invalid indirect read from stack R2 off -16+4 size 16", "not written on every path"],
  ["invalid write to stack R10 off=-520 size=8", "outside of its 512 bytes"],
  ["invalid variable-offset write to stack R2 var_off=(0x0; 0xff) off=-16", "outside of its 512 bytes"],
  ["R0 !read_ok", "without having chosen a result"],
  ["R5 !read_ok", "was not set on every path"],
  ["At program exit the register R0 has smin=3 smax=3 should have been in [0, 1]", "must not return"],
  ["unknown func bpf_nothing#9999", "does not have"],
  ["no write support to tcp_sock at off 1680", "may only read"],
  ["write access at off 1444 with size 8 beyond the member of tcp_sock ended at 1448", "writes 8 bytes, more than"],
  ["calling kernel function tcp_enter_cwr is not allowed", "calls tcp_enter_cwr, which this kernel does not offer"],
  ["attach to unsupported member get_info of struct tcp_congestion_ops", "get_info of tcp_congestion_ops"],
  ["arg#0 is untrusted_ptr_ expected ptr_ or socket", "may only look at"],
  ["R1 must be referenced or trusted", "may only look at"],
  ["arg#0 pointer type STRUCT sock must point to scalar, or struct with scalar", "wants a sock"],
  ["program of this type cannot use helper bpf_skb_load_bytes#26", "does not have|not allowed here"],
  ["helper call is not allowed in probe", "not allowed here"],
  ["cannot call GPL-restricted function from non-GPL compatible program", "under the GPL"],
  ["cannot pass map_type 1 into func bpf_tail_call#12", "does not work on a map of this type"],
  ["dereference of modified ctx ptr R1 off=4 disallowed", "address from the context"],
  ["invalid bpf_context access off=200 size=4", "4 bytes at offset 200 of its context"],
  ["div by zero", "divides by the constant zero"],
  ["invalid shift 64", "as many bits as the value has"],
  ["R0 leaks addr as return value", "address would become visible"],
  ["Unreleased reference id=2 alloc_insn=3", "not given back"],
  ["function calls are not allowed while holding a lock", "while it holds a lock"],
  ["bpf_spin_unlock is missing", "ends while it holds a lock"],
  ["R1 pointer arithmetic on map_ptr prohibited, null-check it first", "not allowed|testing"],
  ["R2 pointer arithmetic with *= operator prohibited", "computes with an address"],
  ["R2 pointer comparison prohibited", "compares addresses"],
  ["frame pointer is read only", "points at the stack"],
  ["write into map forbidden, value_size=8 off=0 size=8", "read-only for programs"],
  ["access beyond struct tcp_sock at off 9000 size 4", "structure does not have"],
  ["same insn cannot be used with different pointers", "different kinds of memory"],
  ["misaligned stack access off (0x0; 0x0)+0+-7 size 8", "not a multiple"],
  ["R1 type=ctx expected=fp, pkt, map_value", "passes a ctx"],
  ["tail_calls are not allowed in non-JITed programs with bpf-to-bpf calls", "place where that is not allowed"],
  ["unreachable insn 7", "never run"],
  ["jump out of range from insn 0 to 11", "do not form a program"],
  ["invalid access to map value pointer, value_size=8 off=0", "arrays of a single entry"],
];

test.each(sentences)("explainVerifierLog() puts in words: %s", (sentence, words) => {
  const error = explainVerifierLog(
    `0: R1=ctx() R10=fp0\n0: (95) exit\n${sentence}\nprocessed 1 insns (limit 1000000)`,
    program,
  )!;
  expect(error.explanation).toMatch(new RegExp(words));
  expect(error.objection).toBe(sentence);
  expect(error.message).toContain(error.advice);
  expect(error.message).toContain(sentence);
});

test("explainVerifierLog() fills every mark it uses from its pattern", () => {
  const marked = sentences.map(([sentence]) => explainVerifierLog(`${sentence}\n`, program)!.explanation);
  expect(marked.filter((text) => /\$\d/.test(text))).toEqual([]);
});

const at = (line: number, column: number, text: string) => ({ file: "policies/a.ts", line, column, text });
const positioned: Instruction[] = [
  { ...asm.loadMap(1, "m"), position: at(3, 9, "  const m = counters;") },
  asm.alu64.mov.imm(2, 0),
  { ...asm.load(1, 0, 2, 0), position: at(4, 10, "\treturn m.get(0);") },
  asm.exit(),
];

test("explainVerifierLog() finds the policy's line by slots, of which a wide load fills two", () => {
  const log = [
    "; const m = counters; @ a.ts:3",
    "0: (18) r1 = 0xffff888100000000       ; R1_w=map_ptr(map=m,ks=4,vs=8)",
    "2: (b7) r2 = 0                        ; R2_w=0",
    "3: (71) r0 = *(u8 *)(r2 +0)",
    "R2 invalid mem access 'scalar'",
    "processed 3 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0",
    "",
  ].join("\n");
  const error = explainVerifierLog(log, { name: "policy", instructions: positioned })!;
  expect(error).toMatchObject({ instruction: 2, position: at(4, 10, "\treturn m.get(0);"), log });
  expect(error.message.split("\n").slice(0, 3)).toEqual([
    "The kernel refuses program policy at policies/a.ts:4:10: it uses a number as if it were an address",
    "  4 | \treturn m.get(0);",
    "    | \t        ^",
  ]);
  expect(error.message).not.toContain("processed 3 insns");
});

test("explainVerifierLog() gives code the compiler added the position before it", () => {
  const error = explainVerifierLog("2: (b7) r2 = 0\nR2 !read_ok\n", { name: "policy", instructions: positioned })!;
  expect(error.position?.line).toBe(3);
});

test("explainVerifierLog() takes the instruction that the verifier names over the last one it followed", () => {
  const log = "0: (b7) r0 = 0\nunreachable insn 3\n";
  expect(explainVerifierLog(log, { name: "policy", instructions: positioned })!.instruction).toBe(2);
});

test("explainVerifierLog() passes on a sentence it does not know", () => {
  const error = explainVerifierLog("0: (95) exit\nthe moon is in the wrong phase\n", program)!;
  expect(error.advice).toBeUndefined();
  expect(error.message).toBe("The kernel refuses program policy: the moon is in the wrong phase");
});

test("explainVerifierLog() finds no objection in an empty log or in one of a program that was accepted", () => {
  expect(explainVerifierLog("", program)).toBeUndefined();
  expect(explainVerifierLog("0: (95) exit\nprocessed 1 insns (limit 1000000)\n", program)).toBeUndefined();
});
