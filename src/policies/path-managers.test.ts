import { describe, expect, it } from "vitest";
import { chain, type ChainOptions, type VmRunner } from "../compiler/testing/policy-harness.ts";
import { parsePacket, type TcpOption } from "../wire/index.ts";
import { Conversation, type Seen } from "./testing/conversation.ts";

// rm_subflow and set_backup on packets of one connection, as its server's host sees them.

const ACK = 0x10;
const chains = new Map<string, ReturnType<typeof chain>>();
function runner(options: ChainOptions): VmRunner {
  const key = JSON.stringify(options);
  if (!chains.has(key)) chains.set(key, chain(options));
  return chains.get(key)!.vm("tcx_ingress", "tcx_egress");
}
const run = (vm: VmRunner, [frame, hook]: Seen) => vm.run(frame, hook);
const runAll = (vm: VmRunner, all: readonly Seen[]) => all.map((one) => run(vm, one));

const options = (frame: Uint8Array): readonly TcpOption[] => parsePacket(frame).tcp!.options;
const dataAck: TcpOption = { kind: "unknown", bytes: Uint8Array.of(30, 8, 0x20, 1, 0, 0, 0, 1) };
const full: TcpOption = { kind: "unknown", bytes: Uint8Array.of(253, 40, ...Array<number>(38).fill(1)) };

function connected(actors: ChainOptions) {
  const talk = new Conversation();
  const vm = runner(actors);
  runAll(vm, talk.connect(5001));
  const arrive = (...some: readonly TcpOption[]) => run(vm, talk.fromClient(5001, { flags: ACK, options: some }));
  const leave = (...some: readonly TcpOption[]) => run(vm, talk.fromServer(5001, { flags: ACK, options: some }));
  return { talk, vm, arrive, leave };
}

/** The frame that carries one option of the client's. */
function connectedFrame(option: TcpOption): Uint8Array {
  return new Conversation().fromClient(5001, { flags: ACK, options: [option] })[0];
}

const backup: ChainOptions = { actors: ["set_backup"] };
const priorities = (outcomes: readonly { packet: Uint8Array }[]) =>
  outcomes.flatMap(({ packet }) => options(packet).filter(({ kind }) => kind === "mpPrio"));

describe("set_backup", () => {
  it("asks each side once for each change", () => {
    const { vm, arrive, leave } = connected(backup);
    const both = () => [arrive(dataAck), leave(dataAck)];
    const round = () => priorities([...both(), ...both(), ...both()]);
    expect(round()).toMatchObject([{ backup: true }, { backup: true }]);
    expect(round()).toEqual([]);
    vm.set(0, { backup: false });
    expect(round()).toMatchObject([{ backup: false }, { backup: false }]);
    expect(round()).toEqual([]);
  });

  it("asks again, ever more rarely, while data still comes", () => {
    const { talk, vm } = connected({ actors: [["set_backup", { towards: "peer" }]] });
    let asked = 0;
    for (let second = 0; second < 40; second++) {
      const data = { flags: ACK, payload: 9, options: [dataAck] };
      const seen = [talk.fromClient(5001, data), talk.fromServer(5001, { flags: ACK, options: [dataAck] })];
      asked += priorities(runAll(vm, seen)).length;
      vm.clockNs += 1_000_000_000n;
    }
    expect(asked).toBeGreaterThan(2);
    expect(asked).toBeLessThan(9);
  });

  it("waits for a packet with room, and says so", () => {
    const { vm, arrive } = connected(backup);
    arrive(dataAck);
    vm.set(0, { backup: false });
    const before = connectedFrame(full);
    for (let i = 0; i < 3; i++) expect(arrive(full).packet).toEqual(before);
    expect(vm.counters().cannot[0]).toMatchObject({ option_space: 3 });
    expect(priorities([arrive(dataAck)])).toMatchObject([{ backup: false }]);
  });

  it("does not answer a storm of MP_PRIO with any of its own", () => {
    const { arrive } = connected(backup);
    const storm = { kind: "mpPrio", backup: false } as TcpOption;
    const sent = Array.from({ length: 50 }, () => arrive(dataAck, storm));
    expect(sent.flatMap(({ clones }) => clones ?? [])).toEqual([]);
    expect(priorities(sent).filter((one) => one.kind === "mpPrio" && one.backup)).toHaveLength(1);
  });

  it("leaves plain TCP alone", () => {
    const vm = runner(backup);
    const talk = new Conversation();
    const [before] = talk.fromClient(5001, { flags: ACK, payload: 5 });
    for (let i = 0; i < 3; i++) expect(vm.run(before, "tcx_ingress").packet).toEqual(before);
  });
});

const isReset = ({ packet }: { packet: Uint8Array }) => (parsePacket(packet).tcp!.flags & 0x04) !== 0;
const on = (port: number): ChainOptions => ({
  select: {
    and: [
      ["packet_type", { type: "data" }],
      ["subflow", { local: "10.0.0.1", remote: "10.0.0.2", localPort: 80, remotePort: port }],
    ],
  },
  actors: ["rm_subflow"],
});

describe("rm_subflow", () => {
  it("ends a subflow while another one is left, and tries again after a while", () => {
    const talk = new Conversation();
    const vm = runner(on(5002));
    runAll(vm, [...talk.connect(5001), ...talk.join(5002)]);
    const next = () => run(vm, talk.fromClient(5002, { flags: ACK, payload: 5 }));
    expect([next(), next()].map(isReset)).toEqual([true, false]);
    vm.clockNs += 300_000_000n;
    expect(isReset(next())).toBe(true);
    expect(isReset(run(vm, talk.fromClient(5001, { flags: ACK, payload: 5 })))).toBe(false);
  });

  it("never ends the last one, of all that are selected at the same time", () => {
    const talk = new Conversation();
    const vm = runner({ select: ["packet_type", { type: "data" }], actors: ["rm_subflow"] });
    runAll(vm, [...talk.connect(5001), ...talk.join(5002), ...talk.join(5003, { id: 4 })]);
    const resets = [5001, 5002, 5003].map((port) =>
      isReset(run(vm, talk.fromClient(port, { flags: ACK, payload: 5 }))),
    );
    expect(resets.filter(Boolean)).toHaveLength(2);
    expect(vm.counters().cannot[0]).toMatchObject({ last_subflow: 1 });
  });

  it("leaves connections alone that it does not know", () => {
    const vm = runner({ actors: ["rm_subflow"] });
    const [before] = new Conversation().fromClient(5001, { flags: ACK, payload: 5 });
    expect(vm.run(before, "tcx_ingress").packet).toEqual(before);
    expect(vm.counters().cannot[0]).toMatchObject({ unknown_connection: 1 });
  });
});
