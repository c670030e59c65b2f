import type { Server, Socket } from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { ActorChain, PolicyChain, SelectorChain, type FlowRecord, type RunningChain } from "../chain/index.ts";
import { connectMptcp, dumpTcpSockets, listenMptcp, type TcpSocket } from "../linux/index.ts";
import { createLab, type Lab } from "./index.ts";
import { boundSockets, markUntilReleased, seeMark, setSockets, watchSockets } from "./testing/socket-actors.ts";

// What the kernel calls actors on sockets for, and what it makes of what they set: on connections of two subflows.

let lab: Lab;
let port = 20_000 + (process.pid % 20_000);
const chains: RunningChain[] = [];
const open: (Server | Socket)[] = [];

beforeAll(async () => {
  lab = await createLab({
    hosts: { client: {}, server: { endpoints: "signal" } },
    links: [
      { name: "one", between: ["client", "server"], rateMbit: 50, rttMs: 10 },
      { name: "two", between: ["client", "server"], rateMbit: 50, rttMs: 20 },
    ],
  });
});
afterEach(() => {
  for (const chain of chains.splice(0)) chain.remove();
  for (const one of open.splice(0))
    if ("destroy" in one) one.destroy();
    else one.close();
  port++;
});
afterAll(async () => {
  await lab?.close();
});

const eventually = (check: () => void) => vi.waitFor(check, { timeout: 10_000 });

const serverAddress = (link: number): string => lab.host("server").interfaces[link].ipv4;

/** A connection of two subflows, whose client sends all the time. */
async function connect(): Promise<Socket> {
  const common = { port, congestionControl: "cubic" };
  const server = await listenMptcp({ ...common, address: "0.0.0.0", netns: lab.host("server").netns });
  open.push(server);
  server.on("connection", (socket) => {
    open.push(socket);
    socket.on("error", () => {}).resume();
  });
  const client = await connectMptcp({ ...common, address: serverAddress(0), netns: lab.host("client").netns });
  open.push(client);
  const chunk = Buffer.alloc(1 << 16, "x");
  const send = (): void => void (client.writable && client.write(chunk, send));
  client.on("error", () => {});
  send();
  await eventually(() => expect(subflows()).toHaveLength(2));
  return client;
}

/** The client's, in the order of the links. */
function subflows(): TcpSocket[] {
  return dumpTcpSockets(lab.host("client").netns)
    .filter(({ remote, state }) => remote.port === port && state === "established")
    .sort((a, b) => (a.remote.address < b.remote.address ? -1 : 1));
}

function submit(title: string, actors: ActorChain, selectors = new SelectorChain()): RunningChain {
  const name = `sockets-${process.pid}-${title}`;
  const place = { name, netns: lab.host("client").netns, interfaces: ["one"] };
  const running = new PolicyChain(selectors.select("port", { port }), actors, place).submit();
  chains.push(running);
  return running;
}

function remove(running: RunningChain): void {
  chains.splice(chains.indexOf(running), 1);
  running.remove();
}

const watch = (title: string): RunningChain => submit(title, new ActorChain().add(watchSockets));

const toServer = (record: FlowRecord): boolean => record.remotePort === port;
const inOrder = (a: FlowRecord, b: FlowRecord): number => (a.remote < b.remote ? -1 : 1);

/** What was seen of the client's sockets, in the order of the links. */
function seen(running: RunningChain): Record<string, number>[] {
  return running
    .flows("watch_sockets", "seen")
    .filter(toServer)
    .sort(inOrder)
    .map(({ fields }) => fields);
}

