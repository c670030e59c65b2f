import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { chain } from "../compiler/testing/policy-harness.ts";
import { policySource } from "../compiler/testing/policy-source.ts";
import type { TcpOption } from "../wire/index.ts";
import { Conversation, type Seen } from "./testing/conversation.ts";

const text = (name: string): string =>
  readFileSync(new URL(`${name}.ts`, import.meta.url), "utf8").replace("../policy/index.ts", "emptcp/policy");
const others = Object.fromEntries(["connections", "rtt", "strategies"].map((name) => [`./${name}.ts`, text(name)]));

const talk = new Conversation();
const timestamps = (value: number, echoReply: number): TcpOption => ({ kind: "timestamps", value, echoReply });
const roundTrip: readonly Seen[] = [
  talk.fromServer(5001, { flags: 0x10, options: [timestamps(100, 1)] }),
  talk.fromClient(5001, { flags: 0x10, options: [timestamps(1, 100)] }),
];
const fin = [talk.fromServer(5001, { flags: 0x11 })];

/** A template, and an actor behind it that stands in for the stack: it offers the record at every FIN. */
function formulating(template: string, state: string, key: string, inputs: Record<string, string>) {
  const stack = `import { offer } from "emptcp/policy";
export const stack = actor({ name: "stack", direction: "both", state: { strategies: ${state} },
  run(packet, _params, { strategies }) {
    if (!packet.tcp.fin) return;
    const strategy = strategies.getOrCreate(${key});
    if (strategy !== undefined) offer(strategy);
  } });`;
  const source = policySource(`${text(template)}\n${stack}`, others);
  const vm = chain({ source, actors: [[template, inputs], "stack"] }).vm("tcx_ingress", "tcx_egress");
  const run = (seen: readonly Seen[], tripUs = 0n): void => {
    for (const [frame, hook] of seen) {
      vm.run(frame, hook);
      vm.clockNs += tripUs * 1000n;
    }
  };
  return { run, strategy: () => vm.state()["0.strategies"][0]?.fields };
}

describe("cong_template", () => {
  it("formulates what a connection may send, once each time that the stack asks", () => {
    const token = String(talk.tokens.server);
    const { run, strategy } = formulating("cong_template", "congestionStrategies", token, { rate: "8mbit" });
    run(talk.connect(5001));
    run(roundTrip, 20_000n);
    expect(strategy()).toBeUndefined();
    run(fin);
    expect(strategy()).toMatchObject({ windowBytes: 0n, rateBytesPerSecond: 0n });
    run(roundTrip, 20_000n);
    expect(strategy()).toMatchObject({ kind: 1n, windowBytes: 20_000n, rateBytesPerSecond: 1_000_000n });
    for (let i = 0; i < 10; i++) run(roundTrip, 90_000n);
    expect(strategy()).toMatchObject({ windowBytes: 20_000n });
    run(fin);
    run(roundTrip, 90_000n);
    expect(strategy()["windowBytes"]).toBeGreaterThan(60_000n);
  });
});

describe("sched_template", () => {
  it.each([
    [1_000n, 10_000n],
    [50_000n, 200n],
  ])("weighs a subflow by its round trip: %i µs, %i", (rttUs, weight) => {
    const { run, strategy } = formulating("sched_template", "subflowStrategies", "packet.flow", {});
    run(fin);
    run(roundTrip, rttUs);
    expect(strategy()).toMatchObject({ kind: 4n, weight, rttUs });
  });
});
