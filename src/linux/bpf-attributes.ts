/**
 * The layouts of `union bpf_attr` (include/uapi/linux/bpf.h), one table per command: number, and for each field its byte
 * offset and type. A `pointer` is 64 bits, a `name` 16 bytes with a NUL.
 */
export type FieldType = "u32" | "u64" | "pointer" | "name";
type Fields = Readonly<Record<string, readonly [offset: number, type: FieldType]>>;

const element = { mapFd: [0, "u32"], key: [8, "pointer"], value: [16, "pointer"], flags: [24, "u64"] } as const;
const batch = {
  inBatch: [0, "pointer"],
  outBatch: [8, "pointer"],
  keys: [16, "pointer"],
  values: [24, "pointer"],
  count: [32, "u32"],
  mapFd: [36, "u32"],
  elemFlags: [40, "u64"],
  flags: [48, "u64"],
} as const;
const object = { pathname: [0, "pointer"], fd: [8, "u32"], flags: [12, "u32"] } as const;
const id = { id: [0, "u32"], nextId: [4, "u32"], openFlags: [8, "u32"] } as const;

/** Every command emptcp uses. */
export const bpfCommands = {
  mapCreate: {
    number: 0,
    fields: {
      type: [0, "u32"],
      keySize: [4, "u32"],
      valueSize: [8, "u32"],
      maxEntries: [12, "u32"],
      flags: [16, "u32"],
      name: [28, "name"],
      btfFd: [48, "u32"],
      btfKeyTypeId: [52, "u32"],
      btfValueTypeId: [56, "u32"],
      /** The kernel's own type of the value, instead of one in `btfFd`. */
      kernelValueTypeId: [60, "u32"],
    },
  },
  mapLookup: { number: 1, fields: element },
  mapUpdate: { number: 2, fields: element },
  mapDelete: { number: 3, fields: element },
  mapGetNextKey: { number: 4, fields: { mapFd: [0, "u32"], key: [8, "pointer"], nextKey: [16, "pointer"] } },
  progLoad: {
    number: 5,
    fields: {
      type: [0, "u32"],
      instructionCount: [4, "u32"],
      instructions: [8, "pointer"],
      license: [16, "pointer"],
      logLevel: [24, "u32"],
      logSize: [28, "u32"],
      logBuffer: [32, "pointer"],
      flags: [44, "u32"],
      name: [48, "name"],
      expectedAttachType: [68, "u32"],
      btfFd: [72, "u32"],
      funcInfoRecordSize: [76, "u32"],
      funcInfo: [80, "pointer"],
      funcInfoCount: [88, "u32"],
      lineInfoRecordSize: [92, "u32"],
      lineInfo: [96, "pointer"],
      lineInfoCount: [104, "u32"],
      attachBtfId: [108, "u32"],
    },
  },
  objectPin: { number: 6, fields: object },
  objectGet: { number: 7, fields: object },
  testRun: {
    number: 10,
    fields: {
      progFd: [0, "u32"],
      returnValue: [4, "u32"],
      dataSizeIn: [8, "u32"],
      dataSizeOut: [12, "u32"],
      dataIn: [16, "pointer"],
      dataOut: [24, "pointer"],
      repeat: [32, "u32"],
      durationNs: [36, "u32"],
      contextSizeIn: [40, "u32"],
      contextSizeOut: [44, "u32"],
      contextIn: [48, "pointer"],
      contextOut: [56, "pointer"],
    },
  },
  progGetNextId: { number: 11, fields: id },
  mapGetNextId: { number: 12, fields: id },
  progGetFdById: { number: 13, fields: id },
  mapGetFdById: { number: 14, fields: id },
  infoByFd: { number: 15, fields: { fd: [0, "u32"], infoLength: [4, "u32"], info: [8, "pointer"] } },
  progQuery: {
    number: 16,
    fields: {
      target: [0, "u32"],
      attachType: [4, "u32"],
      queryFlags: [8, "u32"],
      attachFlags: [12, "u32"],
      programIds: [16, "pointer"],
      count: [24, "u32"],
      linkIds: [40, "pointer"],
      revision: [56, "u64"],
    },
  },
  btfLoad: {
    number: 18,
    fields: {
      btf: [0, "pointer"],
      logBuffer: [8, "pointer"],
      size: [16, "u32"],
      logSize: [20, "u32"],
      logLevel: [24, "u32"],
    },
  },
  mapLookupBatch: { number: 24, fields: batch },
  mapUpdateBatch: { number: 26, fields: batch },
  mapDeleteBatch: { number: 27, fields: batch },
  linkCreate: {
    number: 28,
    fields: {
      /** For struct_ops that of the map. */
      progFd: [0, "u32"],
      target: [4, "u32"],
      attachType: [8, "u32"],
      flags: [12, "u32"],
      /** tcx: the program or link that `flags` places this one before or after. */
      relative: [16, "u32"],
      expectedRevision: [24, "u64"],
    },
  },
  linkUpdate: {
    number: 29,
    /** Of maps, for struct_ops. */
    fields: { linkFd: [0, "u32"], newProgFd: [4, "u32"], flags: [8, "u32"], oldProgFd: [12, "u32"] },
  },
  linkGetFdById: { number: 30, fields: id },
  linkGetNextId: { number: 31, fields: id },
  enableStats: { number: 32, fields: { type: [0, "u32"] } },
  iterCreate: { number: 33, fields: { linkFd: [0, "u32"], flags: [4, "u32"] } },
  linkDetach: { number: 34, fields: { linkFd: [0, "u32"] } },
} as const satisfies Record<string, { number: number; fields: Fields }>;

export type BpfCommand = keyof typeof bpfCommands;
export type BpfField<C extends BpfCommand> = keyof (typeof bpfCommands)[C]["fields"] & string;

/** Bytes of the attribute block passed with every command: past the last field of all; the kernel wants the rest zero. */
export const ATTRIBUTE_SIZE = 144;
