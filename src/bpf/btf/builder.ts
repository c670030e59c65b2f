/** Writes BTF. */
import { BTF_MAGIC, BTF_VERSION, BtfKind, HEADER_SIZE } from "./format.ts";
import type { BtfType } from "./types.ts";

/** Collects strings, each once; offset 0 is the empty string. */
class Strings {
  private readonly offsets = new Map<string, number>([["", 0]]);
  private readonly parts: Uint8Array[] = [Uint8Array.of(0)];
  size = 1;

  add(text: string): number {
    const known = this.offsets.get(text);
    if (known !== undefined) return known;
    const offset = this.size;
    const bytes = new TextEncoder().encode(`${text}\0`);
    this.parts.push(bytes);
    this.size += bytes.length;
    this.offsets.set(text, offset);
    return offset;
  }

  writeTo(target: Uint8Array, at: number): void {
    for (const part of this.parts) {
      target.set(part, at);
      at += part.length;
    }
  }
}

/** Makes one BTF blob. */
export class BtfBuilder {
  private readonly strings = new Strings();
  private readonly words: number[] = [];
  private count = 0;

  /** Adds a type and returns its number, by which later (and earlier) types refer to it. */
  add(type: BtfType): number {
    const { kind } = type;
    switch (kind) {
      case "int":
        this.header(kind, type.name, 0, false, type.size);
        this.words.push((type.encoding << 24) | (type.bitOffset << 16) | type.bits);
        break;
      case "pointer":
      case "volatile":
      case "const":
      case "restrict":
        this.header(kind, "", 0, false, type.type);
        break;
      case "typedef":
      case "typeTag":
        this.header(kind, type.name, 0, false, type.type);
        break;
      case "array":
        this.header(kind, "", 0, false, 0);
        this.words.push(type.type, type.indexType, type.length);
        break;
      case "struct":
      case "union": {
        const bitFields = type.members.some((member) => member.bitSize !== 0);
        this.header(kind, type.name, type.members.length, bitFields, type.size);
        for (const { name, type: id, bitOffset, bitSize } of type.members) {
          this.words.push(this.strings.add(name), id, (bitSize << 24) | bitOffset);
        }
        break;
      }
      case "enum":
      case "enum64":
        this.header(kind, type.name, type.values.length, type.signed, type.size);
        for (const { name, value } of type.values) {
          this.words.push(this.strings.add(name), Number(BigInt.asIntN(32, value)));
          if (kind === "enum64") this.words.push(Number(BigInt.asIntN(32, value >> 32n)));
        }
        break;
      case "forward":
        this.header(kind, type.name, 0, type.union, 0);
        break;
      case "function":
        this.header(kind, type.name, type.linkage, false, type.type);
        break;
      case "functionPrototype":
        this.header(kind, "", type.parameters.length, false, type.returns);
        for (const { name, type: id } of type.parameters) this.words.push(this.strings.add(name), id);
        break;
      case "variable":
        this.header(kind, type.name, 0, false, type.type);
        this.words.push(type.linkage);
        break;
      case "dataSection":
        this.header(kind, type.name, type.variables.length, false, type.size);
        for (const { type: id, offset, size } of type.variables) this.words.push(id, offset, size);
        break;
      case "float":
        this.header(kind, type.name, 0, false, type.size);
        break;
      case "declarationTag":
        this.header(kind, type.name, 0, false, type.type);
        this.words.push(type.component);
        break;
    }
    return ++this.count;
  }

  /** Adds a string that no type names (file names and source lines of line info) and returns its offset. */
  addString(text: string): number {
    return this.strings.add(text);
  }

  /** The blob with everything added so far. */
  build(): Uint8Array {
    const typesSize = this.words.length * 4;
    const bytes = new Uint8Array(HEADER_SIZE + typesSize + this.strings.size);
    const view = new DataView(bytes.buffer);
    view.setUint16(0, BTF_MAGIC, true);
    view.setUint8(2, BTF_VERSION);
    view.setUint32(4, HEADER_SIZE, true);
    view.setUint32(12, typesSize, true);
    view.setUint32(16, typesSize, true);
    view.setUint32(20, this.strings.size, true);
    this.words.forEach((word, i) => view.setInt32(HEADER_SIZE + i * 4, word, true));
    this.strings.writeTo(bytes, HEADER_SIZE + typesSize);
    return bytes;
  }

  private header(kind: keyof typeof BtfKind, name: string, vlen: number, flag: boolean, sizeOrType: number): void {
    this.words.push(this.strings.add(name), (flag ? 0x8000_0000 : 0) | (BtfKind[kind] << 24) | vlen, sizeOrType);
  }
}
