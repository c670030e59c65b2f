/** What a program can have too much of. */

/** A program's stack objects and spilled values need more than the 512 bytes that eBPF gives. */
export class StackTooLargeError extends Error {
  override readonly name = "StackTooLargeError";
  readonly sizeBytes: number;

  constructor(functionName: string, sizeBytes: number) {
    super(`Cannot compile ${functionName}: it needs ${sizeBytes} bytes of stack, a program has 512`);
    this.sizeBytes = sizeBytes;
  }
}

/** A jump would have to cross more instructions than its 16-bit offset can express. */
export class ProgramTooLargeError extends Error {
  override readonly name = "ProgramTooLargeError";
  readonly slots: number;

  constructor(functionName: string, slots: number) {
    super(`Cannot compile ${functionName}: its ${slots} instruction slots are too far apart for a jump`);
    this.slots = slots;
  }
}
