import { expect, test } from "vitest";
import { bases } from "../policy/index.ts";
import { createStructOps, loadCollection, registerStructOps, availableCongestionControls } from "../linux/index.ts";
import type { CompiledInStack } from "./index.ts";
import { compileStack } from "./testing/in-stack.ts";

// Whether the verifier takes what is compiled, and the kernel registers it.

const name = `emc_${process.pid}`;

function register({ programs, maps, structOps }: CompiledInStack): number {
  const collection = loadCollection({ programs, maps });
  try {
    using map = createStructOps(structOps, collection.programs);
    using _link = registerStructOps(map);
    expect(availableCongestionControls()).toContain(name);
    return Math.max(...Object.values(collection.programs).map((program) => program.info().verifiedInstructions));
  } finally {
    collection.close();
  }
}

test.each(bases)("the kernel takes a policy that defines nothing, on %s", (base) => {
  register(
    compileStack(
      `import { congestionControl } from "emptcp/policy"; congestionControl({ name: "plain" });`,
      base,
      name,
    ),
  );
});

test.each(bases)("the kernel takes a policy that caps the window, on %s", (base) => {
  const text = `
    import { base, congestionControl, min } from "emptcp/policy";
    congestionControl({
      name: "capped",
      congAvoid(socket, ack, acked) {
        base.congAvoid(socket, ack, acked);
        socket.cwnd = min(socket.cwnd, 20);
      },
      congControl(socket, ack, flag, sample) {
        base.congControl(socket, ack, flag, sample);
        socket.cwnd = min(socket.cwnd, 20);
      },
    });`;
  register(compileStack(text, base, name));
});

test("the kernel takes a policy that sums what the subflows of its connection do", () => {
  const text = `
    import { base, congestionControl, reno, type StackSocket, type u32 } from "emptcp/policy";
    congestionControl({
      name: "coupled",
      congAvoid(socket, ack, acked) {
        const { connection } = socket;
        if (connection === undefined) return base.congAvoid(socket, ack, acked);
        let windows: u32 = 0;
        let fastest: u32 = 0;
        for (const one of connection.subflows) {
          windows += one.cwnd;
          if (one.srttUs !== 0 && one.backup === false && (fastest === 0 || one.srttUs < fastest)) fastest = one.srttUs;
        }
        if (socket.cwnd < socket.ssthresh) {
          acked = reno.slowStart(socket, acked);
          if (acked === 0) return;
        }
        reno.congAvoidAi(socket, windows + fastest, acked);
      },
    });`.replace(
    "acked = reno.slowStart(socket, acked);\n          if (acked === 0) return;",
    "if (reno.slowStart(socket, acked) === 0) return;",
  );
  register(compileStack(text, "cubic", name));
});

