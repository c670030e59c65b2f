/** Events of running chains, whichever come and go meanwhile. */
import { selectorsIn } from "../chain/description.ts";
import type { ChainEvent } from "../chain/events.ts";
import { openChain } from "../chain/chains.ts";
import type { RunningChain } from "../chain/running.ts";
import { chainNames } from "../chain/store.ts";
import type { RingBufferReader } from "../linux/ring-buffer.ts";

/** A chain's event with the names that belong to it. */
export interface NamedEvent extends Omit<ChainEvent, "policy" | "timeNs"> {
  readonly chain: string;
  /** Who emitted it. */
  readonly policy: string;
  /** Since 1970. */
  readonly timeMs: number;
}

/** The clock of events counts from the start of the system; this process reads the same one. */
function timeOf(timeNs: bigint): number {
  return Date.now() - Number(process.hrtime.bigint() - timeNs) / 1e6;
}

export function nameEvent({ policy, timeNs, ...event }: ChainEvent, chain: RunningChain["description"]): NamedEvent {
  const policies = policy.kind === "actor" ? chain.actors : selectorsIn(chain.selector);
  return {
    ...event,
    chain: chain.name,
    policy: policies[policy.index]?.name ?? `${policy.kind} ${policy.index + 1}`,
    timeMs: timeOf(timeNs),
  };
}

export interface FeedHandlers {
  readonly event: (event: NamedEvent) => void;
  /** So many events of a chain found no room. */
  readonly lost: (chain: string, count: number) => void;
}

interface Source {
  readonly running: RunningChain;
  readonly reader: RingBufferReader;
  lost: number;
}

export class EventFeed {
  readonly #handlers: FeedHandlers;
  readonly #only: string | undefined;
  readonly #sources = new Map<string, Source>();

  /**
   * @param only one chain, instead of all
   * @throws NoSuchChainError, ChainError when it emits nothing
   */
  constructor(handlers: FeedHandlers, only?: string) {
    this.#handlers = handlers;
    this.#only = only;
    if (only === undefined) this.refresh();
    else this.#add(only);
  }

  /** Whether events are read now. */
  get isReading(): boolean {
    return this.#sources.size > 0;
  }

  /**
   * Goes on with chains that have come or were replaced, leaves those that have gone, and tells what was lost.
   * @returns whether there are chains left that may emit events now or later
   */
  refresh(): boolean {
    const names = chainNames().filter((name) => this.#only === undefined || name === this.#only);
    for (const [name, source] of this.#sources) {
      const now = names.includes(name) ? openChain(name).description : undefined;
      if (now && versionOf(now) === versionOf(source.running.description)) this.#tellLost(source);
      else this.#drop(name, source);
    }
    for (const name of names)
      if (!this.#sources.has(name) && openChain(name).description.layout.events.length > 0) this.#add(name);
    return this.#only === undefined || names.length > 0;
  }

  #add(name: string): void {
    const running = openChain(name);
    const reader = running.readEvents((event) => this.#handlers.event(nameEvent(event, running.description)));
    this.#sources.set(name, { running, reader, lost: running.counters().lostEvents ?? 0 });
    reader.drain();
  }

  #tellLost(source: Source): void {
    const { running } = source;
    const lost = running.counters().lostEvents ?? 0;
    if (lost > source.lost) this.#handlers.lost(running.name, lost - source.lost);
    source.lost = lost;
  }

  #drop(name: string, { reader }: Source): void {
    reader.drain();
    reader.close();
    this.#sources.delete(name);
  }

  close(): void {
    for (const [name, source] of this.#sources) this.#drop(name, source);
  }
}

/** Chains are replaced, and removed ones give others their name. */
function versionOf({ submitted, generation }: RunningChain["description"]): string {
  return `${submitted} ${generation}`;
}
