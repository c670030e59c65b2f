/**
 * Members of a linked chain that were not compiled here: object files made by clang from C with `include/emptcp.h`. What the
 * chain has for them is an external symbol in the file, and becomes a reference to a map, an address in one, or a number.
 */
import { readElf, type External } from "../bpf/elf/index.ts";
import { namesMap } from "../bpf/instruction.ts";
import type { MapSpec, ProgramSpec, ProgramTypeName } from "../bpf/spec.ts";
import type { ForeignCode } from "../policy/index.ts";
import { carriedMap } from "./frontend/carried.ts";
import { hooks, type PacketHook } from "./frontend/hooks.ts";
import { countersMap, parametersMap, sameCounter, type ChainLayout, type CounterSlot } from "./layout.ts";
import { parameterCopies, parameterWords } from "./parameters-layout.ts";
import { programsMap, stepsMap } from "./steps.ts";

/** A foreign member cannot be used as asked. */
export class ForeignError extends Error {}

/** How the keys of maps begin that foreign members define for themselves. */
export const foreignMapPrefix = "own_";

/** Sections of programs, up to a slash, as libbpf names them. */
const sections: Readonly<Record<string, ProgramTypeName>> = {
  xdp: "xdp",
  tc: "schedCls",
  tcx: "schedCls",
  classifier: "schedCls",
};

const externals: ReadonlySet<string> = new Set(
  ["context_map", "counters_map", "programs_map", "steps", "parameters", "parameters_stride", "counter", "lost"].map(
    (name) => `emptcp_${name}`,
  ),
);

/** What kind of packets the program is for. @throws ForeignError, ElfError when it cannot be a member */
export function checkForeign({ file, program, object }: ForeignCode): ProgramTypeName {
  const { programs, license } = readElf(object, (name) => (externals.has(name) ? 0n : undefined));
  const found = programs.find(({ name }) => name === program);
  const names = programs.map(({ name }) => name).join(", ") || "none";
  if (!found) throw new ForeignError(`Cannot use ${file}: it has no program ${program}; those it has: ${names}`);
  const type = sections[found.section.replace(/\/.*/, "")];
  if (!type)
    throw new ForeignError(
      `Cannot use ${program} of ${file}: its section is ${found.section}, a member's is xdp or tc`,
    );
  if (!/GPL/.test(license))
    throw new ForeignError(
      `Cannot use ${file}: its license is "${license}", and the kernel's helpers are for GPL ones`,
    );
  return type;
}

/** Where a foreign member stands in its chain. */
export interface ForeignPlace {
  readonly layout: ChainLayout;
  readonly hook: PacketHook;
  /** What it counts: `matched` or `acted`. */
  readonly counter: CounterSlot;
  /** Sets its maps apart from other members'. */
  readonly prefix: string;
}

/**
 * The program of a foreign member, for one hook; among its maps are those of the chain's it uses, which `chainMaps` has.
 * @throws ForeignError when it is for another kind of hook
 */
export function foreignProgram(
  code: ForeignCode,
  { layout, hook, counter, prefix }: ForeignPlace,
  chainMaps: Readonly<Record<string, MapSpec>>,
): ProgramSpec {
  const { file, program, object } = code;
  const type = checkForeign(code);
  const { programType, attachType, title } = hooks[hook];
  if (type !== programType)
    throw new ForeignError(
      `Cannot use ${program} of ${file} on ${title}: it is made for ${type === "xdp" ? "XDP" : "tc"}`,
    );
  const offset = (wanted: CounterSlot): bigint =>
    BigInt(8 * layout.counters.findIndex((slot) => sameCounter(slot, wanted)));
  const symbols: Readonly<Record<string, External>> = {
    emptcp_context_map: { kind: "map", map: carriedMap },
    emptcp_counters_map: { kind: "map", map: countersMap },
    emptcp_programs_map: { kind: "map", map: programsMap(hook) },
    emptcp_steps: { kind: "mapValue", map: stepsMap, offset: 0 },
    emptcp_parameters: parameters(layout, counter),
    // Of a single word there are no copies.
    emptcp_parameters_stride: BigInt(parameterCopies(parameterWords(layout.parameters))?.stride ?? 0),
    emptcp_counter: offset(counter),
    emptcp_lost: offset({ kind: "lost" }),
  };
  const elf = readElf(object, (name) => symbols[name]);
  const found = elf.programs.find(({ name }) => name === program)!;
  const maps: Record<string, MapSpec> = {};
  const instructions = found.instructions.map((instruction) => {
    const { reference } = instruction;
    if (!namesMap(reference)) return instruction;
    if (reference.map === noParameters)
      throw new ForeignError(`Cannot use ${program} of ${file}: it reads parameters, and was given none`);
    const own = elf.maps[reference.map];
    const key = own ? keyOf(prefix, reference.map) : reference.map;
    maps[key] = own ?? chainMaps[key];
    return { ...instruction, reference: { ...reference, map: key } };
  });
  return { name: program.slice(0, 15), type, attachType, license: "GPL", instructions, maps };
}

/** Global variables begin anew with each program; maps are the member's state. */
function keyOf(prefix: string, map: string): string {
  return map.startsWith(".") ? `${prefix}_${map.slice(1)}` : `${foreignMapPrefix}${prefix}_${map}`;
}

/** Stands for the parameters map where there is none for the member: the file may hold other programs that want one. */
const noParameters = "no parameters";

function parameters({ parameters: slots }: ChainLayout, counter: CounterSlot): External {
  const slot = counter.kind === "acted" ? slots.find(({ actor }) => actor === counter.actor) : undefined;
  return { kind: "mapValue", map: slot ? parametersMap : noParameters, offset: slot?.offset ?? 0 };
}
