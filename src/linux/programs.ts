/** Programs: loaded from specs with everything that depends on the running kernel resolved, run once, inspected, pinned. */
import { readFileSync } from "node:fs";
import { encode, slots } from "../bpf/encode.ts";
import { WideSource } from "../bpf/opcodes.ts";
import { FUNCTION_INFO_SIZE, LINE_INFO_SIZE, programInfo } from "../bpf/program-info.ts";
import type { Instruction } from "../bpf/instruction.ts";
import { AttachType, ProgramType, type ProgramSpec, type ProgramTypeName } from "../bpf/spec.ts";
import { bpf, nameAt, objectInfo, tryBpf, type Attributes } from "./bpf-syscall.ts";
import { programTypeSupport } from "./bpf-support.ts";
import type { Capability } from "./capabilities.ts";
import { address, errnos } from "./ffi.ts";
import { kernelBitField, kernelFieldOffset, kernelFunctionId, kernelStructId } from "./kernel-btf.ts";
import { explainRefusal } from "./kernel-error.ts";
import { kernelOperationMember, kernelOperations } from "./kernel-operations.ts";
import { KernelObject, openById, openPinned } from "./kernel-object.ts";
import type { KernelMap } from "./maps.ts";
import { explainVerifierLog } from "./verifier-error.ts";
import { loadTypeInfo } from "./type-info.ts";

export interface ProgramInfo {
  readonly id: number;
  readonly name: string;
  readonly type: ProgramTypeName;
  /** The kernel's hash of the instructions, 16 hexadecimal digits. */
  readonly tag: string;
  /** Bytes of machine code; 0 without a JIT compiler. */
  readonly jitedBytes: number;
  /** Bytes of instructions after the kernel rewrote them. */
  readonly translatedBytes: number;
  /** Instructions the verifier followed (Linux >= 5.16). */
  readonly verifiedInstructions: number;
  /** Time spent in the program while statistics were enabled. */
  readonly runTimeNs: number;
  /** Runs while statistics were enabled. */
  readonly runCount: number;
  readonly mapIds: readonly number[];
}

const typeByNumber = new Map(
  Object.entries(ProgramType).map(([name, number]) => [number as number, name as ProgramTypeName]),
);

/** A program in the kernel. */
export class KernelProgram extends KernelObject {
  readonly name: string;
  readonly type: ProgramTypeName;

  constructor(fd: number, name: string, type: ProgramTypeName) {
    super(fd, `program ${name}`);
    this.name = name;
    this.type = type;
  }

  info(): ProgramInfo {
    return readProgramInfo(this.fd, this.label);
  }
}

const capabilities: Readonly<Record<ProgramTypeName, readonly Capability[]>> = {
  schedCls: ["CAP_BPF", "CAP_NET_ADMIN"],
  xdp: ["CAP_BPF", "CAP_NET_ADMIN"],
  sockOps: ["CAP_BPF", "CAP_NET_ADMIN"],
  tracing: ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"],
  structOps: ["CAP_BPF", "CAP_PERFMON"],
};

/**
 * Loads a program.
 * @param maps the maps its references name; the program keeps them alive in the kernel
 * @throws VerifierError with the line of the policy when the verifier refuses it; NoKernelTypeError for a field or an
 * attach target that the running kernel does not have; KernelError for any other refusal
 */
export function loadProgram(spec: ProgramSpec, maps: Readonly<Record<string, KernelMap>>): KernelProgram {
  const instructions = encode(spec.instructions.map(withPseudoSource), {
    map: (name) => {
      const map = maps[name];
      if (!map) throw new Error(`Cannot load program ${spec.name}: it refers to map ${name}, which was not given`);
      return map.fd;
    },
    field: kernelFieldOffset,
    bitField: kernelBitField,
    type: kernelStructId,
    function: kernelFunctionId,
  });
  const info = programInfo(spec);
  const btf = loadTypeInfo(info.btf, `program ${spec.name}`);
  try {
    return load(spec, {
      type: ProgramType[spec.type],
      instructions,
      instructionCount: slots(spec.instructions),
      license: spec.license,
      name: spec.name,
      ...attachment(spec),
      btfFd: btf.fd,
      funcInfo: info.functionInfo,
      funcInfoRecordSize: FUNCTION_INFO_SIZE,
      funcInfoCount: info.functionInfo.length / FUNCTION_INFO_SIZE,
      lineInfo: info.lineInfo,
      lineInfoRecordSize: LINE_INFO_SIZE,
      lineInfoCount: info.lineInfo.length / LINE_INFO_SIZE,
    });
  } finally {
    // The program keeps its type information.
    btf.close();
  }
}

