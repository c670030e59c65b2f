/** `emptcp chain explain`: what a chain does with packets, one by one. */
import { readFileSync } from "node:fs";
import { InvalidArgumentError, type Command } from "commander";
import { FileError } from "../../chain/errors.ts";
import type { Explainer, Explanation, PacketToExplain } from "../../chain/explain/index.ts";
import { capturePackets, type SeenPacket } from "../../linux/capture.ts";
import {
  LinkType,
  parseIpPrefix,
  readCapture,
  toFrame,
  toHex,
  WireError,
  type Capture,
  type IpPrefix,
} from "../../wire/index.ts";
import { undoAtExit } from "../cleanup.ts";
import { CommandError, UsageError } from "../errors.ts";
import { explanationLines } from "../explain-text.ts";
import { matchesFlow, parseFlow, type Endpoint } from "../flow-filter.ts";
import { print, printJson, printJsonLine, withProgress } from "../output.ts";

interface Flags {
  readonly chain?: string;
  readonly interface?: string;
  readonly netns?: string;
  readonly count?: number;
  readonly withState?: true;
  readonly local?: readonly IpPrefix[];
  readonly flow?: readonly Endpoint[];
  readonly onlyMatched?: true;
  readonly json?: true;
}

function readCount(value: string): number {
  const count = Number(value);
  if (!(Number.isInteger(count) && count > 0)) throw new InvalidArgumentError("Give a number from 1 on.");
  return count;
}

function collectLocal(value: string, previous: readonly IpPrefix[] = []): IpPrefix[] {
  try {
    return [...previous, parseIpPrefix(value)];
  } catch (error) {
    if (error instanceof WireError) throw new InvalidArgumentError(`${error.reason}.`);
    throw error;
  }
}

function readFlow(value: string): Endpoint[] {
  const flow = parseFlow(value);
  if (!flow) throw new InvalidArgumentError("Give one end or two: 10.0.0.1, 10.0.0.1:80, :80, [2001:db8::1]:80.");
  return flow;
}

export function addExplain(chain: Command): void {
  chain
    .command("explain")
    .summary("show packet by packet what a chain would do")
    .description(
      "Runs the chain's eBPF programs on captured packets, without the kernel: which\n" +
        "selectors matched, what each actor did or why it could not, how the packet\n" +
        "changed. State starts empty and follows the capture's clock.\n\n" +
        "A file needs no rights. On an interface, packets that arrive are seen before\n" +
        "tc's chains have changed them, those that leave afterwards.",
    )
    .usage("[options] CAPTURE CHAIN | --interface NAME CHAIN")
    .argument(
      "[inputs...]",
      "a pcapng or pcap file; and a chain: a .ts, .js or .mjs file that exports one, or the name of one that runs",
    )
    .option("--chain <chain>", "the same chain, by an option")
    .option("-i, --interface <name>", "packets of this interface as they pass, instead of a capture's")
    .option("--netns <namespace>", "with --interface: its network namespace, by name or path")
    .option("--count <number>", "end after so many that are shown", readCount)
    .option("--with-state", "start with state, parameters and members of the running chain of the same name")
    .option(
      "--local <address>",
      "an address or prefix of the host whose chain it is; repeat it (default: what the capture says, else guessed)",
      collectLocal,
    )
    .option("--flow <ends>", "show only packets with this end, or between these two: 10.0.0.1:80,10.0.0.2", readFlow)
    .option("--only-matched", "show only packets that the selectors matched")
    .option(
      "--json",
      "print [{ number, packet, selectors, actors, changes, verdict, ... }]; of an interface one a line",
    )
    .addHelpText(
      "after",
      `
Examples:
  tcpdump -i any -w trace.pcap tcp
  emptcp chain explain trace.pcap limit.ts
  sudo emptcp chain explain trace.pcap phones --with-state
  emptcp chain explain trace.pcap limit.ts --local 10.0.0.2 --flow :443 --only-matched
  sudo emptcp chain explain -i wlan0 limit.ts --count 20 --with-state
  emptcp chain explain trace.pcap limit.ts --json | jq '.[] | select(.verdict == "drop") | .number'`,
    )
    .action(explainCommand);
}

async function explainCommand(files: readonly string[], flags: Flags): Promise<void> {
  const { capture: file, chain: chainFile } = readFiles(files, flags);
  const capture = file === undefined ? undefined : openCapture(file);
  const explainer = await withProgress("compiling …", async () => await makeExplainer(chainFile, flags));
  if (!explainer.seesPackets)
    throw new CommandError(`Cannot explain packets with ${chainFile}: its actors act on sockets, not on packets`);
  const output = new Output(flags);
  if (capture) {
    for (const packet of packetsOf(capture)) if (!output.tell(explainer.explain(packet))) break;
  } else await explainLive(flags.interface!, explainer, output, flags);
  output.end();
}

