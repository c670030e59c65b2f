/** `emptcp watch`: MPTCP connections and their subflows, live. */
import { setTimeout as sleep } from "node:timers/promises";
import { InvalidArgumentError, Option, type Command } from "commander";
import { watchPathManager, type MptcpEvent } from "../../linux/mptcp-events.ts";
import { undoAtExit } from "../cleanup.ts";
import { CommandError } from "../errors.ts";
import { print, printJson, printJsonLine, wantsColour } from "../output.ts";
import { collect, type Collected } from "../watch/collect.ts";
import { connectionsOf, orders, sorted, type Order, type Sample, type WatchModel } from "../watch/model.ts";
import { lastScroll, renderScreen, tableLines } from "../watch/render.ts";
import { parseKeys, Screen, type Key } from "../watch/screen.ts";

interface Flags {
  readonly netns?: string;
  readonly interval: number;
  readonly sort: Order;
  readonly once?: true;
  readonly stream?: true;
  readonly json?: true;
}

function readInterval(value: string): number {
  const seconds = Number(value);
  if (!(seconds >= 0.1 && seconds <= 3600)) throw new InvalidArgumentError("Give seconds, from 0.1 to 3600.");
  return seconds;
}

export function addWatch(program: Command): void {
  program
    .command("watch")
    .summary("show MPTCP connections and their subflows, live")
    .description(
      "Shows MPTCP connections and their subflows: round-trip times, rates, windows,\n" +
        "priorities, which chains touch them, and what the path manager does.\n\n" +
        "Keys: arrows or j, k scroll, s sorts by something else, q quits.\n" +
        "Without a terminal it prints one table, as with --once.",
    )
    .option("--netns <namespace>", "network namespace to watch, by name or path (default: this one)")
    .option("--interval <seconds>", "time between two looks", readInterval, 1)
    .addOption(new Option("--sort <order>", "what comes first").choices(orders).default("rate"))
    .option("--once", "print one table; rates are those of one interval")
    .option("--json", "print { time, connections: [{ token, subflows: [...] }], notes }")
    .option("--stream", "with --json: one such object a line, until stopped")
    .addHelpText(
      "after",
      `
Examples:
  sudo emptcp watch
  sudo emptcp watch --netns client --interval 0.5 --sort rtt
  sudo emptcp watch --once
  sudo emptcp watch --json | jq '.connections[].subflows[] | { local, rttUs, chains }'`,
    )
    .action(watchCommand);
}

async function watchCommand(flags: Flags): Promise<void> {
  if (flags.stream) return await stream(flags);
  if (flags.json || flags.once || !process.stdout.isTTY) return await printOnce(flags);
  await watchLive(flags);
}

/** Looks again and again; what it gives is compared with what was there before. */
class Watcher {
  readonly #netns: string | undefined;
  #before: Sample | undefined;
  #last: Collected | undefined;
  readonly events: MptcpEvent[] = [];
  readonly notes: string[] = [];

  constructor(netns: string | undefined) {
    this.#netns = netns;
  }

  /** @throws CommandError when the kernel has not told once */
  look(): WatchModel {
    const found = collect(this.#netns);
    if (found) {
      this.#before = this.#last?.sample;
      this.#last = found;
    }
    if (!this.#last) throw new CommandError("Cannot list sockets: they come and go faster than the kernel can tell");
    const { sample, notes } = this.#last;
    return {
      timeMs: sample.timeMs,
      connections: connectionsOf(sample, this.#before),
      events: this.events,
      notes: [...this.notes, ...notes],
    };
  }

  /** Listens to the path manager, where this process may. */
  listen(): () => void {
    const most = 50;
    const event = (one: MptcpEvent) => {
      this.events.push(one);
      if (this.events.length > most) this.events.shift();
    };
    try {
      const reader = watchPathManager({ event }, { netns: this.#netns });
      return () => reader.close();
    } catch (error) {
      this.notes.push(`Path manager events are not shown: ${(error as Error).message}`);
      return () => undefined;
    }
  }
}

/** Two looks, since rates need them. */
async function printOnce({ netns, interval, sort, json, once }: Flags): Promise<void> {
  const watcher = new Watcher(netns);
  watcher.look();
  await sleep(interval * 1000);
  const model = watcher.look();
  if (json) return printJson(forJson(model, sort));
  if (!once) process.stderr.write("emptcp: This is no terminal: one table is printed, as with --once\n");
  print(
    model.connections.length > 0
      ? tableLines(model, sort, wantsColour(process.stdout)).join("\n")
      : "No MPTCP connection",
  );
  for (const note of model.notes) process.stderr.write(`emptcp: ${note}\n`);
}

async function stream({ netns, interval, sort }: Flags): Promise<void> {
  const watcher = new Watcher(netns);
  for (;;) {
    printJsonLine(forJson(watcher.look(), sort));
    await sleep(interval * 1000);
  }
}

function forJson({ timeMs, connections, notes }: WatchModel, order: Order) {
  return { time: new Date(timeMs).toISOString(), connections: sorted(connections, order), notes };
}

async function watchLive({ netns, interval, sort }: Flags): Promise<void> {
  const { stdin, stdout } = process;
  const watcher = new Watcher(netns);
  let model = watcher.look();
  const stopListening = watcher.listen();
  const screen = new Screen(stdout);
  const restore = undoAtExit(() => {
    stopListening();
    if (stdin.isTTY) stdin.setRawMode(false);
    screen.close();
  });
  const state = { scroll: 0, order: sort };
  const where = netns === undefined ? "" : `namespace ${netns}, `;
  const show = () => {
    const [width, height] = [stdout.columns || 80, stdout.rows || 24];
    state.scroll = Math.max(0, Math.min(state.scroll, lastScroll(model, height)));
    const view = { width, height, ...state, colour: wantsColour(stdout), title: `${where}every ${interval} s` };
    screen.show(renderScreen(model, view));
  };
  const resized = () => {
    screen.forget();
    show();
  };
  stdout.on("resize", resized);
  let timer: NodeJS.Timeout | undefined;
  show();
  try {
    await new Promise<void>((resolve, reject) => {
      timer = setInterval(() => {
        try {
          model = watcher.look();
          show();
        } catch (error) {
          reject(error);
        }
      }, interval * 1000);
      stdin.on("data", (data: Buffer) => {
        for (const key of parseKeys(data.toString())) {
          if (key === "quit") return resolve();
          press(key, state, stdout.rows || 24);
        }
        show();
      });
      // Without a terminal to type on, the process is stopped by a signal.
      if (stdin.isTTY) stdin.setRawMode(true);
      stdin.resume();
    });
  } finally {
    clearInterval(timer);
    stdout.off("resize", resized);
    stdin.removeAllListeners("data");
    stdin.pause();
    restore();
  }
}

function press(key: Key, state: { scroll: number; order: Order }, height: number): void {
  const steps: Partial<Record<Key, number>> = {
    up: -1,
    down: 1,
    pageUp: 5 - height,
    pageDown: height - 5,
    top: -Infinity,
    bottom: Infinity,
  };
  state.scroll += steps[key] ?? 0;
  if (key === "sort") state.order = orders[(orders.indexOf(state.order) + 1) % orders.length];
}
