import { describe, expect, it } from "vitest";
import type { Base, CongestionControl } from "../policy/index.ts";
import { CompileError, compileInStack } from "./index.ts";
import { chain } from "./testing/policy-harness.ts";
import { mainFile, policySource } from "./testing/policy-source.ts";
import { compileStack } from "./testing/in-stack.ts";

/** A policy of those operations, in a file that imports what it needs. */
const policy = (operations: string, state = ""): string => `
  import { base, bytes, cannot, congestionControl, flows, min, now, perPacket, reno, u8, u16, u32, u64, type StackSocket, type SubflowFacts } from "emptcp/policy";
  congestionControl({ name: "tested", ${state} ${operations} });`;

const functionsOf = (text: string, base: Base, member: string): string[] =>
  (compileStack(text, base).programs[member]?.instructions ?? []).flatMap(({ reference }) =>
    reference?.kind === "function" ? [reference.name] : [],
  );

/** What does each operation of a policy that defines none. */
function members(base: Base): Record<string, string[]> {
  const { programs } = compileStack(policy(""), base);
  return Object.fromEntries(Object.keys(programs).map((member) => [member, functionsOf(policy(""), base, member)]));
}

describe("compileInStack()", () => {
  it("lets the base do what the policy does not define", () => {
    expect(members("reno")).toEqual({
      ssthresh: ["tcp_reno_ssthresh"],
      cong_avoid: ["tcp_reno_cong_avoid"],
      undo_cwnd: ["tcp_reno_undo_cwnd"],
    });
    expect(members("cubic")).toEqual({
      init: ["cubictcp_init"],
      ssthresh: ["cubictcp_recalc_ssthresh"],
      cong_avoid: ["cubictcp_cong_avoid"],
      set_state: ["cubictcp_state"],
      cwnd_event: ["cubictcp_cwnd_event"],
      pkts_acked: ["cubictcp_acked"],
      undo_cwnd: ["tcp_reno_undo_cwnd"],
    });
    expect(members("bbr")).toEqual({
      init: ["bbr_init"],
      ssthresh: ["bbr_ssthresh"],
      cong_control: ["bbr_main"],
      set_state: ["bbr_set_state"],
      cwnd_event: ["bbr_cwnd_event"],
      undo_cwnd: ["bbr_undo_cwnd"],
      min_tso_segs: ["bbr_min_tso_segs"],
      sndbuf_expand: ["bbr_sndbuf_expand"],
    });
  });

  it("leaves out which of congAvoid and congControl the base does not have", () => {
    const both = policy(`
      congAvoid(socket, ack, acked) { base.congAvoid(socket, ack, acked); },
      congControl(socket, ack, flag, sample) { base.congControl(socket, ack, flag, sample); },`);
    expect(functionsOf(both, "cubic", "cong_avoid")).toEqual(["cubictcp_cong_avoid"]);
    expect(functionsOf(both, "cubic", "cong_control")).toEqual([]);
    expect(functionsOf(both, "bbr", "cong_control")).toEqual(["bbr_main"]);
    expect(functionsOf(both, "bbr", "cong_avoid")).toEqual([]);
  });

  it("drops calls of what the base does not have", () => {
    const released = policy("release(socket) { base.release(socket); }, init(socket) { base.init(socket); },");
    expect(functionsOf(released, "cubic", "release")).toEqual([]);
    expect(functionsOf(released, "reno", "init")).toEqual([]);
    expect(functionsOf(released, "bbr", "init")).toEqual(["bbr_init"]);
  });

  it("says under which name the operations are to be registered, and that anyone may use them", () => {
    expect(compileStack(policy(""), "reno", "mine").structOps).toEqual({
      struct: "tcp_congestion_ops",
      operations: { ssthresh: "ssthresh", cong_avoid: "cong_avoid", undo_cwnd: "undo_cwnd" },
      values: { name: "mine", flags: 1 },
    });
  });

  it("gives each program only the maps that it uses, and a map of counters only to what counts", () => {
    const text = policy(
      `inAckEvent(socket, flags, { seen }) { if (seen.getOrCreate(socket.flow) === undefined) return cannot("full"); },`,
      "state: { seen: flows({ kind: u8 }, 8) },",
    );
    const { maps, programs, layout } = compileStack(text, "cubic");
    expect(Object.keys(maps).sort()).toEqual(["counters", "state0_seen"]);
    expect(Object.keys(programs["in_ack_event"].maps).sort()).toEqual(["counters", "state0_seen"]);
    expect(programs["ssthresh"].maps).toEqual({});
    expect(layout.counters).toEqual([{ kind: "cannot", actor: 0, reason: "full" }]);
    expect(compileStack(policy(""), "cubic").maps).toEqual({});
  });

  it("gives the same instructions for the same input, and for the same policy what it compiled before", () => {
    const text = policy("congAvoid(socket, ack, acked) { socket.cwnd = min(socket.cwnd, acked); },");
    expect(compileStack(text, "cubic")).toEqual(compileStack(text, "cubic"));
    const { reader, policies } = policySource(text);
    const source = { name: "mine", policy: policies.get("tested") as CongestionControl, file: mainFile } as const;
    const first = compileInStack({ ...source, base: "cubic" }, reader);
    expect(compileInStack({ ...source, base: "cubic" }, reader)).toBe(first);
    expect(compileInStack({ ...source, base: "bbr" }, reader)).not.toEqual(first);
  });

  it.each<[string, string, string, string?]>([
    ["EM1023", "a fact", "inAckEvent(socket) { socket.srttUs = 3; },"],
    [
      "EM1023",
      "another subflow",
      "inAckEvent(socket) { const { connection } = socket; if (connection === undefined) return; for (const one of connection.subflows) one.cwnd = 3; },",
    ],
    ["EM1023", "nothing as the threshold", "ssthresh(socket) { socket.cwnd = 3; },"],
    [
      "EM1026",
      "a connection that may not be there",
      "inAckEvent(socket) { socket.cwndCount = socket.connection.token; },",
    ],
    ["EM1023", "what only packets have", "inAckEvent(socket) { socket.drop(); },"],
    [
      "EM1010",
      "state of one packet",
      "inAckEvent(socket, flags, { here }) { here.kind = 1; },",
      "state: { here: perPacket({ kind: u8 }) },",
    ],
    ["EM1023", "too wide a window", "inAckEvent(socket) { socket.cwnd = socket.bytesSent; },"],
    ["EM1070", "an operation that there is not", "getInfo(socket) {},"],
    [
      "EM1071",
      "another socket",
      "inAckEvent(socket) { const { connection } = socket; if (connection === undefined) return; for (const one of connection.subflows) base.ssthresh(one as StackSocket); },",
    ],
    ["EM1072", "setsockopt in release", "release(socket) { socket.maxPacingRate = 3; },"],
    ["EM1072", "another setsockopt in release", "release(socket) { socket.keepAliveSeconds = 3; },"],
    [
      "EM1073",
      "a field of no structure that begins a socket",
      'inAckEvent(socket) { socket.cwnd = socket.field("task_struct.pid", u32); },',
    ],
    [
      "EM1073",
      "a field that is no constant",
      'inAckEvent(socket) { const path = "tcp_sock.lost"; socket.cwnd = socket.field(path, u32); },',
    ],
    ["EM1004", "a loop without a bound", "inAckEvent(socket) { while (socket.cwnd > 3) socket.cwnd -= 1; },"],
  ])("refuses with %s: %s", (code, _, operations, state) => {
    const compile = () => compileStack(policy(operations, state), "cubic");
    expect(compile).toThrow(CompileError);
    expect(compile).toThrow(code);
  });

  it("refuses calls of the kernel's algorithms where there is no socket of theirs", () => {
    const source = policySource(`
      import { actor, base } from "emptcp/policy";
      export const lost = actor({ name: "lost", run(packet) { base.ssthresh(packet as never); } });`);
    expect(() => chain({ source, actors: ["lost"] }).compile("xdp")).toThrow(/EM1010: base\.ssthresh\(\)/);
  });
});
