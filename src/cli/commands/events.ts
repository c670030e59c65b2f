/** `emptcp events`: what chains and the path manager tell, as it happens. */
import { InvalidArgumentError, type Command } from "commander";
import { watchPathManager, type MptcpEvent } from "../../linux/mptcp-events.ts";
import { undoAtExit } from "../cleanup.ts";
import { UsageError } from "../errors.ts";
import { EventFeed, type NamedEvent } from "../events-feed.ts";
import { colours, print, printJsonLine } from "../output.ts";
import { formatEndpoint } from "../table.ts";
import { describeMptcpEvent, formatToken } from "../watch/render.ts";

interface Flags {
  readonly mptcp?: true;
  readonly netns?: string;
  readonly count?: number;
  readonly json?: true;
}

const refreshMs = 500;

function readCount(value: string): number {
  const count = Number(value);
  if (!(Number.isInteger(count) && count > 0)) throw new InvalidArgumentError("Give a number from 1 on.");
  return count;
}

export function addEvents(program: Command): void {
  program
    .command("events")
    .summary("show what chains and the path manager tell, as it happens")
    .description(
      "Shows the typed events that policies emit, one a line, until Ctrl-C; those that\n" +
        "nobody has read yet come first. Each event has one reader: two of these\n" +
        "commands share them.",
    )
    .argument("[chain]", "a chain (default: all that emit events, also those that come later)")
    .option("--mptcp", "the path manager's events, too; of these alone, where no chain emits any")
    .option("--netns <namespace>", "with --mptcp: of this network namespace, by name or path")
    .option("--count <number>", "end after so many", readCount)
    .option("--json", "print one object a line: { time, source, ... }")
    .addHelpText(
      "after",
      `
Examples:
  sudo emptcp events
  sudo emptcp events joins --json | jq -c .fields
  sudo emptcp events --mptcp --netns client`,
    )
    .action(eventsCommand);
}

async function eventsCommand(
  chain: string | undefined,
  { mptcp, netns, count = Infinity, json }: Flags,
): Promise<void> {
  if (netns !== undefined && !mptcp)
    throw new UsageError("Cannot use --netns without --mptcp: chains are found anywhere");
  await new Promise<void>((resolve, reject) => {
    let left = count;
    const tell = (show: () => void) => {
      if (left === 0) return;
      show();
      if (--left === 0) finish();
    };
    const handlers = {
      event: (event: NamedEvent) => tell(() => (json ? printJsonLine(chainJson(event)) : print(chainLine(event)))),
      lost: (name: string, lost: number) =>
        process.stderr.write(`emptcp: ${lost} events of chain ${name} were lost: too many at once\n`),
    };
    const pathManager = {
      event: (event: MptcpEvent) => tell(() => (json ? printJsonLine(mptcpJson(event)) : print(mptcpLine(event)))),
      lost: () => process.stderr.write("emptcp: Some events of the path manager were lost: too many at once\n"),
    };
    const reader = mptcp ? watchPathManager(pathManager, { netns }) : undefined;
    let feed: EventFeed | undefined;
    let timer: NodeJS.Timeout | undefined;
    const end = undoAtExit(() => {
      clearInterval(timer);
      feed?.close();
      reader?.close();
    });
    const finish = () => {
      // Not in the middle of a batch that is being read.
      setImmediate(() => {
        end();
        resolve();
      });
    };
    const orFail = (work: () => void) => {
      try {
        work();
      } catch (error) {
        end();
        reject(error);
      }
    };
    orFail(() => {
      const started = new EventFeed(handlers, chain);
      feed = started;
      if (!started.isReading && !mptcp) process.stderr.write("emptcp: No chain emits events yet; waiting for one\n");
      const refresh = () => {
        if (started.refresh()) return;
        process.stderr.write(`emptcp: Chain ${chain} was removed\n`);
        finish();
      };
      timer = setInterval(() => orFail(refresh), refreshMs);
    });
  });
}

/** `12:00:01.250`, in the time zone of the reader. */
function formatTime(timeMs: number): string {
  const time = new Date(timeMs);
  return `${time.toTimeString().slice(0, 8)}.${String(time.getMilliseconds()).padStart(3, "0")}`;
}

/** Chains and path manager stand in the same columns. */
function lineOf(timeMs: number, source: string, rest: string): string {
  return `${colours.dim(formatTime(timeMs))}  ${source.padEnd(16)}  ${rest}`.trimEnd();
}

function chainLine({ timeMs, chain, name, policy, local, localPort, remote, remotePort, fields }: NamedEvent): string {
  const values = Object.entries(fields).map(([field, value]) => `${field}=${value}`);
  const flow = `${formatEndpoint(local, localPort)} > ${formatEndpoint(remote, remotePort)}`;
  const event = name === policy ? name : `${policy}: ${name}`;
  return lineOf(timeMs, chain, `${colours.bold(event.padEnd(19))}  ${flow}  ${values.join(" ")}`);
}

function mptcpLine({ timeMs, token, ...event }: MptcpEvent): string {
  return lineOf(
    timeMs,
    token === undefined ? "mptcp" : `mptcp ${formatToken(token)}`,
    describeMptcpEvent({ ...event, timeMs }),
  );
}

function chainJson({ timeMs, name, ...event }: NamedEvent) {
  return { time: new Date(timeMs).toISOString(), source: "chain", event: name, ...event };
}

function mptcpJson({ timeMs, kind, ...event }: MptcpEvent) {
  return { time: new Date(timeMs).toISOString(), source: "mptcp", event: kind, ...event };
}
