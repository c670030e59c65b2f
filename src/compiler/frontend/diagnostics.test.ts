import { describe, expect, it } from "vitest";
import { chain } from "../testing/policy-harness.ts";
import { actorAround, diagnosticsOf, importEverything } from "../testing/refusals.ts";
import { formatDiagnostic } from "./diagnostics.ts";

/** A refused policy; `¦` stands where the diagnostic points. */
type Case = readonly [code: string, what: string, source: string, message: RegExp];

const manyFields = Array.from({ length: 60 }, (_, i) => `field${i}: u64`).join(", ");
/** Calls that no optimisation can leave out, some 20 000 of them once they are inlined. */
const endless = `function one(all: { count: number }): void { ${"all.count += now();\n".repeat(150)} }
function many(all: { count: number }): void { ${"one(all);\n".repeat(150)} }`;
const header = `${importEverything}\n`;

const cases: readonly Case[] = [
  ["EM1001", "an array", actorAround("const list = ¦[1, 2];"), /^An array is not part of the policy language$/],
  ["EM1001", "an object", actorAround("const both = ¦{ a: 1 };"), /^An object literal/],
  ["EM1001", "indexing", actorAround('const flag = ¦packet.tcp["syn"];'), /^Indexing with \[\]/],
  ["EM1001", "a class", actorAround("¦class Thing {}"), /^A class/],
  ["EM1001", "a label", actorAround("¦outer: for (let i = 0; i < 3; i++) {}"), /^A label/],
  ["EM1001", "a regular expression", actorAround("const pattern = ¦/a/;"), /^A regular expression/],
  ["EM1001", "var", actorAround("¦var count = 1;"), /^var is not/],
  ["EM1001", "++ as a value", actorAround("let i = 0; const j = ¦i++;"), /^\+\+ or -- inside/],
  ["EM1001", "an assignment as a value", actorAround("let i = 0; const j = (i ¦= 5);"), /^The operator =/],
  ["EM1001", "optional chaining", actorAround("const n = ¦state.seen.get(packet.flow)?.count;"), /^\?\./],
  ["EM1001", "a generator", `${header}export const test = actor({ name: "test", ¦*run(packet) {} });`, /./],
  ["EM1001", "a rest parameter", actorAround("pick(1);", "¦function pick(...all: any): void {}"), /^A rest parameter/],
  ["EM1001", "division of signed integers", actorAround("state.all.count += u64(¦i32(params.number) / 2);"), /signed/],
  [
    "EM1001",
    "looping over something else",
    actorAround("for (const one of ¦packet as any) {}"),
    /^Looping over packet/,
  ],
  ["EM1002", "a closure", actorAround("const add = ¦(x: number) => x + 1; add(2);"), /closure/],
  ["EM1002", "a function inside a policy", actorAround("¦function inner() {}\ninner();"), /closure/],
  [
    "EM1003",
    "recursion",
    actorAround("count(3);", "function count(n: number): u32 { if (n === 0) return 0; return ¦count(n - 1); }"),
    /^count calls itself/,
  ],
  ["EM1004", "while", actorAround("let i = 0;\n  ¦while (i < 5) i++;"), /no bound/],
  ["EM1004", "do", actorAround("let i = 0;\n¦do { i++; } while (i < 5);"), /no bound/],
  ["EM1004", "a bound that varies", actorAround("¦for (let i = 0; i < params.number; i++) {}"), /no bound/],
  ["EM1004", "a counter that is changed", actorAround("¦for (let i = 0; i < 9; i++) { i = 0; }"), /no bound/],
  ["EM1004", "too many turns", actorAround("¦for (let i = 0; i < 1025; i++) {}"), /no bound/],
  ["EM1004", "for without end", actorAround("¦for (;;) {}"), /no bound/],
  ["EM1005", "a float", actorAround("const share = packet.length * ¦0.5;"), /^0\.5 is not an integer/],
  ["EM1006", "a string compared", actorAround('if (¦"a" < "b") packet.drop();'), /string/],
  ["EM1007", "throw", actorAround('¦throw "no";'), /throw or catch/],
  ["EM1007", "try", actorAround("¦try { packet.drop(); } catch {}"), /throw or catch/],
  ["EM1008", "a variable of the file", actorAround("const n = ¦limit;", "let limit = 5;"), /^limit is not/],
  ["EM1009", "an unknown property", actorAround("const n = ¦(packet as any).colour;"), /^packet has no colour /],
  ["EM1009", "an unknown method", actorAround("(packet as any).¦clone();"), /^packet has no clone\(\) /],
  [
    "EM1011",
    "a field that is readonly",
    actorAround("const tcp = packet.tcp as any; ¦tcp.sequence = 5;"),
    /^tcp\.sequence cannot be written$/,
  ],
  [
    "EM1011",
    "a constant",
    actorAround("change(1);", "function change(n: number): void { ¦n = 2; }"),
    /^n cannot be written/,
  ],
  [
    "EM1012",
    "narrowing in an assignment",
    actorAround("packet.tcp.window = packet.length * 2;"),
    /^A value of type u32 does not fit into u16$/,
  ],
  [
    "EM1012",
    "narrowing in a declaration",
    actorAround("const ¦n: u8 = packet.tcp.window * 1;"),
    /^A value of type u16 does not fit into u8$/,
  ],
  [
    "EM1012",
    "narrowing in a call",
    actorAround("f(¦packet.length + 1);", "function f(n: u8): void {}"),
    /type u32 does not fit/,
  ],
  [
    "EM1012",
    "narrowing in a result",
    actorAround("f(1);", "function f(n: u32): u8 { return ¦n + 1; }"),
    /type u32 does not fit/,
  ],
  ["EM1013", "a number too large", actorAround("¦packet.tcp.window = 65536;"), /^65536 is out of the range of u16$/],
  ["EM1013", "a negative number", actorAround("¦packet.tcp.window = -1;"), /^-1 is out of the range of u16$/],
  [
    "EM1014",
    "signed with unsigned",
    actorAround("if (¦i32(1) * 1 < packet.length) return;"),
    /^Cannot combine an i32 and a u32$/,
  ],
  ["EM1015", "a boolean as a number", actorAround("const n = ¦(packet.tcp.syn as any) + 1;"), /this is a boolean$/],
  ["EM1016", "a number as a condition", actorAround("if (¦packet.length) return;"), /this is a u32$/],
  ["EM1017", "==", actorAround("if (packet.length ¦== 5) return;"), /^== converts/],
  [
    "EM1018",
    "an offset that varies",
    actorAround("for (const option of packet.tcp.options) ¦option.u8(params.number);"),
    /^The offset in an option has to be/,
  ],
  ["EM1018", "a case that varies", actorAround("switch (packet.length) { case ¦params.number: break; }"), /^A case/],
  [
    "EM1018",
    "a constant made by a call",
    actorAround("state.all.count += start;", "const start = ¦now();"),
    /^start has to be a constant$/,
  ],
  ["EM1019", "a reason that is no literal", actorAround("const why = 'no'; return ¦cannot(why);"), /string literal/],
  ["EM1019", "a reason with capitals", actorAround('return ¦cannot("No Room");'), /string literal/],
  ["EM1019", "cannot() elsewhere", actorAround("f();", 'function f(): void { ¦cannot("no"); }'), /actor's own/],
  [
    "EM1020",
    "falling through",
    actorAround("let n = 0; switch (packet.length) { ¦case 1: n = 1; case 2: n = 2; }"),
    /goes on/,
  ],
  ["EM1021", "an unclear result", actorAround("¦f();", "function f() { const n = 1; return n; }"), /that f returns/],
  [
    "EM1022",
    "large records",
    `${header}export const test = actor({ name: "test", state: { seen: flows({ ${manyFields} }) },
¦run(packet, _, { seen }) { const flow = seen.getOrCreate(packet.flow); if (flow) flow.field1 += 1; } });`,
    /^\d+ bytes of stack are needed/,
  ],
  ["EM1023", "a type error", actorAround("packet.¦colour;"), /colour/],
  [
    "EM1023",
    "a type error in a helper",
    actorAround("f();", 'function f(): void { const ¦n: number = "a"; }'),
    /string/,
  ],
  ["EM1023", "a syntax error", actorAround("if (¦) return;"), /Expression expected/],
  ["EM1023", "async", actorAround("f();", "async function ¦f() {}"), /Promise/],
  ["EM1024", "a policy that is not there", `¦${header}`, /^No policy named test/],
  [
    "EM1025",
    "comparing addresses",
    actorAround("if (¦packet.ip.source === packet.ip.destination) return;"),
    /sameAddress/,
  ],
  [
    "EM1063",
    "no address",
    actorAround('if (¦sameAddress(packet.ip.source, "10.0.0")) return;'),
    /^"10.0.0" is no IP address$/,
  ],
  [
    "EM1063",
    "a prefix with bits behind it",
    actorAround("if (¦inPrefix(packet.ip.source, net)) return;", 'const net = "10.0.0.1/8";'),
    /^"10.0.0.1\/8" is no IP prefix$/,
  ],
  [
    "EM1026",
    "a record that was not tested",
    actorAround("const flow = state.seen.get(packet.flow);\n¦flow.count += 1;"),
    /^flow may be undefined here$/,
  ],
  [
    "EM1026",
    "a record that a helper does not test",
    actorAround(
      "bump(state.seen.get(packet.flow));",
      "function bump(flow: { count: number } | undefined) { ¦flow.count += 1; }",
    ),
    /^flow may be undefined here$/,
  ],
  [
    "EM1027",
    "a chain without end",
    actorAround("if (packet.length > 5) many(state.all);", endless).replace("run(", "¦run("),
    /^The compiled chain has \d+/,
  ],
  [
    "EM1028",
    "a selector that writes",
    `${header}export const test = selector({ name: "test", run(packet) { ¦packet.tcp.window = 5; return true; } });`,
    /only looks/,
  ],
  [
    "EM1028",
    "a selector that drops",
    `${header}export const test = selector({ name: "test", run(packet) { ¦packet.drop(); return true; } });`,
    /only looks/,
  ],
  [
    "EM1028",
    "a selector that removes an option",
    `${header}export const test = selector({ name: "test", run({ tcp }) {
  for (const option of tcp.options) ¦option.remove();
  return true;
} });`,
    /only looks/,
  ],
  [
    "EM1029",
    "options in options",
    actorAround(
      "for (const a of packet.tcp.options) { ¦for (const b of packet.tcp.options) { if (a.kind === b.kind) return; } }",
    ),
    /inside another/,
  ],
];

describe("compileChain() refuses", () => {
  it.each(cases)("%s: %s", (code, _what, marked, message) => {
    const at = marked.indexOf("¦");
    const found = diagnosticsOf(marked.replace("¦", ""));
    const before = marked.slice(0, Math.max(0, at)).split("\n");
    expect(found.map((one) => one.code)).toContain(code);
    const [first] = found;
    expect(first.message).toMatch(message);
    if (at < 0) return;
    const { line, column } = first.position;
    expect({ line, column }, formatDiagnostic(first)).toEqual({
      line: before.length,
      column: before.at(-1)!.length + 1,
    });
  });
});

describe("compileChain() refuses on the socket hooks", () => {
  it.each([
    ["packet_type", { type: "data" }, "packet.tcp.payloadLength"],
    ["packet_type", { type: "rst" }, "packet.tcp.rst"],
    ["packet_type", { type: "dss" }, "packet.tcp.options"],
  ])("EM1010: %s %j, which needs %s", (selector, inputs, missing) => {
    const limited = chain({ select: [selector, inputs], actors: [["pace", { rate: "1mbit" }]] });
    expect(() => limited.compile("sock_ops")).toThrow(`EM1010: ${missing} does not exist on the socket hook`);
  });
});
