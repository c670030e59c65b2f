import { describe, expect, it } from "vitest";
import { MemberSet } from "../chain/member-set.ts";
import type { Hook } from "../compiler/index.ts";
import { chain, type ChainOptions, type VmRunner } from "../compiler/testing/policy-harness.ts";
import { Conversation, clientKey, serverKey, type Seen } from "./testing/conversation.ts";

const FIN = 0x11;
const RST = 0x04;
const ACK = 0x10;

/** Compiled once for all tests: tokens are long programs. */
const chains = new Map<string, ReturnType<typeof chain>>();
function watch(options: ChainOptions, ...hooks: Hook[]): VmRunner {
  const key = JSON.stringify(options);
  if (!chains.has(key)) chains.set(key, chain(options));
  return chains.get(key)!.vm(...(hooks.length > 0 ? hooks : (["tcx_ingress", "tcx_egress"] as const)));
}
const telling: ChainOptions = { actors: ["get_connect", "get_subflow"] };

function run(vm: VmRunner, seen: readonly Seen[]): void {
  for (const [frame, hook] of seen) if (hook in vm.vms) vm.run(frame, hook);
}
const told = (vm: VmRunner) => vm.events().map(({ name, fields }) => ({ name, ...fields }));

describe("learnConnections()", () => {
  it.each([
    [0, "server"],
    [1, "server"],
    [0, "client"],
    [1, "client"],
  ] as const)("learns tokens and keys from handshakes of version %i, on the %s", (version, host) => {
    const talk = new Conversation(version, host);
    const { client, server } = talk.tokens;
    const vm = watch(telling);
    run(vm, talk.connect(5001));
    const [ours, theirs] = host === "server" ? [server, client] : [client, server];
    const [keyLocal, keyRemote] = host === "server" ? [serverKey, clientKey] : [clientKey, serverKey];
    expect(told(vm)).toEqual([
      { name: "connect", tokenLocal: ours, tokenRemote: theirs, keyLocal, keyRemote, version },
    ]);
  });

  it("knows which connection a subflow joins, whether it wants to be a backup, and how many are open", () => {
    const talk = new Conversation();
    const vm = watch(telling);
    run(vm, talk.connect(5001));
    run(vm, talk.join(5002, { id: 3, backup: true }));
    vm.events();
    run(vm, talk.join(5003, { id: 4 }));
    const tokens = { tokenLocal: talk.tokens.server, tokenRemote: talk.tokens.client };
    const ids = { idLocal: 7, idRemote: 4, backupLocal: 0, backupRemote: 0 };
    expect(told(vm)).toEqual([{ name: "subflow", ...tokens, ...ids }]);
    run(vm, [talk.fromClient(5002, { flags: FIN }), talk.fromServer(5002, { flags: FIN })]);
    run(vm, [talk.fromServer(5001, { flags: RST })]);
    expect(told(vm)).toEqual([
      { name: "subflow_closed", ...tokens, left: 2, reset: 0 },
      { name: "subflow_closed", ...tokens, left: 1, reset: 1 },
    ]);
  });

  it("tells of segments that are sent again only once", () => {
    const talk = new Conversation();
    const vm = watch(telling);
    const [syn, synAck, ack] = talk.connect(5001);
    run(vm, [syn, syn, synAck, synAck, ack, ack, syn, synAck, ack]);
    const joining = talk.join(5002);
    run(
      vm,
      joining.flatMap((one) => [one, one]),
    );
    const fin = [talk.fromClient(5002, { flags: FIN }), talk.fromServer(5002, { flags: FIN })];
    run(vm, [...fin, ...fin]);
    expect(told(vm).map(({ name }) => name)).toEqual(["connect", "subflow", "subflow_closed"]);
  });

  it("takes a port that is used again for another subflow", () => {
    const talk = new Conversation();
    const vm = watch({ select: ["mptcp_conn", { token: talk.tokens.client }] });
    run(vm, talk.connect(5001));
    run(vm, [talk.fromClient(5001, { flags: 0x02, sequence: 7777, acknowledgment: 0 })]);
    const before = vm.counters().matched[0];
    run(vm, [talk.fromClient(5001, { flags: ACK })]);
    expect(vm.counters().matched[0]).toBe(before);
  });
});

describe("mptcp_conn", () => {
  const talk = new Conversation();
  const { client, server } = talk.tokens;
  const other = new Conversation(0);
  const traffic = [
    talk.fromClient(5001, { flags: ACK, payload: 9 }),
    talk.fromServer(5002, { flags: ACK, payload: 9 }),
  ];

  it.each<[string, object, number]>([
    ["this side's token", { token: server, side: "local" }, 2],
    ["this side's token as the peer's", { token: server, side: "remote" }, 0],
    ["the peer's token", { token: client, side: "remote" }, 2],
    ["either token", { token: client }, 2],
    ["another token", { token: 7777 }, 0],
  ])("tells packets by %s", (_, inputs, matches) => {
    const vm = watch({ select: ["mptcp_conn", inputs as { token: number }] });
    run(vm, talk.connect(5001));
    run(vm, talk.join(5002));
    run(vm, other.connect(5003));
    const before = vm.counters().matched[0];
    run(vm, [...traffic, other.fromClient(5003, { flags: ACK })]);
    expect(vm.counters().matched[0] - before).toBe(matches);
  });

  it("may be a set of connections", () => {
    const set = new MemberSet("mptcp_conn", {
      constants: { side: "local" },
      members: [{ token: 5 }, { token: server }],
    });
    const vm = chain({ select: set }).vm("tcx_ingress", "tcx_egress");
    run(vm, talk.connect(5001));
    run(vm, talk.join(5002));
    const before = vm.counters().matched[0];
    run(vm, [...traffic, talk.fromClient(5009, { flags: ACK })]);
    expect(vm.counters().matched[0] - before).toBe(2);
  });

  it("learns both tokens of a server whose chain sees only what arrives", () => {
    const vm = watch({ select: ["mptcp_conn", { token: server, side: "local" }] }, "tcx_ingress");
    run(vm, talk.connect(5001));
    run(vm, traffic);
    expect(vm.counters().matched).toEqual([2]);
  });
});
