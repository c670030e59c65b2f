import { describe, expect, it } from "vitest";
import { makeFrame } from "../testing/packets.ts";
import { chain, type ChainOptions } from "../testing/policy-harness.ts";
import { policySource } from "../testing/policy-source.ts";
import { importEverything } from "../testing/refusals.ts";

const shop = `${importEverything}
export const ports = table(u16, { packets: u32, last: u64 }, 8);
export const verdicts = perPacket({ marks: u32, wide: u64 });
export const totals = perCpu({ packets: u64, bytes: u64 });
type Kept = StateViews<{ ports: typeof ports }>;
export function learnPorts(packet: Packet, { ports }: Kept): void {
  const port = ports.getOrCreate(packet.tcp.sourcePort);
  if (port) port.packets += 1;
}
`;
const imports = `${importEverything.replace("type Tcp }", "type Tcp, type StateViews }")}
import { learnPorts, ports, totals, verdicts } from "./shop.ts";
`;

const others = { "./shop.ts": shop.replace("type Tcp }", "type Tcp, type StateViews }") };

/** Policies of a file that shares the state of ./shop.ts. */
function sharing(text: string, options: Omit<ChainOptions, "source">) {
  return chain({ source: policySource(imports + text, others), ...options }).vm("xdp");
}

const from = (sourcePort: number): Uint8Array => makeFrame({ tcp: { sourcePort } });

const counting = (body: string) =>
  sharing(
    `export const test = actor({ name: "test", state: { ports, out: shared({ x: u64 }) }, run(packet, _, { ports, out }) { ${body} } });`,
    { actors: ["test"] },
  );

const count = (name: string) => `export const ${name} = actor({ name: "${name}", state: { ports },
  run(packet, _, { ports }) { const port = ports.getOrCreate(packet.tcp.sourcePort); if (port) port.packets += 1; } });\n`;

const by = (name: string, extra = "") =>
  `export const ${name} = actor({ name: "${name}", state: { ports }, observe: learnPorts, run(packet) { ${extra} } });\n`;

const claiming = (state: string, body: string) =>
  `export const test = actor({ name: "test", state: { jobs: ${state}, out: shared({ taken: u64 }) }, run(packet, _, { jobs, out }) { ${body} } });`;

describe("table()", () => {
  it("keeps a record per key", () => {
    const vm = counting("const port = ports.getOrCreate(packet.tcp.sourcePort); if (port) port.packets += 1;");
    for (const port of [1, 2, 1]) vm.run(from(port));
    expect(vm.state()["0.ports"]).toEqual([
      { key: "0100", fields: { packets: 2n, last: 0n } },
      { key: "0200", fields: { packets: 1n, last: 0n } },
    ]);
  });

  it("delete() removes a record, and says whether there was one", () => {
    const vm = counting(
      "if (ports.delete(packet.tcp.sourcePort)) out.x += 1; else { const port = ports.getOrCreate(packet.tcp.sourcePort); if (port) port.packets = 1; }",
    );
    for (const port of [1, 1, 1, 2]) vm.run(from(port));
    expect(vm.state()["0.out"][0].fields).toEqual({ x: 1n });
    expect(vm.state()["0.ports"].map(({ key }) => key)).toEqual(["0100", "0200"]);
  });

  it("takes the key in its own type only", () => {
    expect(() => counting("ports.delete(packet.tcp.sequence);")).toThrow("EM1012");
  });
});

