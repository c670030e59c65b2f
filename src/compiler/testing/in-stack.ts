/** In-stack policies in tests: from a text, for a base; on connections in the VM. */
import { makeConnection, type ConnectionObjects } from "../../bpf/testing/mptcp.ts";
import {
  createMap,
  OperationsVm,
  type FieldValue,
  type KernelFunction,
  type KernelObjects,
  type OperationResult,
  type VmMap,
} from "../../bpf/vm/index.ts";
import type { Base, CongestionControl, Scheduler } from "../../policy/index.ts";
import { compileInStack, compileScheduler, type CompiledInStack } from "../index.ts";
import { mainFile, policySource } from "./policy-source.ts";

/** Compiles the only in-stack policy of a text. */
export function compileStack(text: string, base: Base, name = "emptcp_test"): CompiledInStack {
  const { reader, policies } = policySource(text);
  const policy = [...policies.values()].find(({ on }) => on === "stack");
  return compileInStack({ name, policy: policy as CongestionControl, file: mainFile, base }, reader);
}

/** Compiles the only scheduler of a text. */
export function compileScheduling(text: string): CompiledInStack {
  const { reader, policies } = policySource(text);
  const policy = [...policies.values()].find(({ on }) => on === "stack");
  return compileScheduler({ name: "emptcp_test", policy: policy as Scheduler, file: mainFile }, reader);
}

type Fields = Readonly<Record<string, FieldValue>>;

/** Its window limits what it sends, or the kernel's algorithms would not let it grow. */
const limited: Fields = { is_cwnd_limited: 1 };

/** An in-stack policy in the VM, and connections for it. */
export class StackInVm {
  readonly objects: KernelObjects;
  readonly maps: ReadonlyMap<string, VmMap>;
  readonly #operations: OperationsVm;

  /** @param functions functions of the kernel beyond those that the VM has */
  constructor({ maps, programs }: CompiledInStack, functions: Readonly<Record<string, KernelFunction>> = {}) {
    this.maps = new Map(Object.entries(maps).map(([key, spec]) => [key, createMap(spec)]));
    this.#operations = new OperationsVm(programs, { maps: this.maps, functions });
    this.objects = this.#operations.objects;
  }

  /** Makes an established socket of plain TCP; fields as `KernelObjects.make` takes them. */
  socket(fields: Fields = {}): bigint {
    const established = { "sock_common.skc_state": 1, "sock_common.skc_family": 2 };
    return this.objects.make("tcp_sock", { ...established, ...limited, ...fields });
  }

  /** Makes a connection with an established subflow for each of `subflows`, numbered from 1. */
  connection(subflows: readonly Fields[], fields: Fields = {}): ConnectionObjects {
    const ofSockets = subflows.map((own) => ({ ...limited, ...own }));
    return makeConnection(this.objects, ofSockets, fields);
  }

  /** What MPTCP keeps of a socket that is a subflow. */
  contextOf(socket: bigint): bigint {
    return this.objects.read(socket, "inet_connection_sock.icsk_ulp_data");
  }

  /** Runs an operation, by the member of the kernel's structure; the socket, or the connection, first. */
  run(member: string, ...args: readonly (number | bigint)[]): OperationResult {
    return this.#operations.call(member, ...args);
  }

  /** A field of an object, e.g. `tcp_sock.snd_cwnd`. */
  read(address: bigint, symbol: string): number {
    return Number(this.objects.read(address, symbol));
  }
}
