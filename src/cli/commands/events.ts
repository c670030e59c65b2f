/** `emptcp events`: what chains and the path manager tell, as it happens. */
import type { Command } from "commander";
import { watchPathManager, type MptcpEvent } from "../../linux/mptcp-events.ts";
import { readInteger } from "../arguments.ts";
import { undoAtExit } from "../cleanup.ts";
import { UsageError } from "../errors.ts";
import { lineOf, mptcpJson, mptcpLine } from "../event-lines.ts";
import { EventFeed, type NamedEvent } from "../events-feed.ts";
import { colours, print, printJsonLine } from "../output.ts";
import { formatEndpoint } from "../table.ts";

interface Flags {
  readonly mptcp?: true;
  readonly netns?: string;
  readonly count?: number;
  readonly json?: true;
}

const refreshMs = 500;

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
    .option("--count <number>", "end after so many", readInteger(1))
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

function chainLine({ timeMs, chain, name, policy, local, localPort, remote, remotePort, fields }: NamedEvent): string {
  const values = Object.entries(fields).map(([field, value]) => `${field}=${value}`);
  const flow = `${formatEndpoint(local, localPort)} > ${formatEndpoint(remote, remotePort)}`;
  const event = name === policy ? name : `${policy}: ${name}`;
  return lineOf(timeMs, chain, `${colours.bold(event.padEnd(19))}  ${flow}  ${values.join(" ")}`);
}

function chainJson({ timeMs, name, ...event }: NamedEvent) {
  return { time: new Date(timeMs).toISOString(), source: "chain", event: name, ...event };
}