describe("state declared once", () => {
  it("is one for all policies of the chain that import it", () => {
    const vm = sharing(count("first") + count("second"), { actors: ["first", "second"] });
    vm.run(from(7));
    expect(vm.state()).toEqual({ "0.ports": [{ key: "0700", fields: { packets: 2n, last: 0n } }] });
  });

  it("of one actor alone is its own at each place of the chain", () => {
    const vm = sharing(count("first"), { actors: ["first", "first"] });
    vm.run(from(7));
    const record = [{ key: "0700", fields: { packets: 1n, last: 0n } }];
    expect(vm.state()).toEqual({ "0.ports": record, "1.ports": record });
  });

  it("of a selector is one for all its uses, and seen by actors", () => {
    const text = `export const often = selector({ name: "often", params: { least: u32 }, state: { ports }, run(packet, { least }, { ports }) {
        const port = ports.get(packet.tcp.sourcePort);
        return port !== undefined && port.packets >= least;
      } });\n${count("first")}`;
    const select = {
      not: {
        or: [
          ["often", { least: 3 }],
          ["often", { least: 2 }],
        ],
      },
    } as const;
    const vm = sharing(text, { select, actors: ["first"] });
    for (let i = 0; i < 5; i++) vm.run(from(7));
    expect(vm.state()).toEqual({ "selector0.ports": [{ key: "0700", fields: { packets: 2n, last: 0n } }] });
    expect(vm.counters().matched).toEqual([0, 3]);
  });
});

describe("perPacket()", () => {
  it("carries values from policy to policy, and begins with zero for each packet", () => {
    const text = `
      export const note = selector({ name: "note", state: { verdicts }, run(packet, _, { verdicts }) { verdicts.marks += 2; return true; } });
      export const add = actor({ name: "add", state: { verdicts }, run(packet, _, { verdicts }) {
        if (packet.tcp.sourcePort === 7) verdicts.marks = verdicts.marks * 5;
        verdicts.wide = 0x1_0000_0000;
      } });
      export const read = actor({ name: "read", state: { verdicts, out: shared({ x: u64, y: u64 }) }, run(packet, _, { verdicts, out }) {
        out.x = verdicts.marks; out.y += verdicts.wide;
      } });`;
    const vm = sharing(text, { select: "note", actors: ["read", "add", "read"] });
    vm.run(from(7));
    vm.run(from(7));
    expect([vm.state()["0.out"][0].fields, vm.state()["2.out"][0].fields]).toEqual([
      { x: 2n, y: 0n },
      { x: 10n, y: 0x2_0000_0000n },
    ]);
    vm.run(from(8));
    expect(vm.state()["2.out"][0].fields["x"]).toBe(2n);
  });
});

describe("perCpu()", () => {
  it("is a record that policies count in", () => {
    const text = `export const test = actor({ name: "test", state: { totals }, run(packet, _, { totals }) { totals.packets += 1; totals.bytes = totals.bytes + packet.length; } });`;
    const vm = sharing(text, { actors: ["test"] });
    vm.run(from(1));
    vm.run(from(1));
    expect(vm.state()["0.totals"][0].fields).toEqual({ packets: 2n, bytes: 2n * BigInt(from(1).length) });
  });
});

describe("observe", () => {
  const none = `export const none = selector({ name: "none", run: () => false });\n`;

  it("learns of packets that no selector wants, once for all that import it", () => {
    const vm = sharing(none + by("first") + by("second"), { select: "none", actors: ["first", "second"] });
    vm.run(from(7));
    vm.run(from(7));
    expect(vm.state()["0.ports"]).toEqual([{ key: "0700", fields: { packets: 2n, last: 0n } }]);
    expect(vm.counters()).toMatchObject({ seen: 2, matched: [0], acted: [0, 0] });
  });

  it("runs before the selectors, which see what it learnt", () => {
    const text = `export const known_port = selector({ name: "known_port", state: { ports },
      observe(packet, { ports }) { learnPorts(packet, { ports }); },
      run(packet, _, { ports }) { return ports.get(packet.tcp.sourcePort) !== undefined; } });`;
    expect(() => sharing(text, { select: "known_port" })).toThrow("EM1001");
    const direct = text.replace("observe(packet, { ports }) { learnPorts(packet, { ports }); }", "observe: learnPorts");
    const vm = sharing(direct, { select: { and: ["known_port", "known_port"] } });
    vm.run(from(7));
    expect(vm.counters().matched).toEqual([1, 1]);
    expect(vm.state()["selector0.ports"][0].fields["packets"]).toBe(1n);
  });

  it("cannot change packets", () => {
    const text = `export const test = actor({ name: "test", observe(packet) { packet.tcp.window = 5; }, run(packet) {} });`;
    expect(() => sharing(text, { actors: ["test"] })).toThrow("EM1028");
  });
});

