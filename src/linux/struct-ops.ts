/**
 * Structures of operations that programs fill in (struct_ops): laid out as the running kernel's BTF says, given to the
 * kernel as the only value of a map, listed. `links/struct-ops.ts` registers them.
 */
import { BtfBuilder } from "../bpf/btf/builder.ts";
import { IntEncoding } from "../bpf/btf/format.ts";
import { MapType, type StructOpsSpec } from "../bpf/spec.ts";
import { mapTypeSupport } from "./bpf-support.ts";
import { bpf, nameAt, objectInfo } from "./bpf-syscall.ts";
import { errnos } from "./ffi.ts";
import { kernelBtf } from "./kernel-btf.ts";
import { KernelError } from "./kernel-error.ts";
import { KernelObject, objectIds, openById } from "./kernel-object.ts";
import {
  kernelOperationMember,
  kernelOperations,
  type KernelOperations,
  type OperationMember,
} from "./kernel-operations.ts";
import { LinkType } from "./links/link.ts";
import { KernelMap } from "./maps.ts";
import type { KernelProgram } from "./programs.ts";
import { loadTypeInfo } from "./type-info.ts";

/** BPF_F_LINK: the operations are registered by a link, not as soon as the map has them. */
const BY_LINK = 1 << 13;
/** BPF_F_VTYPE_BTF_OBJ_FD: the structure is one of a kernel module, whose types are not the kernel's own. */
const OF_A_MODULE = 1 << 15;
const KEY = new Uint8Array(4);

/**
 * Gives the kernel operations, to be registered. The map keeps the programs alive.
 * @param programs by the keys that `spec.operations` names
 * @throws NoKernelTypeError for a structure or member that the running kernel does not have; RangeError for text that is
 * too long; KernelError
 */
export function createStructOps(spec: StructOpsSpec, programs: Readonly<Record<string, KernelProgram>>): KernelMap {
  const layout = kernelOperations(spec.struct);
  const value = layOut(spec, layout, programs);
  const { values, struct } = spec;
  const name = typeof values["name"] === "string" ? values["name"] : struct.slice(0, 15);
  const what = `struct_ops ${name} (${struct})`;
  // The kernel asks for type information of the maker's own, and uses none of it.
  const builder = new BtfBuilder();
  builder.add({ kind: "int", name: "int", size: 4, bits: 32, bitOffset: 0, encoding: IntEncoding.signed });
  using types = loadTypeInfo(builder.build(), what);
  const { result } = bpf(
    "mapCreate",
    {
      type: MapType.structOps,
      keySize: KEY.length,
      valueSize: layout.valueSize,
      maxEntries: 1,
      flags: BY_LINK,
      name,
      btfFd: types.fd,
      kernelValueTypeId: layout.valueType,
    },
    `create ${what}`,
    { capabilities: ["CAP_BPF"], features: [mapTypeSupport.structOps] },
  );
  const shape = { name, type: "structOps", keySize: KEY.length, valueSize: layout.valueSize, maxEntries: 1 } as const;
  const map = new KernelMap(result, { ...shape, flags: BY_LINK });
  try {
    bpf("mapUpdate", { mapFd: map.fd, key: KEY, value, flags: 0 }, `write ${what}`, {
      reasons: {
        EINVAL:
          "an operation that it must have is missing, a program is for another operation, or the name has characters " +
          "other than letters, digits, _ and .",
        EOPNOTSUPP: "a member is set that programs may not do",
      },
    });
    return map;
  } catch (error) {
    map.close();
    throw error;
  }
}

function layOut(
  { struct, operations, values }: StructOpsSpec,
  { valueSize }: KernelOperations,
  programs: Readonly<Record<string, KernelProgram>>,
): Uint8Array {
  const value = new Uint8Array(valueSize);
  const view = new DataView(value.buffer);
  for (const [name, key] of Object.entries(operations)) {
    const program = programs[key];
    if (!program) throw new Error(`Cannot lay out ${struct}: its ${name} is program ${key}, which was not given`);
    const member = expectKind(struct, name, "operation");
    view.setBigUint64(member.offset, BigInt(program.fd), true);
  }
  for (const [name, content] of Object.entries(values)) {
    if (typeof content === "string") writeText(value, struct, expectKind(struct, name, "text"), content);
    else writeInteger(view, struct, expectKind(struct, name, "integer"), content);
  }
  return value;
}

function expectKind(struct: string, name: string, kind: OperationMember["kind"]): OperationMember {
  const member = kernelOperationMember(struct, name);
  if (member.kind === kind) return member;
  throw new TypeError(`Cannot lay out ${struct}: its member ${name} is no ${kind}`);
}

function writeText(value: Uint8Array, struct: string, member: OperationMember, text: string): void {
  const bytes = new TextEncoder().encode(text);
  const room = member.size - 1;
  if (bytes.length > room) {
    throw new RangeError(`Cannot lay out ${struct}: ${member.name} "${text}" has more than ${room} characters`);
  }
  value.set(bytes, member.offset);
}

