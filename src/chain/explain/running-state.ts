/** What the maps of a running chain hold, for explanations that go on from there. */
import { isListed, parametersMap, type ChainLayout } from "../../compiler/layout.ts";
import { openMap, type KernelMap } from "../../linux/index.ts";
import { ChainError } from "../errors.ts";
import type { ChainPlan } from "../policy-chain.ts";
import { sumRecords } from "../state.ts";
import { chainDirectory, NoSuchChainError, readDescription } from "../store.ts";
import type { ExplainOptions } from "./explain.ts";
import type { Contents } from "./machine.ts";

const onlyKey = new Uint8Array(4);
const nsPerMs = 1_000_000n;

function contentsOf(map: KernelMap, sum: ((records: readonly Uint8Array[]) => Uint8Array) | undefined): Contents {
  if (sum) return [[onlyKey, sum(map.lookupPerCpu(onlyKey)!)]];
  return map.entries().map(({ key, value }) => [key, value]);
}

/** What must be alike in two layouts for one to take over the other's maps. */
function shape({ parameters, state, sets }: ChainLayout): string {
  return JSON.stringify([
    parameters.map(({ actor, name, offset }) => [actor, name, offset]),
    state,
    sets.map(({ map, keySize, valueSize }) => [map, keySize, valueSize]),
  ]);
}

/**
 * State, parameters and members of the running chain called as `plan` is, and the clock that its times go by.
 * @throws NoSuchChainError; ChainError when the running chain is another one
 */
export function runningState(plan: ChainPlan): Required<Pick<ExplainOptions, "contents" | "clockZeroNs">> {
  const directory = chainDirectory(plan.name);
  if (!directory) throw new NoSuchChainError(plan.name);
  const { layout } = readDescription(directory);
  if (shape(layout) !== shape(plan.compiled.layout))
    throw new ChainError(
      `Cannot start with the state of chain ${plan.name}: the chain that runs keeps other state or has other parameters`,
    );
  const sums = new Map(
    layout.state.flatMap((slot) =>
      slot.kind === "perCpu"
        ? [[slot.map, (records: readonly Uint8Array[]) => sumRecords(records, slot)] as const]
        : [],
    ),
  );
  const wanted = [
    ...layout.state.filter(isListed).map(({ map }) => map),
    ...layout.sets.map(({ map }) => map),
    ...(layout.parameters.length > 0 ? [parametersMap] : []),
  ];
  const contents = new Map(
    wanted.map((name) => {
      const map = openMap(`${directory}/map_${name}`);
      try {
        return [name, contentsOf(map, sums.get(name))] as const;
      } finally {
        map.close();
      }
    }),
  );
  // The kernel's clock for programs is the one that this process reads, too.
  return { contents, clockZeroNs: BigInt(Date.now()) * nsPerMs - process.hrtime.bigint() };
}