describe("emit()", () => {
  const declaration = `export const opened = event("opened", { token: u32, key: u64, small: u8, syn: u8 });\n`;
  const emitting = (body: string, rest = "") =>
    sharing(
      `${declaration}${rest}export const test = actor({ name: "test", state: { out: shared({ x: u64, y: u64 }) }, run(packet, _, { out }) { ${body} } });`,
      { actors: ["record", "test"] },
    );
  const one =
    "emit(opened, packet.flow, { token: packet.tcp.sequence, key: 0x1122_3344_5566_7788, small: 5, syn: packet.tcp.syn })";

  it("tells of the flow, the policy, the time and the values", () => {
    const vm = emitting(`if (${one}) out.x = 1;`);
    vm.run(makeFrame({ tcp: { sequence: 0x8000_0001, flags: 0x02 } }));
    expect(vm.events()).toEqual([
      {
        name: "opened",
        policy: { kind: "actor", index: 1 },
        timeNs: vm.clockNs,
        local: "10.0.0.1",
        remote: "10.0.0.2",
        localPort: 80,
        remotePort: 5001,
        fields: { token: 0x8000_0001, key: 0x1122_3344_5566_7788n, small: 5, syn: 1 },
      },
    ]);
    expect(vm.state()["1.out"][0].fields["x"]).toBe(1n);
  });

  it("is false when the buffer is full, and the chain counts it", () => {
    const vm = emitting(`if (${one}) out.x += 1; else out.y += 1;`);
    const size = 256 * 1024;
    const record = 88;
    const room = Math.floor((size - 1) / record);
    for (let i = 0; i < room + 3; i++) vm.run(from(1));
    const { x, y } = vm.state()["1.out"][0].fields;
    expect([x, y, vm.counters().lostEvents]).toEqual([BigInt(room), 3n, 3]);
    expect(vm.events()).toHaveLength(room);
  });

  it("is found in functions that policies call, and in selectors and observers", () => {
    const helper = `function tell(packet: Packet): void { ${one}; }\n`;
    const text = `${declaration}${helper}
      export const test = selector({ name: "test", observe(packet) { tell(packet); }, run(packet) { return ${one}; } });`;
    const vm = sharing(text, { select: "test" });
    vm.run(from(1));
    expect(vm.events().map(({ name, policy }) => [name, policy.kind])).toEqual([
      ["opened", "selector"],
      ["opened", "selector"],
    ]);
  });

  it.each([
    [
      "EM1050",
      "emit(local, packet.flow, { a: 1 });",
      `const fields = { a: u32 }; const local = event("local", fields);`,
    ],
    ["EM1051", `${one}; emit(again, packet.flow, { a: 1 });`, `const again = event("opened", { a: u32 });`],
    ["EM1053", "const values = packet; emit(opened, packet.flow, values as any);", ""],
    ["EM1012", "emit(opened, packet.flow, { token: 1, key: 2, small: packet.tcp.sequence, syn: 0 });", ""],
    ["EM1023", "emit(opened, packet.flow, { token: 1 });", ""],
  ])("%s: %s", (code, body, rest) => {
    expect(() => emitting(body, rest)).toThrow(code);
  });
});

describe("fetchAdd()", () => {
  it("adds, and gives the value before", () => {
    const text = `export const test = actor({ name: "test", state: { out: shared({ x: u64, y: u32, z: u64, w: u64 }) }, run(packet, _, { out }) {
      out.z = out.z * 10 + fetchAdd(out.x, packet.tcp.sourcePort); out.w = out.w * 10 + fetchAdd(out.y, 3); } });`;
    const vm = sharing(text, { actors: ["test"] });
    for (const port of [2, 3, 4]) vm.run(from(port));
    expect(vm.state()["0.out"][0].fields).toEqual({ x: 9n, y: 9n, z: 25n, w: 36n });
  });

  it("refuses what cannot be added to at once", () => {
    const text = `export const test = actor({ name: "test", state: { out: shared({ x: u16 }) }, run(packet, _, { out }) { fetchAdd(out.x, 1); } });`;
    expect(() => sharing(text, { actors: ["test"] })).toThrow("EM1054");
  });
});

