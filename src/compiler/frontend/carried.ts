/**
 * What the programs of a linked chain hand to one another about a packet: where its headers are, what is decided, and which
 * step is being done. It lies in a per-CPU record rather than in `skb->cb` or XDP metadata: those hold 20 bytes or need the
 * driver's help, are seen by other programs, and metadata keeps the kernel from merging packets. One packet at a time is in
 * a chain on a CPU, since both hooks run with bottom halves disabled, so nothing else writes the record between two hops.
 */
import { helpers } from "../../bpf/helpers.ts";
import type { MapSpec } from "../../bpf/spec.ts";
import { integerSizes } from "../../policy/types.ts";
import type { Variable } from "../ir/builder.ts";
import { pointer, type Block, type MemorySize, type Value } from "../ir/ir.ts";
import type { ChainLayout, StateSlot } from "../layout.ts";
import type { PacketHook } from "./hooks.ts";
import type { Lowering } from "./lowering.ts";
import type { MemberWords, PacketField, PacketMemory } from "./packet-memory.ts";
import { maximumIpOffset, maximumV6Headers, minimumTcp, minimumV4, packetFields, unparsed } from "./parse.ts";
import type { ParsedPacket } from "./views/packet.ts";

export const carriedMap = "context";
/** Bytes before the state that policies keep for one packet. */
const fixedSize = 56;

const perPacket = ({ state }: ChainLayout): StateSlot[] => state.filter(({ kind }) => kind === "perPacket");

/** The parameters of members that actors use, by `SET.FIELD`; 8 bytes each, behind the state. */
const memberKeys = ({ memberParameters }: ChainLayout): string[] => [
  ...new Set(memberParameters.map(({ set, field }) => `${set}.${field}`)),
];

export function carriedSpec(layout: ChainLayout): MapSpec {
  const state = perPacket(layout).reduce((sum, { size }) => sum + size, 0);
  const valueSize = fixedSize + state + 8 * memberKeys(layout).length;
  return { name: "emptcp_context", type: "perCpuArray", keySize: 4, valueSize, maxEntries: 1 };
}

/** Byte offset of the step being done, a 32-bit number. */
const stepOffset = 0;
/** Byte offset of the number of the parameters' copy that is in force for the packet. */
const parametersOffset = 52;

interface Place {
  readonly offset: number;
  readonly size: MemorySize;
  readonly of: (packet: ParsedPacket) => Variable;
}

/** Facts of the packet, which the entry finds. */
const facts: readonly Place[] = [
  { offset: 4, size: 4, of: ({ ipOffset }) => ipOffset },
  { offset: 8, size: 4, of: ({ ipLength }) => ipLength },
  { offset: 12, size: 4, of: ({ tcpLength }) => tcpLength },
  { offset: 16, size: 4, of: ({ totalLength }) => totalLength },
];

/** What members leave to the end. */
const deferred: readonly Place[] = [
  { offset: 24, size: 4, of: ({ verdict }) => verdict },
  { offset: 32, size: 8, of: ({ checksum }) => checksum.difference },
  { offset: 40, size: 4, of: ({ injection }) => injection.request },
  { offset: 44, size: 4, of: ({ forwarding }) => forwarding.redirect },
  { offset: 48, size: 4, of: ({ forwarding }) => forwarding.mirror },
];

export class Carried implements PacketMemory {
  readonly #record: Value;
  /** Where each state that is kept for one packet begins, by its key. */
  readonly #state = new Map<string, number>();
  readonly #restored = new Map<Variable, Value>();
  readonly memberWords: MemberWords;

  private constructor({ builder }: Lowering, record: Value, layout: ChainLayout) {
    this.#record = record;
    let at = fixedSize;
    for (const { map, size } of perPacket(layout)) {
      this.#state.set(map, at);
      at += size;
    }
    const words = new Map(memberKeys(layout).map((key, i) => [key, at + 8 * i]));
    this.memberWords = {
      load: (key, size) => builder.load(size, record, words.get(key)!),
      store: (key, size, value) => {
        const offset = words.get(key);
        if (offset !== undefined) builder.store(size, record, offset, value);
      },
    };
  }

