/** Structures of operations that the running kernel lets programs fill in, as its BTF says (kernel/bpf/bpf_struct_ops.c). */
import { kernelBtf, NoKernelTypeError } from "./kernel-btf.ts";

/** A function pointer, an integer, text of bounded length, or what user space may not set. */
export type OperationMemberKind = "operation" | "integer" | "text" | "other";

export interface OperationMember {
  readonly name: string;
  readonly kind: OperationMemberKind;
  /** Which member of the structure it is. */
  readonly index: number;
  /** Bytes from the start of the map's value. */
  readonly offset: number;
  readonly size: number;
}

export interface KernelOperations {
  /** BTF number of the structure. */
  readonly type: number;
  /** BTF number of the map's value, in which the structure is. */
  readonly valueType: number;
  readonly valueSize: number;
  readonly members: ReadonlyMap<string, OperationMember>;
}

const known = new Map<string, KernelOperations>();

/**
 * How a structure of operations, such as `tcp_congestion_ops`, is given to the kernel.
 * @throws NoKernelTypeError for one that programs cannot fill in; KernelError on a kernel without BTF
 */
export function kernelOperations(struct: string): KernelOperations {
  const before = known.get(struct);
  if (before) return before;
  const btf = kernelBtf();
  const valueType = btf.find("struct", `bpf_struct_ops_${struct}`);
  if (valueType === undefined) {
    throw new NoKernelTypeError(struct, `lets no programs fill in ${struct}: it has no bpf_struct_ops_${struct}`);
  }
  const data = btf.field(valueType, "data");
  const type = btf.skipModifiers(data.type);
  const description = btf.type(type);
  const fields = description.kind === "struct" ? description.members : [];
  const members = fields.map(({ name, type: memberType, bitOffset, bitSize }, index): OperationMember => {
    const offset = data.offset + Math.floor(bitOffset / 8);
    return {
      name,
      kind: bitSize === 0 ? memberKind(memberType) : "other",
      index,
      offset,
      size: btf.sizeOf(memberType),
    };
  });
  const found = {
    type,
    valueType,
    valueSize: btf.sizeOf(valueType),
    members: new Map(members.map((member) => [member.name, member])),
  };
  known.set(struct, found);
  return found;
}

/** A member of a structure of operations. @throws NoKernelTypeError */
export function kernelOperationMember(struct: string, name: string): OperationMember {
  const member = kernelOperations(struct).members.get(name);
  if (!member) throw new NoKernelTypeError(`${struct}.${name}`, `has no member ${name} in ${struct}`);
  return member;
}

function memberKind(id: number): OperationMemberKind {
  const btf = kernelBtf();
  const type = btf.type(btf.skipModifiers(id));
  if (type.kind === "int" || type.kind === "enum") return "integer";
  if (type.kind === "array" && btf.kindOf(btf.skipModifiers(type.type)) === "int" && btf.sizeOf(type.type) === 1) {
    return "text";
  }
  if (type.kind !== "pointer") return "other";
  return btf.kindOf(btf.skipModifiers(type.type)) === "functionPrototype" ? "operation" : "other";
}
