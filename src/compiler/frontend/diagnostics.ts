/** Numbered diagnostics: what in a policy cannot be compiled, where, and what to write instead. */
import type { SourcePosition } from "../../bpf/instruction.ts";

export interface Diagnostic {
  /** `EM1001` …; stable over releases. */
  readonly code: string;
  readonly message: string;
  /** What to write instead. */
  readonly advice: string;
  readonly position: SourcePosition;
}

/** `name` stands for the thing at fault, `detail` for a second one. */
const table = {
  notInSubset: [
    "EM1001",
    "$1 is not part of the policy language",
    "Use const, let, if, bounded for, for-of over options, switch and return",
  ],
  closure: [
    "EM1002",
    "A function made inside a policy is a closure, which the kernel cannot run",
    "Move it to the top of the file as a function declaration",
  ],
  recursion: ["EM1003", "$1 calls itself, and the kernel allows no recursion", "Use a bounded for loop"],
  unboundedLoop: [
    "EM1004",
    "This loop has no bound that is known here",
    "Write for (let i = 0; i < N; i++) with a constant N of at most 1024 and leave i alone in the body",
  ],
  notText: ["EM1062", "A name is needed here, this is $1", 'Use a text(15) parameter, or a literal such as "cubic"'],
  float: [
    "EM1005",
    "$1 is not an integer, and the kernel has no floating point",
    "Use integers: scale the value, for example to thousandths",
  ],
  stringValue: [
    "EM1006",
    "A string can only be compared with a choice parameter or an event",
    "Use a choice(…) parameter, or an integer constant",
  ],
  exception: [
    "EM1007",
    "A policy cannot throw or catch",
    'Return early; an actor says why with return cannot("reason")',
  ],
  unknownName: [
    "EM1008",
    "$1 is not a policy function, a constant or something of emptcp/policy",
    "Policies may use their parameters, integer constants and functions of their own files, and emptcp/policy",
  ],
  unknownMember: ["EM1009", "$1 has no $2 that a policy can use", "See the declarations of emptcp/policy"],
  wrongHook: [
    "EM1010",
    "$1 does not exist on the $2 hook",
    "Attach the chain to another hook, or leave this out there",
  ],
  readOnly: [
    "EM1011",
    "$1 cannot be written",
    "Only variables declared with let and fields declared without readonly can be changed",
  ],
  narrowing: ["EM1012", "A value of type $1 does not fit into $2", "Convert it where that is meant: $2(…)"],
  outOfRange: ["EM1013", "$1 is out of the range of $2", "Use a value that fits, or a wider type"],
  mixedTypes: ["EM1014", "Cannot combine $1 and $2", "Convert one of them first"],
  notInteger: [
    "EM1015",
    "An integer is needed here, this is $1",
    "Compare booleans with &&, || and !, numbers with ===",
  ],
  notBoolean: ["EM1016", "A condition is needed here, this is $1", "Compare explicitly: x !== 0"],
  looseEquality: ["EM1017", "$1 converts its operands before it compares", "Use === or !=="],
  notConstant: ["EM1018", "$1 has to be a constant", "Write the number itself, or a const of this file"],
  cannotLiteral: [
    "EM1019",
    "cannot() takes one string literal of a-z and _, in the actor's own function",
    'Write return cannot("no_room")',
  ],
  fallthroughCase: ["EM1020", "This case goes on into the next one", "End it with break or return"],
  needsReturnType: ["EM1021", "The type that $1 returns is not clear", "Declare it: function $1(…): u32"],
  tooMuchStack: [
    "EM1022",
    "$1 bytes of stack are needed, the kernel gives 512",
    "Use fewer variables and map look-ups that are alive at the same time",
  ],
  typeScript: ["EM1023", "$1", "The file has to type-check first"],
  noPolicy: [
    "EM1024",
    "No policy named $1 is defined in this file",
    'Define it with selector({ name: "$1", run(…) { … } }), actor or socketActor, imported by name and written out there',
  ],
  addressUse: [
    "EM1025",
    "An address can only be used with sameAddress, inPrefix and in a flow",
    "Compare it with sameAddress(a, b) or inPrefix(a, prefix)",
  ],
  maybeUndefined: ["EM1026", "$1 may be undefined here", "Test it first: if (x === undefined) return;"],
  notAddress: [
    "EM1063",
    "$1 is no IP $2",
    "Write an address such as 10.0.0.1 or 2001:db8::1, a prefix with its length, 10.0.0.0/8, and zeros behind it",
  ],
  tooLarge: ["EM1027", "The compiled chain has $1 instructions, more than a jump can span", "Split the chain in two"],
  selectorEffect: ["EM1028", "A selector only looks at packets, and this changes one", "Do it in an actor"],
  nestedOptions: [
    "EM1029",
    "A loop over options inside another one is more than the kernel's verifier follows",
    "Use two loops one after the other: keep what the first one finds in a variable",
  ],
  memberResult: [
    "EM1060",
    "What tells a member of a set apart is not clear here",
    "End the function with return { field: value, … }, one field for each parameter that is a number or an address",
  ],
  noMember: [
    "EM1061",
    "With these constants a packet would be several members of the set",
    "Give the set other constants, or select by a constant",
  ],
  notOption: [
    "EM1030",
    "An option is needed here, this is $1",
    "Write its bytes, [kind.mptcp, 4, (subtype.priority << 4) | 1, id], or give a field of type bytes(n)",
  ],
  findFunction: [
    "EM1032",
    "find() takes a function of this file or of one it imports",
    "Declare it at the top: function isWanted(option: TcpOption): boolean { … }, and write options.find(isWanted)",
  ],
  optionLength: [
    "EM1031",
    "An option of $1 bytes does not fit here",
    "Give kind, length and what follows: 2 to 40 bytes in all, or what the field has",
  ],
  eventDeclaration: [
    "EM1050",
    "The compiler cannot read the declaration of this event",
    'Declare it at the top of a module: export const joined = event("joined", { token: u32 }), with integer types',
  ],
  eventTwice: [
    "EM1051",
    'The chain emits two different events called "$1"',
    "Give one of them another name, or import the other one",
  ],
  eventFlow: ["EM1052", "An event is about a flow", "Write emit(event, packet.flow, { … })"],
  eventValues: [
    "EM1053",
    "An event needs a value for each of its fields, written out",
    "Write emit(event, packet.flow, { field: value, … })",
  ],
  notAtomic: [
    "EM1054",
    "$1 cannot be changed atomically",
    "Use a field of 4 or 8 bytes of a record of state that is in a map: any kind but perPacket",
  ],
  notClaimable: ["EM1055", "$1 has no flag to take", "Declare the state as claimable(flows(…)) or the like"],
  observeFunction: [
    "EM1056",
    "What observe names is not a function that can be compiled",
    "Write observe(packet, state) { … }, or name a function declared at the top of a module",
  ],
  stackOperation: ["EM1070", "$1 is no operation of in-stack policies", "The operations are $2"],
  stackSocket: [
    "EM1071",
    "$1 works on the socket that the operation is given",
    "Pass the operation's own socket, and its sample, on as they are",
  ],
  scheduled: [
    "EM1074",
    "schedule() takes one of the connection's subflows",
    "Write for (const one of connection.subflows) { … schedule(one); }",
  ],
  stackLimit: ["EM1072", "The kernel does not allow $1 in $2", "Do it in another operation"],
  kernelField: [
    "EM1073",
    "field() takes the path of a field, written out, and an integer type: it cannot read $1",
    'Write field("$2", u32)',
  ],
} as const satisfies Record<string, readonly [code: string, message: string, advice: string]>;

