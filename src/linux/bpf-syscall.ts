/** bpf(2): attributes by table, buffers kept alive over the call, refusals explained. */
import { ATTRIBUTE_SIZE, bpfCommands, type BpfCommand, type BpfField, type FieldType } from "./bpf-attributes.ts";
import { address, declare, errno, errnos } from "./ffi.ts";
import { explainRefusal, type Requirements } from "./kernel-error.ts";

const numberOfBpf: Readonly<Record<string, number>> = { x64: 321, arm64: 280 };
const syscall = declare("syscall", "long", ["long", "long", "void *", "unsigned long"]);

/** Numbers, buffers for pointers, text for names and paths. */
export type AttributeValue = number | bigint | Uint8Array | string | null | undefined;
export type Attributes<C extends BpfCommand> = { readonly [F in BpfField<C>]?: AttributeValue };

/** What a call answered: `result` is -1 with `errno`, else a descriptor or 0. */
export interface Outcome<C extends BpfCommand> {
  readonly result: number;
  readonly errno: number;
  /** A 32-bit field as the kernel left it. */
  read(field: BpfField<C>): number;
  /** A 64-bit field. */
  readWide(field: BpfField<C>): bigint;
}

// What the running call's addresses point to: the engine may not collect it before the kernel is done.
const held: Uint8Array[][] = [];

/** Calls bpf(2) and reports a refusal instead of throwing. The kernel asks for a repetition with EAGAIN when loading. */
export function tryBpf<C extends BpfCommand>(command: C, attributes: Attributes<C>): Outcome<C> {
  const number = numberOfBpf[process.arch];
  if (number === undefined) throw new Error(`Cannot call bpf(2): the number of the call on ${process.arch} is unknown`);
  const { number: commandNumber, fields } = bpfCommands[command];
  const attr = new Uint8Array(ATTRIBUTE_SIZE);
  const view = new DataView(attr.buffer);
  const buffers = [attr];
  const table = fields as Readonly<Record<string, readonly [number, FieldType]>>;
  for (const [name, value] of Object.entries<AttributeValue>(attributes)) {
    if (value === undefined || value === null) continue;
    const [offset, type] = table[name];
    write(view, offset, type, value, buffers);
  }
  held.push(buffers);
  let result = -1;
  let code = 0;
  for (let attempt = 0; attempt < 5; attempt++) {
    result = Number(syscall(number, commandNumber, attr, ATTRIBUTE_SIZE));
    code = result < 0 ? errno() : 0;
    if (code !== errnos["EAGAIN"] || command !== "progLoad") break;
  }
  held.length = 0;
  return {
    result,
    errno: code,
    read: (field) => view.getUint32(table[field][0], true),
    readWide: (field) => view.getBigUint64(table[field][0], true),
  };
}

/**
 * Calls bpf(2).
 * @param action completes "Cannot …" of the error
 * @throws KernelError
 */
export function bpf<C extends BpfCommand>(
  command: C,
  attributes: Attributes<C>,
  action: string,
  requirements?: Requirements,
): Outcome<C> {
  const outcome = tryBpf(command, attributes);
  if (outcome.result < 0) throw explainRefusal(action, outcome.errno, requirements);
  return outcome;
}

const encoder = new TextEncoder();
const NAME_LENGTH = 15;

function write(
  view: DataView,
  offset: number,
  type: FieldType,
  value: number | bigint | Uint8Array | string,
  buffers: Uint8Array[],
): void {
  if (type === "name") {
    // The kernel takes 15 characters of [A-Za-z0-9_.] and refuses the object for any other.
    const name = String(value)
      .replace(/[^\w.]/g, "_")
      .slice(0, NAME_LENGTH);
    encoder.encodeInto(name, new Uint8Array(view.buffer, offset, NAME_LENGTH));
  } else if (type === "pointer") {
    if (typeof value === "number" || typeof value === "bigint") throw new TypeError("A pointer needs a buffer");
    const buffer = typeof value === "string" ? encoder.encode(`${value}\0`) : value;
    buffers.push(buffer);
    if (buffer.length > 0) view.setBigUint64(offset, address(buffer), true);
  } else if (typeof value === "number" || typeof value === "bigint") {
    if (type === "u32") view.setUint32(offset, Number(value), true);
    else view.setBigUint64(offset, BigInt(value), true);
  } else {
    throw new TypeError("A numeric attribute needs a number");
  }
}

/** Asks for the info block of an object (`struct bpf_*_info`), `length` bytes of it; the rest of an older kernel's is zero. */
export function objectInfo(fd: number, length: number, action: string, prepare?: (info: DataView) => void): DataView {
  const info = new Uint8Array(length);
  const view = new DataView(info.buffer);
  prepare?.(view);
  bpf("infoByFd", { fd, infoLength: length, info }, action);
  return view;
}

/** The NUL-terminated text in 16 bytes of an info block. */
export function nameAt(view: DataView, offset: number): string {
  const bytes = new Uint8Array(view.buffer, view.byteOffset + offset, 16);
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(bytes.subarray(0, end < 0 ? 16 : end));
}
