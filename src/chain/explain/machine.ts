/** A compiled chain in the VM: the bytes that run in the kernel, with maps of their own. */
import { createMap, Vm, type PacketResult, type VmMap } from "../../bpf/vm/index.ts";
import { countersMap, hooks, isPacketHook, parametersMap, type PacketHook } from "../../compiler/index.ts";
import type { ChainPlan } from "../policy-chain.ts";
import type { Direction } from "./direction.ts";

const onlyKey = new Uint8Array(4);

/** Bits of a packet's context that a chain may set, by what a person calls them. */
const contextFields = ["mark", "priority"] as const;

export interface Passage {
  readonly hook: PacketHook;
  readonly result: PacketResult;
  /** The value of the counters map: what this one packet was counted for. */
  readonly counted: Uint8Array;
  readonly context: Readonly<Partial<Record<(typeof contextFields)[number], bigint>>>;
}

export class ChainMachine {
  readonly plan: ChainPlan;
  readonly maps: ReadonlyMap<string, VmMap>;
  readonly #vms: ReadonlyMap<Direction, { readonly hook: PacketHook; readonly vm: Vm }>;
  #nowNs = 0n;

  constructor(plan: ChainPlan) {
    const { compiled, parameters } = plan;
    this.plan = plan;
    this.maps = new Map(Object.entries(compiled.maps).map(([key, spec]) => [key, createMap(spec)]));
    if (parameters) this.maps.get(parametersMap)!.update(onlyKey, parameters);
    const options = { maps: this.maps, now: () => this.#nowNs };
    this.#vms = new Map(
      Object.entries(compiled.programs).flatMap(([name, spec]) => {
        const hook = name as PacketHook;
        return isPacketHook(hook) ? [[hooks[hook].direction, { hook, vm: new Vm(spec, options) }] as const] : [];
      }),
    );
  }

  /** The directions in which the chain sees packets. */
  get directions(): Direction[] {
    return [...this.#vms.keys()];
  }

  hookFor(direction: Direction): PacketHook | undefined {
    return this.#vms.get(direction)?.hook;
  }

  /** Runs one packet through; undefined where the chain has no program for its direction. Time never goes back. */
  run(frame: Uint8Array, direction: Direction, timeNs: bigint): Passage | undefined {
    const found = this.#vms.get(direction);
    if (!found) return undefined;
    if (timeNs > this.#nowNs) this.#nowNs = timeNs;
    const counters = this.maps.get(countersMap)!;
    counters.update(onlyKey, new Uint8Array(counters.spec.valueSize));
    const result = found.vm.runPacket(frame);
    const context = Object.fromEntries(
      contextFields.flatMap((field) => (result.context[field] ? [[field, result.context[field]]] : [])),
    );
    return { hook: found.hook, result, counted: counters.lookup(onlyKey)!, context };
  }
}
