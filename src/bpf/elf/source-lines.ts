/** The source lines that an object's .BTF.ext gives to instructions (`struct bpf_line_info`, include/uapi/linux/bpf.h). */
import type { Btf } from "../btf/btf.ts";
import type { SourcePosition } from "../instruction.ts";
import { viewOf } from "./container.ts";

export interface SourceLine {
  /** Bytes from the start of the section; the line is that of all instructions up to the next one's place. */
  readonly place: number;
  readonly position: SourcePosition;
}

/** Lines by section, in the order of their places. @throws RangeError when the bytes are cut off */
export function readSourceLines(info: Uint8Array, btf: Btf): ReadonlyMap<string, readonly SourceLine[]> {
  const view = viewOf(info);
  const [headerSize, offset, length] = [4, 16, 20].map((at) => view.getUint32(at, true)) as [number, number, number];
  const sections = new Map<string, SourceLine[]>();
  if (length === 0) return sections;
  let at = headerSize + offset;
  const end = at + length;
  const recordSize = view.getUint32(at, true);
  at += 4;
  while (at < end) {
    const section = btf.text(view.getUint32(at, true));
    const count = view.getUint32(at + 4, true);
    at += 8;
    const lines = sections.get(section) ?? [];
    sections.set(section, lines);
    for (let i = 0; i < count; i++, at += recordSize) {
      const [place, file, text, lineAndColumn] = [0, 4, 8, 12].map((field) => view.getUint32(at + field, true)) as [
        number,
        number,
        number,
        number,
      ];
      const [line, column] = [lineAndColumn >>> 10, lineAndColumn & 0x3ff];
      lines.push({ place, position: { file: btf.text(file), line, column, text: btf.text(text) } });
    }
  }
  return sections;
}