test("the kernel takes a policy that reads every fact of subflow and connection, and writes all that can be written", () => {
  const text = `
    import { congestionControl, perCpu, perSocket, flows, table, shared, claim, claimable, event, emit, cannot, now, base, u8, u32, u64 } from "emptcp/policy";
    const seen = event("seen", { bytes: u64 });
    congestionControl({
      name: "everything",
      state: {
        facts: perCpu({ sum: u64, other: u32 }),
        own: perSocket({ count: u64 }),
        byFlow: claimable(flows({ kind: u8, bytes: u64 }, 64)),
        byToken: table(u32, { bytes: u64 }, 64),
        all: shared({ bytes: u64 }),
      },
      init(socket, { own }) {
        base.init(socket);
        const record = own.getOrCreate(socket);
        if (record === undefined) return cannot("no_memory");
        record.count = now();
      },
      release(socket, { byFlow }) {
        byFlow.delete(socket.flow);
        base.release(socket);
      },
      ssthresh(socket) {
        return base.ssthresh(socket) + 1;
      },
      inAckEvent(socket, flags, { facts, own, byFlow, byToken, all }) {
        const record = own.get(socket);
        if (record === undefined) return;
        record.count += 1;
        facts.sum += socket.bytesSent + socket.bytesAcked + socket.bytesRetransmitted + socket.lastEventUs;
        facts.sum += socket.deliveryRate + socket.pacingRate + socket.maxPacingRate;
        facts.sum += u64(socket.id + socket.cwnd + socket.ssthresh + socket.mss + socket.srttUs + socket.rttVarUs);
        facts.sum += u64(socket.minRttUs + socket.inFlight + socket.packetsOut + socket.lost + socket.retransmissions);
        facts.sum += u64(socket.delivered + socket.sndUna + socket.sndNxt + socket.queuedBytes + socket.notSentBytes);
        facts.sum += u64(socket.field("tcp_sock.reordering", u32) + socket.field("sock.sk_pacing_shift", u8) + flags);
        if (socket.caState > 1 && socket.isCwndLimited && !socket.isAppLimited && !socket.backup) facts.other += 1;
        const strategy = byFlow.get(socket.flow);
        if (strategy !== undefined && claim(strategy)) strategy.bytes = socket.bytesSent;
        all.bytes += 1;
        const { connection } = socket;
        if (connection === undefined) return;
        const totals = byToken.getOrCreate(connection.token);
        if (totals === undefined) return;
        totals.bytes = connection.sndNxt + connection.sndUna + connection.bytesSent + connection.bytesAcked;
        totals.bytes += connection.bytesRetransmitted + connection.field("mptcp_sock.wnd_end", u64);
        for (const one of connection.subflows) {
          const other = byFlow.get(one.flow);
          if (other !== undefined) totals.bytes += other.bytes;
        }
        emit(seen, socket.flow, { bytes: totals.bytes });
      },
      pktsAcked(socket, sample) {
        base.pktsAcked(socket, sample);
        if (sample.rttUs > 0) socket.cwndCount = sample.packetsAcked + sample.inFlight;
      },
      setState(socket, next) {
        base.setState(socket, next);
        if (next === 4) socket.ssthresh = 10;
      },
      cwndEvent(socket, event) {
        base.cwndEvent(socket, event);
        socket.pacingRate = 1000000;
        socket.maxPacingRate = socket.maxPacingRate - 1;
        socket.keepAliveSeconds = 1;
      },
      undoCwnd(socket) {
        return base.undoCwnd(socket);
      },
    });`;
  register(compileStack(text, "cubic", name));
});

test("the kernel takes a policy that compares all pairs of subflows, and branches on what it finds", () => {
  const text = `
    import { base, congestionControl, flows, u32, u64 } from "emptcp/policy";
    congestionControl({
      name: "pairs",
      state: { weights: flows({ weight: u32 }, 64) },
      congAvoid(socket, ack, acked, { weights }) {
        base.congAvoid(socket, ack, acked);
        const { connection } = socket;
        if (connection === undefined) return;
        let better: u32 = 0;
        let worse: u32 = 0;
        for (const one of connection.subflows) {
          const mine = weights.get(one.flow);
          const weight = mine === undefined ? 1 : mine.weight;
          for (const other of connection.subflows) {
            if (one.id === other.id || other.srttUs === 0) continue;
            if (u64(one.cwnd) * other.srttUs > u64(other.cwnd) * one.srttUs * weight) better += 1;
            else if (other.isCwndLimited) worse += other.caState > 1 ? 2 : 1;
          }
        }
        if (better > worse && socket.cwnd > 2) socket.cwnd -= 1;
      },
    });`;
  expect(register(compileStack(text, "cubic", name))).toBeLessThan(100_000);
});

test.each([
  ["tcp_sock.reordering", "u64", "it has 4 bytes, not 8"],
  ["tcp_sock.no_such_field", "u32", "tcp_sock.no_such_field"],
  ["tcp_sock.is_cwnd_limited", "u8", "it is a bit field"],
])("a field %s that the kernel does not have as %s is refused when the policy is loaded", (path, type, words) => {
  const text = `
    import { congestionControl, u8, u32, u64 } from "emptcp/policy";
    congestionControl({ name: "fields", ssthresh(socket) { return u32(socket.field("${path}", ${type})); } });`;
  const { programs, maps } = compileStack(text, "reno", name);
  expect(() => loadCollection({ programs, maps }).close()).toThrow(words);
});
