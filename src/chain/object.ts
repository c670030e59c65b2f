/** A chain as an object file, for those who load programs with bpftool or libbpf. */
import { ElfError, writeElf, type MapLayout, type RecordLayout } from "../bpf/elf/index.ts";
import {
  countersMap,
  fieldSize,
  parameterSize,
  parametersMap,
  type CounterSlot,
  type StateSlot,
} from "../compiler/layout.ts";
import { selectorsIn } from "./description.ts";
import type { ChainPlan } from "./policy-chain.ts";

/**
 * The chain's programs, named after their hooks, and its maps; the parameters hold the values they were given.
 * @throws ElfError for what an object file has no way to say, among it linked chains
 */
export function writeObject(plan: ChainPlan): Uint8Array {
  const { name, compiled, parameters } = plan;
  const { programs, maps, programArrays } = compiled;
  if (Object.keys(programArrays).length > 0)
    throw new ElfError(`Cannot write chain ${name} to an object file: it is linked; make it with mode "fused"`);
  const contents = parameters && [{ key: new Uint8Array(4), value: parameters }];
  const withParameters = contents && { [parametersMap]: { ...maps[parametersMap], contents } };
  return writeElf({ programs, maps: { ...maps, ...withParameters }, layouts: layoutsOf(plan) });
}

type Field = RecordLayout["fields"][number];

const word = (name: string, offset: number): Field => ({ name, offset, size: 8, kind: "unsigned" });

/** What is in the chain's maps, by the names that policies give it. */
function layoutsOf({ selector, actors, compiled: { layout } }: ChainPlan): Record<string, MapLayout> {
  const selectorNames = distinct(selectorsIn(selector));
  const actorNames = distinct(actors);
  const counters = layout.counters.flatMap((slot, i) => {
    const name = counterName(slot, selectorNames, actorNames);
    return name === undefined ? [] : [word(name, 8 * i)];
  });
  const parameters = layout.parameters.map(({ actor, name, offset, type }): Field => {
    const field = word(`${actorNames[actor]}_${name}`, offset);
    return type.representation.kind === "text" ? { ...field, size: parameterSize(type), kind: "bytes" } : field;
  });
  const state = layout.state
    .filter(({ kind }) => kind !== "perPacket")
    .map((slot) => [slot.map, stateLayout(slot)] as const);
  return {
    [countersMap]: { value: { fields: counters } },
    [parametersMap]: { value: { fields: parameters } },
    ...Object.fromEntries(state),
  };
}

/** Names, with their places (from 1) where one stands twice. */
function distinct(policies: readonly { readonly name: string }[]): string[] {
  return policies.map(({ name }, i) =>
    policies.filter((other) => other.name === name).length > 1 ? `${name}_${i + 1}` : name,
  );
}

function counterName(slot: CounterSlot, selectors: readonly string[], actors: readonly string[]): string | undefined {
  switch (slot.kind) {
    case "unused":
      return undefined;
    case "matched":
      return `${selectors[slot.selector]}_matched`;
    case "acted":
      return `${actors[slot.actor]}_acted`;
    case "cannot":
      return `${actors[slot.actor]}_cannot_${slot.reason}`;
    case "seen":
    case "lost":
    case "lostEvents":
      return slot.kind;
  }
}

/** As `flowKeySize` says. */
const flowKey: RecordLayout = {
  fields: [
    { name: "local", offset: 0, size: 16, kind: "bytes" },
    { name: "remote", offset: 16, size: 16, kind: "bytes" },
    { name: "localPort", offset: 32, size: 2, kind: "unsigned" },
    { name: "remotePort", offset: 34, size: 2, kind: "unsigned" },
  ],
};

function stateLayout({ kind, fields }: StateSlot): MapLayout {
  const value = {
    fields: fields.map(({ name, type, offset }): Field => {
      const shown = typeof type === "object" ? "bytes" : type.startsWith("i") ? "signed" : "unsigned";
      return { name, offset, size: fieldSize(type), kind: shown };
    }),
  };
  return kind === "flows" ? { key: flowKey, value } : { value };
}
