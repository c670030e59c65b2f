import { describe, expect, it } from "vitest";
import { chain } from "../compiler/testing/policy-harness.ts";
import type { TcpOption } from "../wire/index.ts";
import { Conversation } from "./testing/conversation.ts";

const talk = new Conversation();
const port = 5001;
const both = ["tcx_ingress", "tcx_egress"] as const;
const all = chain({ actors: [["record", { metrics: "all" }]] });
const ACK = 0x10;
const dss = (parts: object) => ({ kind: "dss", dataFin: false, ...parts }) as TcpOption;

const sent = (sequence: number, payload: number, options: TcpOption[] = []) =>
  talk.fromServer(port, { flags: ACK, sequence, payload, options });
const received = (sequence: number, payload: number, options: TcpOption[] = []) =>
  talk.fromClient(port, { flags: ACK, sequence, payload, options });

describe('record with metrics "all"', () => {
  it("counts the bytes of the flow, and segments whose bytes were sent before, also where numbers start again", () => {
    const vm = all.vm(...both);
    const start = 0xffff_ff00;
    const frames = [
      sent(start, 100),
      sent(start + 100, 200),
      sent(start, 100),
      sent(44, 10),
      received(7, 5),
      received(7, 5),
    ];
    for (const [frame, hook] of frames) vm.run(frame, hook);
    const expected = { payloadOut: 410n, payloadIn: 10n, retransmittedOut: 1n, retransmittedIn: 1n };
    expect(vm.state()["0.flows"][0].fields).toMatchObject(expected);
  });

  it.each<[string, Partial<TcpOption>, Partial<TcpOption>]>([
    ["64 bits", { dataSequence64: 0x1_ffff_fff0n, dataAck64: 5n }, { dataAck64: 0x2_0000_0054n }],
    ["32 bits", { dataSequence32: 0xffff_fff0, dataAck32: 5 }, { dataAck32: 0x54 }],
    ["64 bits without a data ACK", { dataSequence64: 0xffff_fff0n }, { dataAck64: 0x1_0000_0060n }],
    ["32 bits without a data ACK", { dataSequence32: 0xffff_fff0 }, { dataAck32: 0x60 }],
  ])("measures from data to its data ACK: numbers of %s", (_, mapping, ack) => {
    const vm = all.vm(...both);
    const run = ([frame, hook]: ReturnType<typeof sent>, afterUs: bigint): void => {
      vm.clockNs += afterUs * 1000n;
      vm.run(frame, hook);
    };
    run(sent(1, 100, [dss({ ...mapping, subflowSequence: 1, dataLength: 100 })]), 0n);
    run(received(1, 0, [dss("dataAck64" in ack ? { dataAck64: 5n } : { dataAck32: 0x53 })]), 3_000n);
    run(received(1, 0, [dss(ack)]), 4_000n);
    expect(vm.state()["0.flows"][0].fields).toMatchObject({ dataRttUs: 7_000n, dataNs: 0n });
  });
});

describe("record", () => {
  it("tells whose a subflow is where the chain learns connections", () => {
    const vm = chain({ actors: ["get_connect", "record"] }).vm(...both);
    for (const [frame, hook] of talk.connect(port)) vm.run(frame, hook);
    const { client, server } = talk.tokens;
    const expected = { tokenLocal: BigInt(server), tokenRemote: BigInt(client), packetsIn: 2n };
    const name = Object.keys(vm.state()).find((one) => one.endsWith(".flows"))!;
    expect(vm.state()[name][0].fields).toMatchObject(expected);
  });
});
