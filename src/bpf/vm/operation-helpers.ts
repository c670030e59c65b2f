/** What programs of struct_ops, which the kernel calls with objects of its own, can call: helpers and kernel functions. */
import { helpers as table } from "../helpers.ts";
import { implement } from "./helpers.ts";
import type { KernelCall, KernelFunction } from "./kernel-functions.ts";
import { kernelFunctions } from "./kernel-functions.ts";
import type { KernelObjects } from "./kernel-objects.ts";
import type { HelperFunction } from "./machine.ts";
import { schedulerFunctions } from "./scheduler-functions.ts";
import { Errno } from "./maps.ts";
import type { SocketRun } from "./socket-helpers.ts";

const SOL_SOCKET = 1;
const SO_MAX_PACING_RATE = 47;
const NO_LIMIT = 0xffff_ffff;

/** setsockopt of congestion control: recorded, and acted on where the window or the rate depends on it. */
export function pacingHelpers(objects: KernelObjects, run: () => SocketRun): [number, HelperFunction][] {
  return [
    implement(table.setsockopt, (machine) => {
      const socket = objects.given(machine.wide(1), 1);
      const value = machine.memory(4, machine.unsigned(5), false).slice();
      const [level, option] = [machine.signed(2), machine.signed(3)];
      if (level === SOL_SOCKET && option === SO_MAX_PACING_RATE) {
        if (value.length !== 4) return Errno.invalid;
        limitPacing(objects, socket, new DataView(value.buffer).getUint32(0, true));
      }
      run().options.push({ socket, level, option, value });
      return 0;
    }),
  ];
}

/** net/core/sock.c, sk_setsockopt. */
function limitPacing(objects: KernelObjects, socket: bigint, rate: number): void {
  const limit = rate === NO_LIMIT ? 0xffff_ffff_ffff_ffffn : BigInt(rate);
  const current = objects.read(socket, "sock.sk_pacing_rate");
  objects.write(socket, "sock.sk_max_pacing_rate", limit);
  objects.write(socket, "sock.sk_pacing_rate", current < limit ? current : limit);
}

/** The functions a program calls by name. Every call is told to `record`, but those of casts. */
export function callableFunctions(
  objects: KernelObjects,
  added: Readonly<Record<string, KernelFunction>>,
  record: (call: KernelCall) => void,
): ReadonlyMap<string, HelperFunction> {
  const functions = new Map<string, HelperFunction>();
  for (const [name, run] of Object.entries<KernelFunction>({ ...kernelFunctions, ...schedulerFunctions, ...added })) {
    const count = Math.max(run.length - 1, 0);
    functions.set(name, (machine) => {
      // Iterators begin with where they are, on the program's stack.
      if (!name.startsWith("bpf_iter_")) objects.given(machine.wide(1), 1);
      const args = Array.from({ length: count }, (_, i) => machine.wide(i + 1));
      record({ name, args });
      return run(objects, ...args) ?? DESTROYED;
    });
  }
  return functions.set("bpf_rdonly_cast", (machine) => objects.cast(machine.wide(1), machine.wide(2)));
}

/** What a void function leaves in r0. */
const DESTROYED = 0x6b6b_6b6b_6b6b_6b6bn;
