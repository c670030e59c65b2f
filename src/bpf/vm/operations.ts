/** All programs of a structure of operations together, as the kernel calls them. */
import type { ProgramSpec } from "../spec.ts";
import { KernelObjects } from "./kernel-objects.ts";
import { createMap, type VmMap } from "./maps.ts";
import { Vm, type OperationResult, type VmOptions } from "./vm.ts";

/** Programs by the member of the structure that they are. They share maps (by their keys) and objects. */
export class OperationsVm {
  readonly objects: KernelObjects;
  readonly maps: ReadonlyMap<string, VmMap>;
  readonly vms: ReadonlyMap<string, Vm>;

  constructor(programs: Readonly<Record<string, ProgramSpec>>, options: VmOptions = {}) {
    this.objects = options.objects ?? new KernelObjects();
    const maps = new Map(options.maps);
    for (const { maps: specs } of Object.values(programs))
      for (const [key, spec] of Object.entries(specs)) if (!maps.has(key)) maps.set(key, createMap(spec));
    this.maps = maps;
    const shared = { ...options, objects: this.objects, maps };
    this.vms = new Map(Object.entries(programs).map(([member, spec]) => [member, new Vm(spec, shared)]));
  }

  /**
   * Calls an operation (`cong_avoid`) with its arguments, see `Vm.runOperation`.
   * @throws RangeError when there is no such operation; VmError
   */
  call(member: string, ...args: readonly (number | bigint)[]): OperationResult {
    const vm = this.vms.get(member);
    if (!vm) throw new RangeError(`There is no operation ${member}, only ${[...this.vms.keys()].join(", ")}`);
    return vm.runOperation(args);
  }
}
