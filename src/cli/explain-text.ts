/** Explanations of packets as lines for people. Pure. */
import type { Explanation, ExplainedPacket, PacketSummary } from "../chain/explain/explanation.ts";
import type { StateChange } from "../chain/explain/state-changes.ts";
import type { PacketChange } from "../wire/index.ts";
import { colours } from "./output.ts";
import { formatEndpoint } from "./table.ts";

const indent = " ".repeat(7);
const labelWidth = 10;

function line(label: string, text: string): string {
  return `${indent}${colours.dim(label.padEnd(labelWidth))}${text}`;
}

function describePacket({
  source,
  sourcePort,
  destination,
  destinationPort,
  flags,
  payloadBytes,
}: PacketSummary): string {
  const payload = payloadBytes > 0 ? ` ${payloadBytes} bytes` : "";
  return `${formatEndpoint(source, sourcePort)} > ${formatEndpoint(destination, destinationPort)} ${flags}${payload}`;
}

/** `+0.012345`: seconds since the first packet that is shown. */
function describeTime(timestampNs: bigint | undefined, startNs: bigint | undefined): string {
  if (timestampNs === undefined) return "";
  const elapsedUs = Number((timestampNs - (startNs ?? timestampNs)) / 1000n);
  return `+${(elapsedUs / 1e6).toFixed(6)} `;
}

function describeChange({ field, before, after }: PacketChange): string {
  if (after === undefined) return `${field} ${colours.red("removed")}: ${before}`;
  if (before === undefined) return `${field} ${colours.green("added")}: ${after}`;
  return `${field} ${before} → ${colours.green(after)}`;
}

const answers = {
  matched: (text: string) => colours.green(text),
  "not matched": (text: string) => colours.yellow(text),
  "not asked": (text: string) => colours.dim(text),
  disabled: (text: string) => colours.dim(text),
} as const;

const deeds = {
  acted: (text: string) => colours.green(text),
  "could not": (text: string) => colours.yellow(text),
  idle: (text: string) => text,
  "not asked": (text: string) => colours.dim(text),
  "not on packets": (text: string) => colours.dim(text),
  disabled: (text: string) => colours.dim(text),
} as const;

function describeUse(name: string, params: Readonly<Record<string, string>>): string {
  const inputs = Object.entries(params).map(([key, value]) => `${key}=${value}`);
  return inputs.length > 0 ? `${name}(${inputs.join(", ")})` : name;
}

/** Fields that changed; of a new record those that are not zero. */
function describeState({ policies, state, key, before, after }: StateChange): string {
  const of = `${policies.join(" + ")}, ${key === undefined ? state : `${state} of ${key}`}`;
  if (!after) return `${of}: ${colours.red("gone")}`;
  const fields = Object.entries(after).flatMap(([name, value]) => {
    const was = before?.[name] ?? 0;
    if (value === was) return [];
    return [before ? `${name} ${was} → ${value}` : `${name} ${value}`];
  });
  return `${of}: ${before ? "" : colours.green("new ")}${fields.join(", ")}`.trimEnd();
}

function outcome(one: ExplainedPacket): string[] {
  const { verdict, redirectedTo, copies, context, changes } = one;
  const lines = changes.map((change) => line("packet", describeChange(change)));
  for (const [field, value] of Object.entries(context)) lines.push(line("packet", `${field} ${value}`));
  for (const copy of copies) {
    const differs = copy.changes.map(describeChange).join("; ") || "as it came";
    const where = copy.interface === undefined ? "ahead of the packet" : `to interface ${copy.interface}`;
    lines.push(line("copy", `${where}: ${differs}`));
  }
  if (verdict === "drop") lines.push(line("verdict", colours.red("drop")));
  if (verdict === "redirect") lines.push(line("verdict", `redirect to interface ${redirectedTo}`));
  if (verdict === "answer") lines.push(line("verdict", "goes back to its sender"));
  if (lines.length === 0) lines.push(line("packet", colours.dim("passes unchanged")));
  return lines;
}

/** The lines of one packet; the first says which packet it is. `startNs` is the time of the first packet. */
export function explanationLines(one: Explanation, startNs?: bigint): string[] {
  const number = `#${one.number}`.padEnd(indent.length);
  const title = one.packet ? describePacket(one.packet) : `${one.frame.length} bytes`;
  const way = one.direction ? one.direction.direction.padEnd(8) : "";
  const head = `${colours.bold(number)}${describeTime(one.timestampNs, startNs)}${way}${title}`;
  if (one.kind === "skipped") return [head, line("skipped", one.reason)];
  const lines = [head];
  if (one.packet.options.length > 0) lines.push(line("options", one.packet.options.join("; ")));
  if (one.cut) lines.push(line("note", "the capture cut this packet; the rest is taken to be zeros"));
  for (const { name, params, answer } of one.selectors)
    lines.push(line("selector", `${describeUse(name, params)}  ${answers[answer](answer)}`));
  if (one.selectors.length === 0) lines.push(line("selector", "every TCP packet"));
  for (const { name, did, reasons, changes, verdict } of one.matched ? one.actors : []) {
    const what = [...reasons, ...changes.map(describeChange), ...(verdict ? [verdict] : [])];
    lines.push(line("actor", `${name}  ${deeds[did](did)}${what.length > 0 ? `: ${what.join("; ")}` : ""}`));
  }
  for (const { policy, name, fields } of one.events) {
    const values = Object.entries(fields).map(([field, value]) => `${field}=${value}`);
    lines.push(line("event", [`${policy}: ${name}`, ...values].join(" ")));
  }
  for (const change of one.state) lines.push(line("state", describeState(change)));
  return [...lines, ...(one.matched ? outcome(one) : [])];
}