function load(spec: ProgramSpec, attributes: Attributes<"progLoad">): KernelProgram {
  const outcome = tryBpf("progLoad", attributes);
  if (outcome.result >= 0) return new KernelProgram(outcome.result, spec.name, spec.type);
  const refused = explainVerifierLog(verifierLog(attributes), spec);
  const support = programTypeSupport[spec.type];
  throw (
    refused ??
    explainRefusal(`load program ${spec.name} (${spec.type})`, outcome.errno, {
      capabilities: capabilities[spec.type],
      features: support ? [support] : [],
    })
  );
}

/** What the program will be attached to, as far as the kernel wants to know it when loading. */
function attachment({ type, attachType, attachTarget, operation }: ProgramSpec): Attributes<"progLoad"> {
  if (operation) {
    const { index } = kernelOperationMember(operation.struct, operation.member);
    return { attachBtfId: kernelOperations(operation.struct).type, expectedAttachType: index };
  }
  return {
    // Kernels that do not know tcx know its programs as plain tc ones: the type is only needed when attaching.
    expectedAttachType: attachType === undefined || type === "schedCls" ? 0 : AttachType[attachType],
    attachBtfId: attachTarget === undefined ? 0 : kernelFunctionId(attachTarget),
  };
}

function withPseudoSource(instruction: Instruction): Instruction {
  const kind = instruction.reference?.kind;
  if (kind === "map") return { ...instruction, src: WideSource.mapFd };
  if (kind === "mapValue") return { ...instruction, src: WideSource.mapValue };
  return instruction;
}

const FIRST_LOG_BYTES = 1 << 20;
const LARGEST_LOG_BYTES = 16 << 20;

/** Loads once more, to hear why not. What exceeds the largest buffer loses its beginning, the reason stands at the end. */
function verifierLog(attributes: Attributes<"progLoad">): string {
  for (let size = FIRST_LOG_BYTES; ; size *= 4) {
    const logBuffer = new Uint8Array(size);
    const outcome = tryBpf("progLoad", { ...attributes, logBuffer, logSize: size, logLevel: 1 });
    if (outcome.result >= 0) new KernelObject(outcome.result, "program").close();
    const end = logBuffer.indexOf(0);
    const log = new TextDecoder().decode(logBuffer.subarray(0, end < 0 ? size : end));
    // Kernels from 6.4 on keep the end of a log that does not fit, older ones its beginning: those need all of it.
    const complete = outcome.errno !== errnos["ENOSPC"] || /^processed \d+ insns/m.test(log.slice(-400));
    if (complete || size >= LARGEST_LOG_BYTES) return log;
  }
}

export interface TestRunOptions {
  /** The packet, from its Ethernet header on: at least 14 bytes; for tc programs with the fixed IP header it announces. */
  readonly data: Uint8Array;
  /** Runs in a row on the same packet, 1 unless told; a program that changes the packet meets its own changes. */
  readonly repeat?: number;
  /** The context (`struct __sk_buff`, `struct xdp_md`) as bytes. */
  readonly context?: Uint8Array;
}

export interface TestRunResult {
  /** The verdict. */
  readonly returnValue: number;
  /** The packet afterwards. */
  readonly data: Uint8Array;
  /** Mean of one run. */
  readonly durationNs: number;
  /** The context afterwards, if one was given. */
  readonly context?: Uint8Array;
}

/** What a program may add to a packet: head and tail room of a test run. */
const GROWTH_BYTES = 1024;