describe("socketActor()", { timeout: 30_000 }, () => {
  test("is called for connects, round-trip times and ends of every subflow, and its records go with the sockets", async () => {
    const running = watch("events");
    const client = await connect();
    await eventually(() => {
      expect(seen(running)).toHaveLength(2);
      for (const flow of seen(running)) {
        expect(flow).toMatchObject({ connects: 1, established: 1, closed: 0 });
        expect(flow["samples"]).toBeGreaterThan(10);
        expect(flow["ofSocket"]).toBeGreaterThanOrEqual(flow["samples"]);
      }
    });
    const told = running.slots("watch_sockets", "told").map(({ fields }) => fields);
    for (const { local } of subflows()) {
      const slot = told.find(({ owner }) => owner === local.port)!;
      expect(slot["srttUs"]).toBeGreaterThan(9000);
      expect(slot["cwnd"]).toBeGreaterThan(0);
    }
    client.destroy();
    await eventually(() => expect(seen(running).map(({ closed }) => closed)).toEqual([1, 1]));
  });

  test("is called when the retransmission timer runs out, and told how often in a row", async () => {
    const running = watch("timeouts");
    await connect();
    await eventually(() => expect(seen(running)[1]["samples"]).toBeGreaterThan(0));
    await lab.setLink("two", { lossPercent: 100 });
    try {
      await eventually(() => expect(seen(running)[1]["inRow"]).toBeGreaterThanOrEqual(3));
      expect(seen(running)[1]["timeouts"]).toBeGreaterThanOrEqual(3);
      expect(subflows()[1].tcp!.retransmits).toBeGreaterThanOrEqual(3);
    } finally {
      await lab.setLink("two", { lossPercent: 0 });
    }
  });

  test("is called for connections that ran before, too", async () => {
    await connect();
    const running = watch("running");
    await eventually(() => {
      for (const flow of seen(running)) {
        expect(flow).toMatchObject({ connects: 0, established: 1 });
        expect(flow["samples"]).toBeGreaterThan(10);
      }
      expect(seen(running)).toHaveLength(2);
    });
  });
});

const set = (title: string, link: number, control: string, mark: number, tos: number): RunningChain =>
  submit(
    title,
    new ActorChain().add(setSockets, { control, mark, tos }),
    new SelectorChain().select("dst", { prefix: serverAddress(link) }),
  );
const marks = () => submit("marks", new ActorChain().add(seeMark));

describe("what actors set of sockets", { timeout: 30_000 }, () => {
  test("is what each subflow has: congestion control by name, when it is made and while it runs", async () => {
    const first = set("first", 0, "reno", 1, 0);
    await connect();
    expect(subflows().map(({ congestionControl }) => congestionControl)).toEqual(["reno", "cubic"]);
    set("second", 1, "reno", 1, 0);
    expect(subflows().map(({ congestionControl }) => congestionControl)).toEqual(["reno", "reno"]);
    first.set("set_sockets", { control: "cubic" });
    expect(first.params()).toEqual([{ control: "cubic", mark: "1", tos: "0" }]);
    expect(subflows().map(({ congestionControl }) => congestionControl)).toEqual(["cubic", "reno"]);
  });

  test("bounds windows and timers, windows no more once the chain is gone", async () => {
    const running = submit("bounds", new ActorChain().add(boundSockets, { cwndMax: 20, rtoMinUs: 20_000 }));
    await connect();
    await eventually(() => expect(subflows()[0].tcp!.bytesAcked).toBeGreaterThan(1_000_000));
    const { sndCwnd, rtoUs } = subflows()[0].tcp!;
    expect(sndCwnd).toBeLessThanOrEqual(20);
    expect(rtoUs).toBeLessThan(200_000);
    expect(running.counters().actors[0].cannot).toEqual({ refused: 0 });
    remove(running);
    await eventually(() => expect(subflows()[0].tcp!.sndCwnd).toBeGreaterThan(20));
  });

  test("is in packets: mark and TOS, until the chain is removed", async () => {
    const running = set("marked", 0, "cubic", 77, 0xb8);
    const last = marks();
    await connect();
    await eventually(() => expect(last.shared("see_mark", "last")).toMatchObject({ mark: 77, dscp: 46 }));
    remove(running);
    await eventually(() => expect(last.shared("see_mark", "last")).toMatchObject({ mark: 0, dscp: 0 }));
  });

  test("is counted when the kernel refuses it, and the turn goes on", async () => {
    const running = set("refused", 0, "no-such-control", 5, 0);
    const last = marks();
    await connect();
    await eventually(() => expect(last.shared("see_mark", "last")["mark"]).toBe(5));
    expect(running.counters().actors[0].cannot).toEqual({ refused: 1 });
    expect(subflows()[0].congestionControl).toBe("cubic");
  });

  test("is undone as release says", async () => {
    const last = marks();
    const running = submit("released", new ActorChain().add(markUntilReleased, { mark: 8 }));
    await connect();
    await eventually(() => expect(last.shared("see_mark", "last")["mark"]).toBe(8));
    remove(running);
    await eventually(() => expect(last.shared("see_mark", "last")["mark"]).toBe(9));
  });
});