  /** Finds the record of this CPU; goes to `other` should there be none. */
  static find(lowering: Lowering, layout: ChainLayout, other: Block): Carried {
    const { builder } = lowering;
    const key = builder.stack(4);
    builder.store(4, key, 0, builder.const(0));
    const record = builder.call(
      helpers.mapLookupElem.number,
      [builder.map(carriedMap), key],
      pointer("map", true),
      "memory",
    );
    const found = builder.block();
    builder.branch("ne", record, builder.const(0, 64), found, other);
    builder.seal(found);
    builder.enter(found);
    return new Carried(lowering, record, layout);
  }

  /** A packet comes: the state that is kept for one is zero. */
  clear({ builder }: Lowering, layout: ChainLayout): void {
    for (const { map, size } of perPacket(layout))
      for (let at = 0; at < size; at += 8)
        builder.store(8, this.#record, this.#state.get(map)! + at, builder.const(0, 64));
  }

  load({ builder }: Lowering, { map }: StateSlot, { type, offset }: PacketField): Value {
    return builder.load(integerSizes[type], this.#record, this.#state.get(map)! + offset);
  }

  store({ builder }: Lowering, { map }: StateSlot, { type, offset }: PacketField, value: Value): void {
    builder.store(integerSizes[type], this.#record, this.#state.get(map)! + offset, value);
  }

  step({ builder }: Lowering): Value {
    return builder.load(4, this.#record, stepOffset);
  }

  setStep({ builder }: Lowering, step: Value): void {
    builder.store(4, this.#record, stepOffset, step);
  }

  parameters({ builder }: Lowering): Value {
    return builder.load(4, this.#record, parametersOffset);
  }

  setParameters({ builder }: Lowering, number: Value): void {
    builder.store(4, this.#record, parametersOffset, number);
  }

  /** Writes down what is known of `packet`, and of a restored one what has changed. */
  save({ builder }: Lowering, packet: ParsedPacket): void {
    for (const { offset, size, of } of [...facts, ...deferred]) {
      const variable = of(packet);
      const value = builder.read(variable);
      if (value !== this.#restored.get(variable)) builder.store(size, this.#record, offset, value);
    }
  }

  /** The packet as an earlier program left it; goes to `other` where its headers are not any more. */
  restore(lowering: Lowering, hook: PacketHook, context: Value, other: Block): ParsedPacket {
    const { builder } = lowering;
    const packet = unparsed(hook, context);
    for (const { offset, size, of } of [...facts, ...deferred]) {
      const value = builder.load(size, this.#record, offset);
      builder.write(of(packet), value);
      this.#restored.set(of(packet), value);
    }
    const fields = hook === "xdp" ? packetFields.xdp : packetFields.tc;
    const data = builder.load(4, context, fields[0], pointer("packet"));
    const end = builder.load(4, context, fields[1], pointer("packetEnd"));
    builder.write(packet.end, end);
    const ip = builder.pointerAdd(data, bounded(lowering, packet.ipOffset, maximumIpOffset, other));
    builder.write(packet.ip, ip);
    within(lowering, ip, end, minimumV4 + minimumTcp, other);
    const tcp = builder.pointerAdd(ip, bounded(lowering, packet.ipLength, maximumV6Headers, other));
    builder.write(packet.tcp, tcp);
    within(lowering, tcp, end, minimumTcp, other);
    return packet;
  }
}

/** A 32-bit variable as a distance that the verifier knows to be at most `maximum`. */
function bounded(lowering: Lowering, variable: Variable, maximum: number, other: Block): Value {
  const { builder } = lowering;
  const distance = builder.zeroExtend(builder.read(variable));
  const fits = builder.block();
  builder.branch("ule", distance, builder.const(maximum, 64), fits, other);
  lowering.enter(fits);
  return distance;
}

function within(lowering: Lowering, base: Value, end: Value, size: number, other: Block): void {
  const { builder } = lowering;
  const fits = builder.block();
  builder.check(base, end, size, fits, other);
  lowering.enter(fits);
}