/** Runs an XDP or tc program on a packet, without any interface (BPF_PROG_TEST_RUN). @throws KernelError */
export function testRun(program: KernelProgram, options: TestRunOptions): TestRunResult {
  const { data, repeat = 1, context } = options;
  const dataOut = new Uint8Array(data.length + GROWTH_BYTES);
  const contextOut = context && new Uint8Array(context.length);
  const outcome = bpf(
    "testRun",
    {
      progFd: program.fd,
      dataIn: data,
      dataSizeIn: data.length,
      dataOut,
      dataSizeOut: dataOut.length,
      repeat,
      contextIn: context,
      contextSizeIn: context?.length,
      contextOut,
      contextSizeOut: contextOut?.length,
    },
    `run ${program.label} on a packet of ${data.length} bytes`,
    {
      capabilities: ["CAP_BPF", "CAP_NET_ADMIN"],
      reasons: {
        ENOTSUPP: `programs of type ${program.type} cannot be run without their hook`,
        EINVAL:
          "a packet needs its whole Ethernet header, on tc also the IP header that it announces and at most about " +
          "3700 bytes; fields of the context must be settable",
      },
    },
  );
  return {
    returnValue: outcome.read("returnValue"),
    data: dataOut.slice(0, outcome.read("dataSizeOut")),
    durationNs: outcome.read("durationNs"),
    ...(contextOut ? { context: contextOut } : {}),
  };
}

/** Opens a pinned program. @throws KernelError; TypeError when something else is pinned there */
export function openProgram(path: string): KernelProgram {
  return adoptProgram(openPinned(path, "program"), path);
}

/** Opens a program by the number the kernel gave it. @throws KernelError */
export function programFromId(id: number): KernelProgram {
  return adoptProgram(openById("program", id), `program number ${id}`);
}

/** While the result is open the kernel measures every program's runs, at about 30 ns each. Close it to stop. */
export function enableRunStatistics(): KernelObject {
  const RUN_TIME = 0;
  const { result } = bpf("enableStats", { type: RUN_TIME }, "enable run statistics of BPF programs", {
    capabilities: ["CAP_SYS_ADMIN"],
  });
  return new KernelObject(result, "run statistics");
}

function adoptProgram(fd: number, what: string): KernelProgram {
  const object = new KernelObject(fd, what);
  try {
    if (!/^prog_type:/m.test(readFileSync(`/proc/thread-self/fdinfo/${fd}`, "utf8"))) {
      throw new TypeError(`Cannot open ${what}: it is not a program`);
    }
    const { name, type } = readProgramInfo(fd, what);
    return new KernelProgram(fd, name, type);
  } catch (error) {
    object.close();
    throw error;
  }
}

/** `struct bpf_prog_info` (include/uapi/linux/bpf.h): bytes up to and with the verified instructions. */
const PROGRAM_INFO_SIZE = 224;
const infoAt = {
  type: 0,
  id: 4,
  tag: 8,
  jitedLength: 16,
  translatedLength: 20,
  mapCount: 52,
  mapIds: 56,
  name: 64,
  runTimeNs: 192,
  runCount: 200,
  verifiedInstructions: 216,
} as const;

function readProgramInfo(fd: number, label: string): ProgramInfo {
  const view = objectInfo(fd, PROGRAM_INFO_SIZE, `inspect ${label}`);
  const number = view.getUint32(infoAt.type, true);
  const type = typeByNumber.get(number);
  if (type === undefined) throw new TypeError(`Cannot use ${label}: emptcp has no programs of type ${number}`);
  const mapCount = view.getUint32(infoAt.mapCount, true);
  return {
    type,
    id: view.getUint32(infoAt.id, true),
    name: nameAt(view, infoAt.name),
    tag: Buffer.from(view.buffer, infoAt.tag, 8).toString("hex"),
    jitedBytes: view.getUint32(infoAt.jitedLength, true),
    translatedBytes: view.getUint32(infoAt.translatedLength, true),
    verifiedInstructions: view.getUint32(infoAt.verifiedInstructions, true),
    runTimeNs: Number(view.getBigUint64(infoAt.runTimeNs, true)),
    runCount: Number(view.getBigUint64(infoAt.runCount, true)),
    mapIds: mapCount === 0 ? [] : readMapIds(fd, label, mapCount),
  };
}

function readMapIds(fd: number, label: string, count: number): number[] {
  const ids = new Uint32Array(count);
  objectInfo(fd, PROGRAM_INFO_SIZE, `inspect the maps of ${label}`, (info) => {
    info.setUint32(infoAt.mapCount, count, true);
    info.setBigUint64(infoAt.mapIds, address(new Uint8Array(ids.buffer)), true);
  });
  return [...ids];
}
