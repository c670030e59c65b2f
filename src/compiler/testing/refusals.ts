/** Policies that the compiler refuses, for tests of its diagnostics. */
import type { Policy } from "../../policy/index.ts";
import { CompileError, compileChain, type Diagnostic, type Hook } from "../index.ts";
import { mainFile, policySource } from "./policy-source.ts";

/** All that a policy may import. */
const everything =
  "actor selector socketActor min max now cannot sameAddress inPrefix subtype kind flows shared u8 u16 u32 u64 i32 i64 " +
  "bool choice text fallback address prefix rate known table perCpu perPacket perSocket slots claimable hostWide bytes event emit fetchAdd compareExchange claim offer mptcpHmac mptcpToken mptcpTokenV0 type_Packet type_Flow type_TcpOption type_Tcp";
export const importEverything = `import { ${everything.split(" ").join(", ").replaceAll("_", " ")} } from "emptcp/policy";`;

/** A file with one actor named `test` around `body`; `rest` goes on behind it. Its parameters and state are of all kinds. */
export function actorAround(body: string, rest = ""): string {
  return `${importEverything}
export const test = actor({
  name: "test",
  params: { number: u32, wide: u64, flag: bool, word: choice("one", "two") },
  state: { seen: flows({ count: u32, small: u8, total: u64, signed: i32 }), all: shared({ count: u64 }) },
  run(packet, params, state) {
${body}
  },
});
${rest}`;
}

/** What an actor is to the compiler when its file cannot even be evaluated. */
const bare: Policy = {
  kind: "actor",
  on: "packet",
  name: "test",
  params: {},
  state: {},
  observes: false,
  hasMembers: false,
  direction: "ingress",
  module: mainFile,
};

/**
 * Compiles the policy named `test` of a file: its diagnostics, or none. Any other error is the caller's to see.
 * @param others further files by path
 */
export function diagnosticsOf(text: string, hook: Hook = "xdp", others: Readonly<Record<string, string>> = {}) {
  let policy = bare;
  let source = policySource("");
  try {
    source = policySource(text, others);
    policy = source.policies.get("test") ?? bare;
  } catch {
    source = policySource("");
  }
  const { reader } = source;
  const read = (path: string): string | undefined => (path === mainFile ? text : reader.read(path));
  const use = { policy, file: mainFile, constants: {} };
  const chain =
    policy.kind === "actor"
      ? ({ name: "test", selector: { op: "any" }, actors: [use] } as const)
      : ({ name: "test", selector: { op: "policy", use }, actors: [] } as const);
  try {
    compileChain(chain, [hook], { ...reader, read });
    return [] satisfies Diagnostic[];
  } catch (error) {
    if (error instanceof CompileError) return error.diagnostics;
    throw error;
  }
}
