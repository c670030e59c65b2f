import { once } from "node:events";
import type { AddressInfo, Socket } from "node:net";
import { afterEach, expect, test, vi } from "vitest";
import { createLab, type Lab } from "../lab/index.ts";
import {
  connectMptcp,
  createStructOps,
  dumpTcpSockets,
  listenMptcp,
  loadCollection,
  registerStructOps,
  setDefaultCongestionControl,
} from "../linux/index.ts";
import { bases } from "../policy/index.ts";
import { compileStack } from "./testing/in-stack.ts";
import { readState } from "./testing/policy-harness.ts";

// What a policy sees of the subflows of a connection, against what the kernel tells user space of them.

const name = `emf_${process.pid}`;
const BYTES = 1_500_000;

/** Writes down, after every ACK that may let the window grow, what it sees. */
const text = `
  import { base, congestionControl, flows, min, u8, u16, u32, u64, type StackSocket, type StateRecord } from "emptcp/policy";
  const fields = {
    port: u16, id: u32, backup: u8, cwnd: u32, ssthresh: u32, mss: u32, srttUs: u32, rttVarUs: u32, minRttUs: u32, inFlight: u32,
    retransmissions: u32, bytesSent: u64, bytesAcked: u64, deliveryRate: u64, maxPacingRate: u64, caState: u8, token: u32,
    windows: u32, subflows: u32, clock: u64, sndUna: u64,
  };
  /** Less than overflows a queue: the last ACK must not come in recovery, where the window is not an operation's. */
  const most = 30;
  congestionControl({
    name: "facts",
    state: { facts: flows(fields, 64) },
    congAvoid(socket, ack, acked, { facts }) {
      base.congAvoid(socket, ack, acked);
      note(socket, facts.getOrCreate(socket.flow));
    },
    congControl(socket, ack, flag, sample, { facts }) {
      base.congControl(socket, ack, flag, sample);
      note(socket, facts.getOrCreate(socket.flow));
    },
  });
  function note(socket: StackSocket, record: StateRecord<typeof fields> | undefined): void {
    const { connection } = socket;
    if (record === undefined || connection === undefined) return;
    socket.cwnd = min(socket.cwnd, most);
    record.port = socket.flow.localPort;
    record.id = socket.id;
    record.backup = socket.backup ? 1 : 0;
    record.cwnd = socket.cwnd;
    record.ssthresh = socket.ssthresh;
    record.mss = socket.mss;
    record.srttUs = socket.srttUs;
    record.rttVarUs = socket.rttVarUs;
    record.minRttUs = socket.minRttUs;
    record.inFlight = socket.inFlight;
    record.retransmissions = socket.retransmissions;
    record.bytesSent = socket.bytesSent;
    record.bytesAcked = socket.bytesAcked;
    record.deliveryRate = socket.deliveryRate;
    record.maxPacingRate = socket.maxPacingRate;
    record.caState = socket.caState;
    record.clock = socket.lastEventUs;
    record.token = connection.token;
    record.sndUna = connection.sndUna;
    let windows: u32 = 0;
    let subflows: u32 = 0;
    for (const one of connection.subflows) {
      windows += one.cwnd;
      subflows += 1;
    }
    record.windows = windows;
    record.subflows = subflows;
  }`;

let lab: Lab | undefined;
afterEach(async () => {
  await lab?.close();
  lab = undefined;
});

test.each(bases)("a policy on %s sees of both subflows of a connection what the kernel says of them", async (base) => {
  const compiled = compileStack(text, base, name);
  const collection = loadCollection(compiled);
  using map = createStructOps(compiled.structOps, collection.programs);
  using _link = registerStructOps(map);
  const path = { between: ["client", "server"], rateMbit: 20, rttMs: 10 } as const;
  lab = await createLab({
    hosts: { client: {}, server: { endpoints: "signal" } },
    links: [
      { name: "wifi", ...path },
      { name: "lte", ...path },
    ],
  });
  const [client, server] = ["client", "server"].map((host) => lab!.host(host));
  setDefaultCongestionControl(name, server.netns);
  const listener = await listenMptcp({ address: "0.0.0.0", port: 0, netns: server.netns });
  const { port } = listener.address() as AddressInfo;
  const accepted = once(listener, "connection") as Promise<[Socket]>;
  const near = await connectMptcp({ address: server.interfaces[0].ipv4, port, netns: client.netns });
  const [far] = await accepted;
  const sockets = () =>
    dumpTcpSockets(server.netns).filter(
      ({ mptcp, local, state }) => mptcp && local.port === port && state === "established",
    );
  const facts = () =>
    Object.values(
      readState(compiled.layout, (slot) =>
        collection.maps[slot.map].entries().map(({ key, value }) => [key, value] as const),
      ),
    )
      .flat()
      .map(({ fields }) => fields);
  try {
    await vi.waitFor(() => expect(sockets()).toHaveLength(2), { timeout: 5000 });
    let received = 0;
    near.on("data", (data: Buffer) => (received += data.length));
    far.write(new Uint8Array(BYTES));
    await vi.waitFor(() => expect(received).toBe(BYTES), { timeout: 20_000 });
    // Until the last ACK has come.
    await vi.waitFor(() => expect(sockets().map(({ tcp }) => tcp!.unacked)).toEqual([0, 0]), { timeout: 5000 });
    const seen = facts().sort((a, b) => Number(a["bytesSent"] - b["bytesSent"]));
    const told = sockets().sort((a, b) => a.tcp!.bytesSent - b.tcp!.bytesSent);
    expect(seen).toHaveLength(2);
    expect(new Set(seen.map(({ id }) => Number(id)))).toEqual(new Set([1, 2]));
    expect(new Set(seen.map(({ token }) => Number(token)))).toEqual(new Set([told[0].mptcp!.tokenLocal]));
    for (const [i, { tcp }] of told.entries()) {
      const number = (field: string) => Number(seen[i][field]);
      expect({
        mss: number("mss"),
        srttUs: number("srttUs"),
        rttVarUs: number("rttVarUs"),
        minRttUs: number("minRttUs"),
        cwnd: number("cwnd"),
        bytesSent: number("bytesSent"),
        retransmissions: number("retransmissions"),
      }).toEqual({
        mss: tcp!.sndMss,
        srttUs: tcp!.rttUs,
        rttVarUs: tcp!.rttvarUs,
        minRttUs: tcp!.minRttUs,
        cwnd: tcp!.sndCwnd,
        bytesSent: tcp!.bytesSent,
        retransmissions: tcp!.totalRetrans,
      });
      expect(number("bytesAcked")).toBe(tcp!.bytesAcked);
      expect(number("deliveryRate")).toBe(tcp!.deliveryRateBytesPerSecond);
      expect(seen[i]["maxPacingRate"]).toBe(2n ** 64n - 1n);
      expect(seen[i]).toMatchObject({ port: BigInt(port), backup: 0n, caState: 0n, subflows: 2n });
    }
    const windows = told.reduce((sum, { tcp }) => sum + tcp!.sndCwnd, 0);
    const last = seen.reduce((a, b) => (a["clock"] > b["clock"] ? a : b));
    expect(Number(last["windows"])).toBe(windows);
    // On the clock of now().
    expect(Math.abs(Number(last["clock"]) - Number(process.hrtime.bigint() / 1000n))).toBeLessThan(30_000_000);
  } finally {
    near.destroy();
    far.destroy();
    listener.close();
    collection.close();
  }
});
