import { describe, expect, it } from "vitest";
import { chain, type VmRunner } from "../../testing/policy-harness.ts";
import { policySource } from "../../testing/policy-source.ts";
import { importEverything } from "../../testing/refusals.ts";
import { makeFrame } from "../../testing/packets.ts";
import { outputs, writing } from "../../testing/outputs.ts";
import { parseIpAddress, toHex } from "../../../wire/index.ts";

function mapped(address: string): string {
  const bytes = toHex(parseIpAddress(address));
  return bytes.length === 8 ? `00000000000000000000ffff${bytes}` : bytes;
}
const littleEndian = (port: number): string => toHex(Uint8Array.of(port & 0xff, port >> 8));

/** The key of a flow as `views/flow.ts` describes it. */
function keyOf(local: string, remote: string, localPort: number, remotePort: number): string {
  return `${mapped(local)}${mapped(remote)}${littleEndian(localPort)}${littleEndian(remotePort)}00000000`;
}

/** How often each flow was counted, in ascending order. */
function counts(vm: VmRunner, name: string): number[] {
  const entries = vm.state()[name];
  return entries.map(({ fields }) => Number(fields["count"])).sort((a, b) => a - b);
}

const counting = "const flow = seen.getOrCreate(packet.flow); if (flow) flow.count += 1;";

describe("flow", () => {
  it.each([
    ["10.0.0.2", "10.0.0.1"],
    ["fd00::2", "fd00::1"],
  ])("is the same for packets of both directions (%s)", (source, destination) => {
    const there = makeFrame({ source, destination });
    const back = makeFrame({
      source: destination,
      destination: source,
      tcp: { sourcePort: 80, destinationPort: 5001 },
    });
    const arriving = writing(counting, "", "", "tcx_ingress");
    arriving.run(there);
    const leaving = writing(counting, "", "", "tcx_egress");
    leaving.run(back);
    const key = keyOf(destination, source, 80, 5001);
    for (const vm of [arriving, leaving]) expect(vm.state()["0.seen"]).toMatchObject([{ key, fields: { count: 1n } }]);
  });

  it("has ports and addresses of this host and of the peer", () => {
    const body = `out.x = packet.flow.localPort; out.y = packet.flow.remotePort;
    if (sameAddress(packet.flow.local, packet.ip.destination)) out.z = 1;
    if (sameAddress(packet.flow.remote, packet.ip.destination)) out.z = 2;`;
    expect(outputs(writing(body, "", "", "tcx_ingress"), makeFrame())).toEqual([80n, 5001n, 1n]);
    expect(outputs(writing(body, "", "", "tcx_egress"), makeFrame())).toEqual([5001n, 80n, 2n]);
  });
});

describe("state", () => {
  it("get() finds only what getOrCreate() made", () => {
    const vm = writing(
      "if (flag) { const made = seen.getOrCreate(packet.flow); if (made) made.total = 7; }\nconst flow = seen.get(packet.flow); if (flow !== undefined) out.x = flow.total; else out.y = 1;",
    );
    expect(outputs(vm, makeFrame(), { flag: false })).toEqual([0n, 1n, 0n]);
    expect(outputs(vm, makeFrame(), { flag: true })).toEqual([7n, 0n, 0n]);
    expect(outputs(vm, makeFrame(), { flag: false })).toEqual([7n, 0n, 0n]);
  });

  it("keeps each field in its own width, wrapping there", () => {
    const vm = writing(
      "const flow = seen.getOrCreate(packet.flow); if (flow === undefined) return;\nflow.small += 200; flow.half -= 1; flow.count += 0xffff_ffff; flow.total = flow.total + 5; flow.signed -= 3;",
    );
    vm.run(makeFrame());
    vm.run(makeFrame());
    const [{ fields }] = vm.state()["0.seen"];
    expect(fields).toEqual({ small: 144n, half: 0xfffen, count: 0xffff_fffen, total: 10n, signed: -6n });
  });

  it("keeps flows apart by each part of their key", () => {
    const vm = writing(counting);
    const others = [
      { source: "10.0.0.3" },
      { destination: "10.0.0.9" },
      { tcp: { sourcePort: 5002 } },
      { tcp: { destinationPort: 81 } },
      { source: "::ffff:0:2", destination: "::1" },
    ];
    for (const parts of [{}, ...others, {}]) vm.run(makeFrame(parts));
    expect(counts(vm, "0.seen")).toEqual([1, 1, 1, 1, 1, 2]);
  });

  it("forgets the flow not used for longest when there are more than the map holds", () => {
    const source = policySource(`${importEverything}
export const test = actor({ name: "test", state: { few: flows({ count: u32 }, 2) },
  run(packet, _, { few }) { const flow = few.getOrCreate(packet.flow); if (flow) flow.count += 1; } });`);
    const vm = chain({ source, actors: ["test"] }).vm();
    for (const sourcePort of [1, 2, 1, 3]) vm.run(makeFrame({ tcp: { sourcePort } }));
    expect(counts(vm, "0.few")).toEqual([1, 2]);
  });

  it("is each actor's own, also of the same actor twice", () => {
    const vm = chain({ actors: ["record", "record"] }).vm();
    vm.run(makeFrame());
    vm.changeState((name): Record<string, bigint> => (name === "0.flows" ? { packetsIn: 40n } : {}));
    vm.run(makeFrame());
    expect(["0.flows", "1.flows"].map((name) => vm.state()[name][0].fields["packetsIn"])).toEqual([41n, 2n]);
  });

  it("of many actors fits the stack, whatever the size of their records", () => {
    const vm = chain({
      actors: ["record", ["rate_limit", { rate: "1mbit" }], "record", "record", "record", "record"],
    }).vm();
    vm.run(makeFrame());
    const created = Object.entries(vm.state()).filter(([name]) => name.endsWith(".flows"));
    expect(created.map(([, entries]) => entries.length)).toEqual([1, 1, 1, 1, 1, 1]);
  });
});
