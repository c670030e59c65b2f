/** What actors set of sockets: options of setsockopt, and what they are by themselves. */
import type ts from "#typescript";
import { helpers } from "../../bpf/helpers.ts";
import type { IntegerName } from "../../policy/types.ts";
import { int64, type Value } from "../ir/ir.ts";
import type { Lowering } from "./lowering.ts";
import { describeValue, type LanguageValue } from "./values.ts";

/** Level and name of an option. */
type Name = readonly [level: number, name: number];

interface Memory {
  readonly at: Value;
  readonly size: number;
}

interface SocketOption {
  readonly v4: Name;
  /** Where it is another one on IPv6. */
  readonly v6?: Name;
  /** Whether the kernel may say no, which is counted. */
  readonly refusable: boolean;
  value(lowering: Lowering, value: LanguageValue, node: ts.Node): Memory;
  /** As sockets have it by themselves; undefined to leave it. */
  lifted(lowering: Lowering): Memory | undefined;
}

/** Counts that the kernel did not take a value. */
export const refused = "refused";

/** SO_MAX_PACING_RATE's value for no limit. */
const unlimited = 0xffff_ffff;
const namePattern = /^[A-Za-z0-9_-]{1,15}$/;
/** TCP_CA_NAME_MAX: names with the zeros behind them. */
const nameSize = 16;

function inMemory({ builder }: Lowering, value: Value): Memory {
  const at = builder.stack(8);
  builder.store(4, at, 0, value);
  return { at, size: 4 };
}

function number(
  names: Pick<SocketOption, "v4" | "v6" | "refusable">,
  type: IntegerName,
  standard: number,
): SocketOption {
  return {
    ...names,
    value: (lowering, value, node) => inMemory(lowering, lowering.coerce(value, type, node)),
    lifted: (lowering) => inMemory(lowering, lowering.builder.const(standard)),
  };
}

/** SOL_SOCKET, SOL_TCP, SOL_IP and SOL_IPV6 with their options, as in include/uapi. */
const options: Readonly<Record<string, SocketOption>> = {
  maxPacingRate: number({ v4: [1, 47], refusable: false }, "u32", unlimited),
  mark: number({ v4: [1, 36], refusable: true }, "u32", 0),
  // TCP_BPF_SNDCWND_CLAMP, TCP_BPF_RTO_MIN, TCP_BPF_DELACK_MAX, TCP_USER_TIMEOUT; TCP_RTO_MIN and TCP_DELACK_MAX are 200 ms.
  cwndMax: number({ v4: [6, 1002], refusable: true }, "u32", 0x7fff_ffff),
  rtoMinUs: number({ v4: [6, 1004], refusable: true }, "u32", 200_000),
  delayedAckMaxUs: number({ v4: [6, 1003], refusable: true }, "u32", 200_000),
  userTimeoutMs: number({ v4: [6, 18], refusable: true }, "u32", 0),
  tos: number({ v4: [0, 1], v6: [41, 67], refusable: true }, "u8", 0),
  congestionControl: { v4: [6, 13], refusable: true, value: nameInMemory, lifted: () => undefined },
};

export const socketOption = (property: string): SocketOption | undefined =>
  Object.hasOwn(options, property) ? options[property] : undefined;

/** Properties for which an actor may count `refused`. */
export const refusable: ReadonlySet<string> = new Set(
  Object.keys(options).filter((property) => options[property].refusable),
);

function nameInMemory(lowering: Lowering, value: LanguageValue, node: ts.Node): Memory {
  if (value.kind === "text") return value;
  if (value.kind !== "string") return lowering.fail("notText", node, describeValue(value));
  if (!namePattern.test(value.value)) return lowering.fail("notText", node, JSON.stringify(value.value));
  const { builder } = lowering;
  const padded = new Uint8Array(nameSize);
  new TextEncoder().encodeInto(value.value, padded);
  const words = new DataView(padded.buffer);
  const at = builder.stack(nameSize);
  for (let offset = 0; offset < nameSize; offset += 8)
    builder.store(8, at, offset, builder.const(words.getBigUint64(offset, true), 64));
  return { at, size: nameSize };
}

/** Sets SO_MAX_PACING_RATE of what setsockopt takes; `rate` has 32 bits. */
export function setMaxPacingRate(lowering: Lowering, target: Value, rate: Value): void {
  const { maxPacingRate } = options;
  setSocketOption(lowering, target, maxPacingRate, lowering.builder.const(1), inMemory(lowering, rate));
}

/** SO_KEEPALIVE, TCP_KEEPIDLE, TCP_KEEPINTVL. 0 turns it off: then the kernel refuses the other two. */
const keepAlive: readonly Name[] = [
  [1, 9],
  [6, 4],
  [6, 5],
];
/** TCP_KEEPCNT, and MAX_TCP_KEEPCNT. */
const keepAliveCount: Name = [6, 6];
const mostProbes = 127;

/** Lets the kernel ask for an ACK after `seconds` (32 bits) without anything. */
export function setKeepAlive(lowering: Lowering, target: Value, seconds: Value): void {
  const { builder } = lowering;
  const set = (v4: Name, value: Value): void =>
    setSocketOption(lowering, target, { v4, refusable: false }, builder.const(1), inMemory(lowering, value));
  set(keepAliveCount, builder.const(mostProbes));
  for (const name of keepAlive) set(name, seconds);
}

/** @param isV4 1 on IPv4, 0 on IPv6 */
export function setSocketOption(
  lowering: Lowering,
  target: Value,
  { v4, v6 = v4, refusable: mayFail }: Pick<SocketOption, "v4" | "v6" | "refusable">,
  isV4: Value,
  { at, size }: Memory,
): void {
  const { builder, effects } = lowering;
  const [level, name] = v4.map((one, i) => {
    const other = builder.const(v6[i], 64);
    if (v6 === v4) return other;
    return builder.binary(
      "sub",
      other,
      builder.binary("mul", builder.zeroExtend(isV4), builder.const(v6[i] - one, 64)),
    );
  }) as [Value, Value];
  const args = [target, level, name, at, builder.const(size, 64)];
  const result = builder.call(helpers.setsockopt.number, args, int64, "memory");
  if (!mayFail) return effects?.acted();
  const [taken, not, exit] = builder.blocks(3);
  builder.branch("eq", result, builder.const(0, 64), taken, not);
  lowering.enter(not);
  effects?.cannot(refused);
  builder.jump(exit);
  lowering.enter(taken);
  effects?.acted();
  builder.jump(exit);
  lowering.enter(exit);
}
