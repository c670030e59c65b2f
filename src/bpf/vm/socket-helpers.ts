/** Helpers of programs that see sockets. Socket options are not acted on but recorded. */
import { helpers as table } from "../helpers.ts";
import type { Context, SockOpsFieldName } from "./context.ts";
import { implement } from "./helpers.ts";
import type { HelperFunction } from "./machine.ts";
import { Errno } from "./maps.ts";

/** BPF_SOCK_OPS_ALL_CB_FLAGS (include/uapi/linux/bpf.h). */
const ALL_CALLBACK_FLAGS = 0x7f;

/** A call of setsockopt. */
export interface SocketOptionCall {
  /** In the stack: the socket's address. */
  readonly socket?: bigint;
  readonly level: number;
  readonly option: number;
  readonly value: Uint8Array;
}

export interface SocketRun {
  /** Of a sockops program. */
  readonly context?: Context<SockOpsFieldName>;
  readonly options: SocketOptionCall[];
}

/** Helpers of sockops programs and of programs that iterate over sockets. */
export function socketOptionHelpers(run: () => SocketRun): [number, HelperFunction][] {
  return [
    implement(table.setsockopt, (machine) => {
      const value = machine.memory(4, machine.unsigned(5), false).slice();
      run().options.push({ level: machine.signed(2), option: machine.signed(3), value });
      return 0;
    }),
    implement(table.getsockopt, (machine) => {
      const level = machine.signed(2);
      const option = machine.signed(3);
      const target = machine.memory(4, machine.unsigned(5), true);
      const known = run().options.findLast((call) => call.level === level && call.option === option);
      target.fill(0);
      if (!known || known.value.length > target.length) return Errno.invalid;
      target.set(known.value);
      return 0;
    }),
  ];
}

/** What only sockops programs have. */
export function callbackHelpers(run: () => SocketRun): [number, HelperFunction][] {
  return [
    implement(table.sockOpsCbFlagsSet, (machine) => {
      const { context } = run();
      if (!context || context.get("isFullsock") === 0n) return Errno.invalid;
      const flags = machine.signed(2);
      context.set("cbFlags", flags & ALL_CALLBACK_FLAGS);
      return flags & ~ALL_CALLBACK_FLAGS;
    }),
  ];
}

/** What only iterators have: here every socket given to one is a TCP socket. */
export function iteratorHelpers(): [number, HelperFunction][] {
  return [
    implement(table.skcToTcpSock, (machine) => {
      const pointer = machine.wide(1);
      if (pointer !== 0n) machine.wholeRegion(1);
      return pointer;
    }),
  ];
}
