/** `emptcp chain explain`: what a chain does with packets, one by one. */
import { readFileSync } from "node:fs";
import { InvalidArgumentError, type Command } from "commander";
import { FileError } from "../../chain/errors.ts";
import type { Explainer, Explanation, PacketToExplain } from "../../chain/explain/index.ts";
import {
  parseIpPrefix,
  readCapture,
  toFrame,
  toHex,
  WireError,
  type Capture,
  type IpPrefix,
} from "../../wire/index.ts";
import { CommandError, UsageError } from "../errors.ts";
import { explanationLines } from "../explain-text.ts";
import { matchesFlow, parseFlow, type Endpoint } from "../flow-filter.ts";
import { print, printJson, withProgress } from "../output.ts";

interface Flags {
  readonly chain?: string;
  readonly local?: readonly IpPrefix[];
  readonly flow?: readonly Endpoint[];
  readonly onlyMatched?: true;
  readonly json?: true;
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
      "Runs the chain's eBPF programs on captured packets, without the kernel: which selectors matched, what each actor did\n" +
        "or why it could not, how the packet changed. State starts empty and follows the capture's clock. Needs no rights.",
    )
    .argument("<capture>", "a pcapng or pcap file")
    .argument("[chain]", "a .ts, .js or .mjs file that exports a chain")
    .option("--chain <file>", "the same")
    .option(
      "--local <address>",
      "an address or prefix of the host whose chain it is; repeat it (default: what the capture says, else guessed)",
      collectLocal,
    )
    .option("--flow <ends>", "show only packets with this end, or between these two: 10.0.0.1:80,10.0.0.2", readFlow)
    .option("--only-matched", "show only packets that the selectors matched")
    .option("--json", "print [{ number, packet, selectors, actors, changes, verdict, ... }]")
    .addHelpText(
      "after",
      `
Examples:
  tcpdump -i any -w trace.pcap tcp
  emptcp chain explain trace.pcap limit.ts
  emptcp chain explain trace.pcap limit.ts --local 10.0.0.2 --flow :443 --only-matched
  emptcp chain explain trace.pcap limit.ts --json | jq '.[] | select(.verdict == "drop") | .number'`,
    )
    .action(explainCommand);
}

async function explainCommand(file: string, given: string | undefined, flags: Flags): Promise<void> {
  const chainFile = given ?? flags.chain;
  if (chainFile === undefined || (given !== undefined && flags.chain !== undefined))
    throw new UsageError(
      "Cannot explain packets: give one chain, for example emptcp chain explain trace.pcap limit.ts",
    );
  const capture = openCapture(file);
  const explainer = await withProgress("compiling …", async () => {
    const { Explainer, loadChainFile } = await import("../../chain/index.ts");
    return new Explainer(await loadChainFile(chainFile), { ...(flags.local && { local: flags.local }) });
  });
  if (!explainer.seesPackets)
    throw new CommandError(`Cannot explain packets with ${chainFile}: its actors act on sockets, not on packets`);
  const explained = explanations(explainer, capture, flags);
  if (flags.json) return printJson([...explained].map(forJson));
  printAll(explained, capture);
}

function openCapture(file: string): Capture {
  try {
    return readCapture(readFileSync(file));
  } catch (error) {
    const reason = error instanceof WireError ? error.reason : (error as NodeJS.ErrnoException).code;
    if (reason === undefined) throw error;
    throw new FileError(`Cannot read ${file}: ${reason === "ENOENT" ? "there is no such file" : reason}`, {
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

/** Every packet goes through, since later ones depend on it; those that were not asked for are left out afterwards. */
function* explanations(explainer: Explainer, capture: Capture, flags: Flags): Generator<Explanation> {
  for (const packet of packetsOf(capture)) {
    const one = explainer.explain(packet);
    if (flags.flow && !(one.packet && matchesFlow(one.packet, flags.flow))) continue;
    if (flags.onlyMatched && !(one.kind === "explained" && one.matched)) continue;
    yield one;
  }
}

function printAll(explained: Iterable<Explanation>, { packets }: Capture): void {
  const start = packets.find(({ timestampNs }) => timestampNs !== undefined)?.timestampNs;
  const counts = { shown: 0, matched: 0, guessed: 0 };
  for (const one of explained) {
    counts.shown++;
    if (one.kind === "explained" && one.matched) counts.matched++;
    if (one.direction?.source === "guessed") counts.guessed++;
    print(`${explanationLines(one, start).join("\n")}\n`);
  }
  print(`${packets.length} packets in the capture, ${counts.shown} shown, ${counts.matched} of them matched`);
  if (counts.guessed > 0)
    print(
      "The capture does not say which packets came in and which went out: whoever opened a connection is taken for this\n" +
        "host. --local ADDRESS says which host it is.",
    );
}

function forJson(one: Explanation) {
  return { ...one, frame: toHex(one.frame), ...(one.kind === "explained" && { after: toHex(one.after) }) };
}