export type DiagnosticName = keyof typeof table;

/** Makes a diagnostic; `$1`, `$2` of its texts become the arguments. */
export function diagnose(
  name: DiagnosticName,
  position: SourcePosition,
  ...args: readonly (string | number)[]
): Diagnostic {
  const [code, message, advice] = table[name];
  const fill = (text: string): string => text.replace(/\$(\d)/g, (_, n: string) => String(args[Number(n) - 1] ?? ""));
  return { code, message: fill(message), advice: fill(advice), position };
}

/** `file:line:column - EM1004: message`, the source line with a caret, and the advice. */
export function formatDiagnostic({ code, message, advice, position }: Diagnostic): string {
  const { file, line, column, text } = position;
  const margin = String(line).length;
  const indent = text.slice(0, column - 1).replace(/[^\t]/g, " ");
  return [
    `${file}:${line}:${column} - ${code}: ${message}`,
    `${line} | ${text}`,
    `${" ".repeat(margin)} | ${indent}^`,
    `${" ".repeat(margin)} = ${advice}`,
  ].join("\n");
}

/** A policy that cannot be compiled, with everything found wrong. */
export class CompileError extends Error {
  readonly diagnostics: readonly Diagnostic[];
  constructor(diagnostics: readonly Diagnostic[]) {
    super(diagnostics.map(formatDiagnostic).join("\n\n"));
    this.name = "CompileError";
    this.diagnostics = diagnostics;
  }
}
