import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { chain } from "../compiler/testing/policy-harness.ts";
import { policySource } from "../compiler/testing/policy-source.ts";
import { importEverything } from "../compiler/testing/refusals.ts";
import { addAddrHmac, parseIpAddress, type TcpOption } from "../wire/index.ts";
import { Conversation, clientKey, serverKey } from "./testing/conversation.ts";

const text = (name: string): string =>
  readFileSync(new URL(name, import.meta.url), "utf8").replace("../policy/index.ts", "emptcp/policy");

/** Says of each announcement what it is, as a policy that keeps addresses would ask. */
const asking = chain({
  source: policySource(
    `${importEverything}
import { learnConnections, learning } from "./connections.ts";
import { genuineness } from "./genuine.ts";
export const ask = actor({
  name: "ask",
  state: { ...learning, out: shared({ is: u32, asked: u32 }) },
  observe: learnConnections,
  run(packet, _params, state) {
    const { out } = state;
    let length: u8 = 0; let id: u8 = 0; let upper: u64 = 0; let lower: u64 = 0; let at8: u64 = 0; let at10: u64 = 0; let at20: u64 = 0; let at22: u64 = 0;
    for (const option of packet.tcp.options) {
      if (option.subtype !== subtype.addAddress) continue;
      length = option.length; id = option.u8(3); upper = option.u64(4); lower = option.u64(12);
      at8 = option.u64(8); at10 = option.u64(10); at20 = option.u64(20); at22 = option.u64(22);
      break;
    }
    if (length === 0) return;
    const isV6 = length >= 28;
    const hasPort = length === 18 || length === 30;
    const port = hasPort ? (isV6 ? at20 >> 48 : at8 >> 48) : 0;
    const signature = isV6 ? (hasPort ? at22 : at20) : hasPort ? at10 : at8;
    out.asked += 1;
    out.is = genuineness(packet, state, u64(id), isV6, upper, lower, port, signature);
  },
});`,
    { "./connections.ts": text("connections.ts"), "./genuine.ts": text("genuine.ts") },
  ),
  actors: ["ask"],
});

const [unknown, genuine, forged] = [0n, 1n, 2n];

function announcement(sent: string, port?: number, signed = sent): TcpOption {
  const addressId = 9;
  const hmac = addAddrHmac(
    { sender: clientKey, receiver: serverKey },
    { addressId, address: parseIpAddress(signed), ...(port !== undefined && { port }) },
  );
  const option = { kind: "addAddr", version: 1, echo: false, addressId, address: parseIpAddress(sent), hmac } as const;
  return port === undefined ? option : { ...option, port };
}

/** What is thought of an announcement by the client, on either host. */
function judged(
  option: TcpOption,
  {
    version = 1,
    host = "server",
    learnt = true,
  }: { version?: 0 | 1; host?: "client" | "server"; learnt?: boolean } = {},
) {
  const talk = new Conversation(version, host);
  const vm = asking.vm("tcx_ingress", "tcx_egress");
  for (const [frame, hook] of learnt ? talk.connect(5001) : []) vm.run(frame, hook);
  const [frame, hook] = talk.fromClient(5001, { flags: 0x10, options: [option] });
  vm.run(frame, hook);
  const { is, asked } = vm.state()["0.out"][0].fields;
  expect(asked).toBe(1n);
  return is;
}

describe("genuineness()", () => {
  it.each<[string, number | undefined]>([
    ["10.1.2.3", undefined],
    ["10.1.2.3", 7001],
    ["2001:db8::42:1", undefined],
    ["2001:db8::42:1", 7001],
  ])("tells whether %s, port %s, was announced by the peer, and by this host", (address, port) => {
    for (const host of ["client", "server"] as const) {
      expect(judged(announcement(address, port), { host })).toBe(genuine);
      const other = address.replace(/.$/, "9");
      expect(judged(announcement(address, port, other), { host })).toBe(forged);
    }
  });

  it("does not know without the keys, nor in version 0", () => {
    expect(judged(announcement("10.1.2.3"), { learnt: false })).toBe(unknown);
    expect(judged(announcement("10.1.2.3"), { version: 0 })).toBe(unknown);
  });
});

describe("forged", () => {
  const blocking = chain({ select: { not: "forged" }, actors: ["blk_subflow"] });

  it.each<[string, number | undefined]>([
    ["10.1.2.3", undefined],
    ["10.1.2.3", 7001],
    ["2001:db8::42:1", undefined],
    ["2001:db8::42:1", 7001],
  ])("lets blk_subflow keep %s, port %s, only if its sender signed it", (address, port) => {
    const talk = new Conversation(1, "server");
    const vm = blocking.vm("tcx_ingress", "tcx_egress");
    for (const [frame, hook] of talk.connect(5001)) vm.run(frame, hook);
    const arriving = (option: TcpOption): Uint8Array => talk.fromClient(5001, { flags: 0x10, options: [option] })[0];
    const forgery = arriving(announcement(address, port, address.replace(/.$/, "9")));
    expect(vm.run(forgery, "tcx_ingress")).toEqual({ verdict: "pass", packet: forgery });
    expect(vm.state()["0.keptOptions"]).toEqual([]);
    expect(vm.run(arriving(announcement(address, port)), "tcx_ingress").verdict).toBe("drop");
    expect(vm.state()["0.keptOptions"]).toHaveLength(1);
  });
});