function writeInteger(view: DataView, struct: string, { name, offset, size }: OperationMember, content: number): void {
  if (!Number.isSafeInteger(content) || content < 0 || content >= 2 ** (8 * size)) {
    throw new RangeError(`Cannot lay out ${struct}: ${name} has ${size} bytes, ${content} does not fit`);
  }
  for (let i = 0; i < size; i++) view.setUint8(offset + i, Math.floor(content / 2 ** (8 * i)) % 256);
}

/** Operations that programs do, as the kernel has them. */
export interface StructOpsInfo {
  readonly mapId: number;
  /** E.g. `tcp_congestion_ops`. */
  readonly struct: string;
  /** Its member `name`; the map's name where the structure has none. */
  readonly name: string;
  /** The link that registered it. */
  readonly linkId?: number;
  /** Whether the name is taken by it, through a link or, as older tools do, by its map. */
  readonly registered: boolean;
  /** What holds it in the kernel: sockets that use it and namespaces whose default it is. */
  readonly users: number;
  /** Numbers of programs, by operation. */
  readonly operations: Readonly<Record<string, number>>;
}

/** All struct_ops of this host for structures of the kernel itself that were written, registered or not, whoever made them. @throws KernelError */
export function listStructOps(): StructOpsInfo[] {
  const links = structOpsLinks();
  return [...objectIds("map")].flatMap((id) => {
    const fd = openUnlessGone("map", id);
    if (fd === undefined) return [];
    using map = new KernelObject(fd, `map number ${id}`);
    return readStructOps(map, links) ?? [];
  });
}

/** What a map made by `createStructOps()` holds. @throws KernelError; TypeError for any other map */
export function structOpsInfo(map: KernelMap): StructOpsInfo {
  const info = readStructOps(map, structOpsLinks());
  if (!info) throw new TypeError(`Cannot use ${map.label}: it holds no operations`);
  return info;
}

/** Link numbers by map number. */
function structOpsLinks(): Map<number, number> {
  const links = new Map<number, number>();
  for (const id of objectIds("link")) {
    const fd = openUnlessGone("link", id);
    if (fd === undefined) continue;
    using link = new KernelObject(fd, `link number ${id}`);
    const info = objectInfo(link.fd, LINK_INFO_SIZE, `inspect ${link.label}`);
    if (info.getUint32(0, true) === LinkType.structOps) links.set(info.getUint32(16, true), id);
  }
  return links;
}

const LINK_INFO_SIZE = 20;
/** `struct bpf_map_info` up to and with the kernel's type of the value. */
const MAP_INFO_SIZE = 48;
const mapInfoAt = { type: 0, id: 4, valueSize: 12, flags: 20, name: 24, kernelValueType: 44 } as const;
/** `struct bpf_struct_ops_common_value`, and its states INIT and INUSE. */
const commonAt = { references: 0, state: 4 } as const;
const NOT_WRITTEN = 0;
const IN_USE = 1;

function readStructOps(map: KernelObject, links: ReadonlyMap<number, number>): StructOpsInfo | undefined {
  const info = objectInfo(map.fd, MAP_INFO_SIZE, `inspect ${map.label}`);
  if (info.getUint32(mapInfoAt.type, true) !== MapType.structOps) return undefined;
  if (info.getUint32(mapInfoAt.flags, true) & OF_A_MODULE) return undefined;
  const struct = kernelBtf()
    .nameOf(info.getUint32(mapInfoAt.kernelValueType, true))
    .replace(/^bpf_struct_ops_/, "");
  const value = new Uint8Array(info.getUint32(mapInfoAt.valueSize, true));
  bpf("mapLookup", { mapFd: map.fd, key: KEY, value }, `read ${map.label}`);
  const view = new DataView(value.buffer);
  const state = view.getUint32(commonAt.state, true);
  if (state === NOT_WRITTEN) return undefined;
  const mapId = info.getUint32(mapInfoAt.id, true);
  const linkId = links.get(mapId);
  const { members } = kernelOperations(struct);
  const operations: Record<string, number> = {};
  for (const { name, kind, offset } of members.values()) {
    const program = kind === "operation" ? Number(view.getBigUint64(offset, true)) : 0;
    if (program !== 0) operations[name] = program;
  }
  const nameMember = members.get("name");
  return {
    mapId,
    struct,
    name: nameMember?.kind === "text" ? nameAt(view, nameMember.offset) : nameAt(info, mapInfoAt.name),
    ...(linkId === undefined ? {} : { linkId }),
    registered: linkId !== undefined || state === IN_USE,
    users: view.getUint32(commonAt.references, true) - (linkId === undefined ? 0 : 1),
    operations,
  };
}

const goneOrComing: ReadonlySet<number> = new Set([errnos["ENOENT"], errnos["EAGAIN"]]);

/** Objects come and go while they are listed; a link that is still being made has a number, but cannot be opened (EAGAIN). */
function openUnlessGone(kind: "map" | "link", id: number): number | undefined {
  try {
    return openById(kind, id);
  } catch (error) {
    if (error instanceof KernelError && goneOrComing.has(error.errno)) return undefined;
    throw error;
  }
}
