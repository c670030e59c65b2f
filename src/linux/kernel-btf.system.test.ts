import { expect, test } from "vitest";
import {
  kernelBitField,
  kernelFieldOffset,
  kernelFunctionId,
  kernelStructId,
  NoKernelTypeError,
} from "./kernel-btf.ts";

test("kernelFieldOffset() finds fields of the size that is expected, and says which size others have", () => {
  expect(kernelFieldOffset("tcp_sock", "snd_cwnd", 4)).toBe(kernelFieldOffset("tcp_sock", "snd_cwnd"));
  expect(() => kernelFieldOffset("tcp_sock", "snd_cwnd", 8)).toThrow("tcp_sock.snd_cwnd: it has 4 bytes, not 8");
  expect(() => kernelFieldOffset("tcp_sock", "is_cwnd_limited", 1)).toThrow(
    "tcp_sock.is_cwnd_limited: it is a bit field",
  );
});

test("kernelBitField() finds bits in their byte, of bit fields and of whole bytes", () => {
  const { shift, bits } = kernelBitField("tcp_sock", "is_cwnd_limited");
  expect(bits).toBe(1);
  expect(shift).toBeLessThan(8);
  expect(kernelBitField("tcp_sock", "is_mptcp")).toEqual({ shift: 0, bits: 8 });
  expect(() => kernelBitField("tcp_sock", "snd_cwnd")).toThrow("do not lie in one byte");
});

test.each([
  ["field tcp_sock.no_such", () => kernelFieldOffset("tcp_sock", "no_such")],
  ["struct no_such", () => kernelStructId("no_such")],
  ["function no_such", () => kernelFunctionId("no_such")],
])("what the kernel does not have is named: %s", (what, find) => {
  expect(find).toThrow(NoKernelTypeError);
  expect(find).toThrow(`has no ${what}`);
});
