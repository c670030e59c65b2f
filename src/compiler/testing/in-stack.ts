/** In-stack policies in tests: from a text, for a base; on connections in the VM. */
import {
  createMap,
  KernelObjects,
  Vm,
  type FieldValue,
  type KernelFunction,
  type OperationResult,
  type VmMap,
} from "../../bpf/vm/index.ts";
import type { Base, CongestionControl } from "../../policy/index.ts";
import { compileInStack, type CompiledInStack } from "../index.ts";
import { mainFile, policySource } from "./policy-source.ts";

/** Compiles the only in-stack policy of a text. */
export function compileStack(text: string, base: Base, name = "emptcp_test"): CompiledInStack {
  const { reader, policies } = policySource(text);
  const policy = [...policies.values()].find(({ on }) => on === "stack");
  return compileInStack({ name, policy: policy as CongestionControl, file: mainFile, base }, reader);
}

type Fields = Readonly<Record<string, FieldValue>>;

/** TCP_ESTABLISHED (include/net/tcp_states.h), AF_INET, and a connection that is limited by its window. */
const established: Fields = { "sock_common.skc_state": 1, "sock_common.skc_family": 2, is_cwnd_limited: 1 };

/** An in-stack policy in the VM: its operations share maps and the kernel's objects. */
export class StackInVm {
  readonly objects = new KernelObjects();
  readonly maps: ReadonlyMap<string, VmMap>;
  readonly #operations: ReadonlyMap<string, Vm>;

  /** @param functions functions of the kernel beyond those that the VM has */
  constructor({ maps, programs }: CompiledInStack, functions: Readonly<Record<string, KernelFunction>> = {}) {
    this.maps = new Map(Object.entries(maps).map(([key, spec]) => [key, createMap(spec)]));
    const shared = { maps: this.maps, objects: this.objects, functions };
    this.#operations = new Map(Object.entries(programs).map(([member, spec]) => [member, new Vm(spec, shared)]));
  }

  /** Makes an established socket of plain TCP; fields as `KernelObjects.make` takes them. */
  socket(fields: Fields = {}): bigint {
    return this.objects.make("tcp_sock", { ...established, ...fields });
  }

  /** Makes a connection with a subflow for each of `subflows`, numbered from 1: their sockets, and the connection. */
  connection(
    subflows: readonly Fields[],
    fields: Fields = {},
  ): { readonly sockets: bigint[]; readonly connection: bigint } {
    const { objects } = this;
    const conn = objects.make("mptcp_sock", fields);
    const sockets = subflows.map((one) => this.socket({ is_mptcp: 1, ...one }));
    const contexts = sockets.map((tcp_sock, i) =>
      objects.make("mptcp_subflow_context", { conn, tcp_sock, subflow_id: i + 1 }),
    );
    sockets.forEach((socket, i) => objects.write(socket, "inet_connection_sock.icsk_ulp_data", contexts[i]));
    objects.link(conn, "mptcp_sock.conn_list", contexts, "mptcp_subflow_context.node");
    return { sockets, connection: conn };
  }

  /** What MPTCP keeps of a socket that is a subflow. */
  contextOf(socket: bigint): bigint {
    return this.objects.read(socket, "inet_connection_sock.icsk_ulp_data");
  }

  /** Runs an operation, by the member of the kernel's structure; the socket first. */
  run(member: string, ...args: readonly (number | bigint)[]): OperationResult {
    const vm = this.#operations.get(member);
    if (!vm)
      throw new Error(`Neither policy nor base has ${member}: there are ${[...this.#operations.keys()].join(", ")}`);
    return vm.runOperation(args);
  }

  /** A field of a socket, e.g. `tcp_sock.snd_cwnd`. */
  read(address: bigint, symbol: string): number {
    return Number(this.objects.read(address, symbol));
  }
}
