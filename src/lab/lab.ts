/** A running lab: namespaces for hosts, links between them, and the delay process. */
import { createNetns, deleteNetns, withNetns, type NetworkNamespace } from "../linux/netns.ts";
import { closeAtExit } from "./clean.ts";
import { DelayProcess } from "./delay/process.ts";
import type { Impairment } from "./delay/queue.ts";
import { executeStep, requireRights, requireTools } from "./execute.ts";
import {
  bare,
  directions,
  needsQueue,
  planLab,
  queueSteps,
  shapingSteps,
  wire,
  type LabPlan,
  type PlannedLink,
} from "./plan.ts";
import { namespaceName, newRunId } from "./run-id.ts";
import { conditionsOf, type Conditions, type Direction, type LabSpec, type LinkSpec } from "./spec.ts";

export type LabInterface = {
  /** Name of the link, and of the interface in the host. */
  readonly link: string;
  readonly ipv4: string;
  readonly ipv6: string;
};

export type LabHost = {
  readonly name: string;
  readonly netns: NetworkNamespace;
  /** In the order of the links. */
  readonly interfaces: readonly LabInterface[];
};

/** What of a link may change while it is up. */
export type LinkChange = Pick<
  LinkSpec,
  "rateMbit" | "rttMs" | "jitterMs" | "lossPercent" | "queueMs" | "forward" | "backward"
>;

export class Lab {
  readonly runId: string;
  readonly spec: LabSpec;
  readonly #links = new Map<
    string,
    { planned: PlannedLink; spec: LinkSpec; conditions: Record<Direction, Conditions> }
  >();
  #delay: DelayProcess | undefined;
  readonly #queued = new Set<number>();
  readonly #forget: () => void;
  readonly #endings = new Set<() => void>();
  #closed = false;

  private constructor(spec: LabSpec, runId: string) {
    this.spec = spec;
    this.runId = runId;
    this.#forget = closeAtExit(this);
  }

  /** @throws RangeError for data that makes no sense; Error when a tool or a right is missing. Then nothing is left. */
  static async create(spec: LabSpec): Promise<Lab> {
    requireRights();
    requireTools();
    const runId = newRunId();
    const namespaceOf = (where: string) => namespaceName(runId, where);
    const plan = planLab(spec, namespaceOf);
    const lab = new Lab(spec, runId);
    try {
      await lab.#build(plan);
      return lab;
    } catch (error) {
      lab.closeNow();
      throw error;
    }
  }

  async #build(plan: LabPlan): Promise<void> {
    for (const where of this.#places()) createNetns(this.netnsOf(where));
    for (const step of plan.steps) executeStep(step, (where) => this.netnsOf(where));
    plan.links.forEach((planned, index) => {
      this.#links.set(planned.name, { planned, spec: this.spec.links[index], conditions: { ...planned.conditions } });
    });
    const queues = plan.links.flatMap((link) =>
      directions
        .filter((direction) => needsQueue(link.conditions[direction]))
        .map((direction) => ({ queue: link.queues[direction], impairment: impairmentOf(link.conditions[direction]) })),
    );
    if (queues.length > 0) await this.#impair(queues);
  }

  async #impair(queues: { queue: number; impairment: Impairment }[]): Promise<void> {
    this.#delay ??= DelayProcess.start(this.netnsOf(wire));
    await this.#delay.configure(queues);
    for (const { queue } of queues) this.#queued.add(queue);
  }

  #places(): string[] {
    return [...Object.keys(this.spec.hosts), wire];
  }

  /** The namespace of a host, or of the wire. */
  netnsOf(where: string): NetworkNamespace {
    return namespaceName(this.runId, where);
  }

  get links(): readonly PlannedLink[] {
    return [...this.#links.values()].map(({ planned }) => planned);
  }

  /** @throws RangeError for a link that is not there. */
  link(name: string): PlannedLink {
    return this.#link(name).planned;
  }

  /** What a link is set to now. */
  conditions(name: string): Readonly<Record<Direction, Conditions>> {
    return this.#link(name).conditions;
  }

  #link(name: string) {
    const link = this.#links.get(name);
    if (link === undefined) throw new RangeError(`Cannot find link ${name} in the lab`);
    return link;
  }

  /** @throws RangeError for a host that is not there. */
  host(name: string): LabHost {
    if (this.spec.hosts[name] === undefined) throw new RangeError(`Cannot find host ${name} in the lab`);
    const ends = this.links.flatMap((link) => link.ends).filter((end) => end.host === name);
    const interfaces = ends.map((end) => ({
      link: end.interfaceName,
      ipv4: bare(end.ipv4),
      ipv6: bare(end.ipv6),
    }));
    return { name, netns: this.netnsOf(name), interfaces };
  }

  /** Runs a synchronous function inside a host's namespace. */
  inHost<T>(name: string, fn: () => T): T {
    return withNetns(this.host(name).netns, fn);
  }

  /** Changes a link while it is up. Packets on their way keep the due times they have. */
  async setLink(name: string, change: LinkChange): Promise<void> {
    this.check();
    const link = this.#link(name);
    const spec: LinkSpec = { ...link.spec, ...change };
    const next = { forward: conditionsOf(spec, "forward"), backward: conditionsOf(spec, "backward") };
    for (const direction of directions) {
      if (link.planned.largeFrames && next[direction].lossPercent > 0) {
        throw new RangeError(`Cannot use link ${name}: loss is per packet, and this link lets large frames through`);
      }
    }
    const namespaceOf = (where: string) => this.netnsOf(where);
    for (const direction of directions) {
      const before = link.conditions[direction];
      const after = next[direction];
      if (after.rateMbit !== before.rateMbit || after.queueMs !== before.queueMs) {
        const verb = after.rateMbit !== Infinity ? "replace" : before.rateMbit !== Infinity ? "del" : undefined;
        if (verb !== undefined) {
          for (const step of shapingSteps(link.planned, direction, after, verb)) executeStep(step, namespaceOf);
        }
      }
      const queue = link.planned.queues[direction];
      if (this.#queued.has(queue) || needsQueue(after)) {
        const isNew = !this.#queued.has(queue);
        await this.#impair([{ queue, impairment: impairmentOf(after) }]);
        if (isNew) for (const step of queueSteps(link.planned, direction)) executeStep(step, namespaceOf);
      }
      link.conditions[direction] = after;
    }
    link.spec = spec;
  }

  /** @throws Error when the lab does not work any more. */
  check(): void {
    if (this.#closed) throw new Error("The lab is closed");
    if (this.#delay?.failure !== undefined) throw this.#delay.failure;
  }

  /** Calls `fn` when the lab closes; what is open in its namespaces keeps them alive. Returns a function that undoes this. */
  whenClosed(fn: () => void): () => void {
    this.#endings.add(fn);
    return () => void this.#endings.delete(fn);
  }

  /** Removes everything. Transfers that still run are cut off. */
  async close(): Promise<void> {
    this.closeNow();
    await Promise.resolve();
  }

  /** The same, for use where nothing can be awaited. */
  closeNow(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const fn of this.#endings) fn();
    this.#delay?.kill();
    for (const where of this.#places()) deleteNetns(this.netnsOf(where));
    this.#forget();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** Builds a lab. Close it: `await lab.close()`. */
export async function createLab(spec: LabSpec): Promise<Lab> {
  return await Lab.create(spec);
}

function impairmentOf({ delayMs, jitterMs, lossPercent }: Conditions): Impairment {
  return { delayMs, jitterMs, lossProbability: lossPercent / 100 };
}