describe("compareExchange()", () => {
  it("writes where the field holds what was expected, and gives the value before", () => {
    const text = `export const test = actor({ name: "test", state: { out: shared({ x: u32, y: u64, before: u64, won: u32 }) }, run(packet, _, { out }) {
      const port = packet.tcp.sourcePort;
      if (compareExchange(out.x, 0, port) === 0) out.won += 1;
      out.before = out.before * 10 + compareExchange(out.y, u64(port - 1), port); } });`;
    const vm = sharing(text, { actors: ["test"] });
    for (const port of [1, 2, 7, 3]) vm.run(from(port));
    // y: 0 → 1 → 2, is not 6, → 3.
    expect(vm.state()["0.out"][0].fields).toEqual({ x: 1n, y: 3n, before: 122n, won: 1n });
  });

  it("keeps what is still needed of what it was given", () => {
    const text = `export const test = actor({ name: "test", state: { out: shared({ x: u64, y: u64, z: u64 }) }, run(packet, _, { out }) {
      const port = u64(packet.tcp.sourcePort);
      const wide = port * 3;
      const before = compareExchange(out.x, port, wide);
      out.y = port + wide * 100;
      out.z = before; } });`;
    const vm = sharing(text, { actors: ["test"] });
    vm.run(from(5));
    expect(vm.state()["0.out"][0].fields).toEqual({ x: 0n, y: 1505n, z: 0n });
  });

  it("refuses fields of two bytes", () => {
    const text = `export const test = actor({ name: "test", state: { out: shared({ x: u16 }) }, run(packet, _, { out }) { compareExchange(out.x, 1, 2); } });`;
    expect(() => sharing(text, { actors: ["test"] })).toThrow("EM1054");
  });
});

describe("slots()", () => {
  const text = `export const test = actor({ name: "test", state: { numbered: slots({ packets: u32 }, 3), out: shared({ beyond: u32 }) },
    run(packet, _, { numbered, out }) {
      const slot = numbered.at(packet.tcp.sourcePort);
      if (slot === undefined) out.beyond += 1;
      else slot.packets += 1;
    } });`;

  it("gives the record of a number, and none beyond the last", () => {
    const vm = sharing(text, { actors: ["test"] });
    for (const port of [0, 2, 2, 3, 9]) vm.run(from(port));
    expect(vm.state()["0.numbered"].map(({ fields }) => fields["packets"])).toEqual([1n, 0n, 2n]);
    expect(vm.state()["0.out"][0].fields).toEqual({ beyond: 2n });
  });

  it("is an array that user space can map", () => {
    const { maps } = chain({ source: policySource(imports + text, others), actors: ["test"] }).compile("xdp");
    expect(maps["state0_numbered"]).toMatchObject({ type: "array", maxEntries: 3, flags: 1024 });
  });
});

describe("claim() and offer()", () => {
  it("give each offer to one taker", () => {
    const body = `const job = jobs.getOrCreate(packet.flow); if (!job) return;
      if (packet.tcp.syn) offer(job); else if (claim(job)) { out.taken += 1; job.size += 1; }`;
    const vm = sharing(claiming("claimable(flows({ size: u64 }))", body), { actors: ["test"] });
    const syn = makeFrame({ tcp: { flags: 0x02 } });
    const plain = makeFrame();
    for (const frame of [plain, syn, plain, plain, syn, syn, plain, plain]) vm.run(frame);
    expect(vm.state()["0.out"][0].fields["taken"]).toBe(2n);
    expect(vm.state()["0.jobs"][0].fields).toEqual({ size: 2n });
  });

  it("work on shared records", () => {
    const vm = sharing(claiming("claimable(shared({ size: u64 }))", "if (claim(jobs)) out.taken += 1; offer(jobs);"), {
      actors: ["test"],
    });
    for (let i = 0; i < 3; i++) vm.run(from(1));
    expect(vm.state()["0.out"][0].fields["taken"]).toBe(2n);
  });

  it("are refused for records without a flag", () => {
    expect(() =>
      sharing(claiming("shared({ size: u64 })", "if (claim(jobs)) out.taken += 1;"), { actors: ["test"] }),
    ).toThrow("EM1023");
  });
});