function readFiles(files: readonly string[], { chain, interface: live, netns }: Flags) {
  if (netns !== undefined && live === undefined)
    throw new UsageError("Cannot use --netns without --interface: a capture is a file");
  const all = chain === undefined ? files : [...files, chain];
  if (all.length !== (live === undefined ? 2 : 1))
    throw new UsageError(
      live === undefined
        ? "Cannot explain packets: give a capture and one chain, for example emptcp chain explain trace.pcap limit.ts"
        : "Cannot explain packets: with --interface give one chain and no capture",
    );
  return { ...(live === undefined && { capture: all[0] }), chain: all[all.length - 1] };
}

/** A file, or the name of a running chain: its policies are compiled anew from the files that define them. */
async function makeExplainer(chain: string, { local, withState }: Flags): Promise<Explainer> {
  const { Explainer, loadChainFile, openChain, runningState } = await import("../../chain/index.ts");
  const { rebuildChain } = await import("../../chain/rebuild.ts");
  const options = local && { local };
  const isFile = /[./]/.test(chain);
  const composed = isFile ? await loadChainFile(chain) : await rebuildChain(openChain(chain).description);
  const explainer = new Explainer(composed, options);
  return withState ? new Explainer(composed, { ...options, ...runningState(explainer.plan) }) : explainer;
}

/** Until Ctrl-C, or until as many were shown as were asked for. */
async function explainLive(name: string, explainer: Explainer, output: Output, { netns }: Flags): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const stop = capturePackets({ interface: name, ...(netns !== undefined && { netns }) }, (seen) => {
      try {
        const one = explainer.explain(frameOf(seen));
        // Whatever else passes is of no interest to any chain.
        if (one.packet && !output.tell(one)) end();
      } catch (error) {
        stopped();
        reject(error);
      }
    });
    const stopped = undoAtExit(stop);
    const end = () => {
      stopped();
      resolve();
    };
  });
}

function frameOf({ bytes, link, direction, timestampNs, originalLength }: SeenPacket): PacketToExplain {
  const interfaces = [{ linkType: link === "ethernet" ? LinkType.ethernet : LinkType.rawIp, snapLength: 0 }];
  const packet = { interface: 0, bytes, originalLength, direction };
  return { ...toFrame(packet, { interfaces, packets: [packet] }), timestampNs };
}

const reasons: Readonly<Record<string, string>> = { ENOENT: "there is no such file", EISDIR: "it is a folder" };

function openCapture(file: string): Capture {
  try {
    return readCapture(readFileSync(file));
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    const reason = error instanceof WireError ? error.reason : (code && reasons[code]) || code;
    if (reason === undefined) throw error;
    throw new FileError(`Cannot read ${file}: ${reason}`, {
      cause: error,
    });
  }
}

function packetsOf(capture: Capture): PacketToExplain[] {
  return capture.packets.map((packet) => {
    const { timestampNs } = packet;
    return { ...toFrame(packet, capture), ...(timestampNs !== undefined && { timestampNs }) };
  });
}

/** What is shown of all packets that go through. */
class Output {
  readonly #flags: Flags;
  readonly #values: unknown[] = [];
  readonly #counts = { seen: 0, shown: 0, matched: 0, guessed: 0 };
  #startNs: bigint | undefined;

  constructor(flags: Flags) {
    this.#flags = flags;
  }

  /** Whether more may be shown. */
  tell(one: Explanation): boolean {
    const { flow, onlyMatched, json, count = Infinity } = this.#flags;
    const counts = this.#counts;
    counts.seen++;
    this.#startNs ??= one.timestampNs;
    const matched = one.kind === "explained" && one.matched;
    const wanted = (!flow || (one.packet && matchesFlow(one.packet, flow))) && (!onlyMatched || matched);
    if (!wanted) return true;
    counts.shown++;
    if (matched) counts.matched++;
    if (one.direction?.source === "guessed") counts.guessed++;
    if (!json) print(`${explanationLines(one, this.#startNs).join("\n")}\n`);
    // What comes from an interface has no end that could be waited for.
    else if (this.#flags.interface === undefined) this.#values.push(forJson(one));
    else printJsonLine(forJson(one));
    return counts.shown < count;
  }

  end(): void {
    const { seen, shown, matched, guessed } = this.#counts;
    if (this.#flags.json) {
      if (this.#flags.interface === undefined) printJson(this.#values);
      return;
    }
    print(`${seen} packets seen, ${shown} shown, ${matched} of them matched`);
    if (guessed > 0)
      print(
        "The capture does not say which packets came in and which went out: whoever opened a connection is taken for this\n" +
          "host. --local ADDRESS says which host it is.",
      );
  }
}

function forJson(one: Explanation) {
  return { ...one, frame: toHex(one.frame), ...(one.kind === "explained" && { after: toHex(one.after) }) };
}
