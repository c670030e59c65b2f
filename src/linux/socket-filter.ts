/** Filters of sockets in classic BPF (man 7 socket, SO_ATTACH_FILTER): what does not pass was never there, and wakes nobody. */
import { address } from "./ffi.ts";
import { setOption, SOL_SOCKET } from "./socket-calls.ts";

const SO_ATTACH_FILTER = 26;

/** An instruction (`struct sock_filter`): code, jump if true, jump if false, operand. */
export type FilterInstruction = readonly [code: number, jumpTrue: number, jumpFalse: number, operand: number];

/** Decides from now on what a socket gets, in the place of the filter it had. @throws SystemCallError EINVAL for a bad program */
export function attachFilter(fd: number, filter: readonly FilterInstruction[]): void {
  const instructions = new Uint8Array(8 * filter.length);
  const view = new DataView(instructions.buffer);
  filter.forEach(([code, jumpTrue, jumpFalse, operand], i) => {
    view.setUint16(8 * i, code, true);
    view.setUint8(8 * i + 2, jumpTrue);
    view.setUint8(8 * i + 3, jumpFalse);
    view.setUint32(8 * i + 4, operand, true);
  });
  // `struct sock_fprog`: a count, and where the instructions are.
  const program = new DataView(new ArrayBuffer(16));
  program.setUint16(0, filter.length, true);
  program.setBigUint64(8, address(instructions), true);
  setOption(fd, SOL_SOCKET, SO_ATTACH_FILTER, new Uint8Array(program.buffer));
}
