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

/** TCP_ESTABLISHED (include/net/tcp_states.h), AF_INET, and a connection that is limited by its window. */
const established: Fields = { "sock_common.skc_state": 1, "sock_common.skc_family": 2, is_cwnd_limited: 1 };

/** An in-stack policy in the VM. */
export class StackInVm {
  readonly #vm: OperationsVm;

  /** @param functions functions of the kernel beyond those that the VM has */
  constructor({ maps, programs }: CompiledInStack, functions: Readonly<Record<string, KernelFunction>> = {}) {
    const all = new Map(Object.entries(maps).map(([key, spec]) => [key, createMap(spec)]));
    this.#vm = new OperationsVm(programs, { maps: all, functions });
  }

  get objects(): KernelObjects {
    return this.#vm.objects;
  }

  get maps(): ReadonlyMap<string, VmMap> {
    return this.#vm.maps;
  }

  /** Makes an established socket of plain TCP; fields as `KernelObjects.make` takes them. */
  socket(fields: Fields = {}): bigint {
    return this.objects.make("tcp_sock", { ...established, ...fields });
  }

  /** Makes a connection with a subflow for each of `subflows`, numbered from 1: their sockets, and the connection. */
  connection(subflows: readonly Fields[], fields: Fields = {}): ConnectionObjects {
    const limited = subflows.map((one) => ({ ...established, ...one }));
    return makeConnection(this.objects, limited, fields);
  }

  /** What MPTCP keeps of a socket that is a subflow. */
  contextOf(socket: bigint): bigint {
    return this.objects.read(socket, "inet_connection_sock.icsk_ulp_data");
  }

  /** Runs an operation, by the member of the kernel's structure; the socket first. */
  run(member: string, ...args: readonly (number | bigint)[]): OperationResult {
    return this.#vm.call(member, ...args);
  }

  /** A field of a socket, e.g. `tcp_sock.snd_cwnd`. */
  read(address: bigint, symbol: string): number {
    return Number(this.objects.read(address, symbol));
  }
}
