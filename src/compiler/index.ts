/** The compiler: policies in TypeScript to eBPF specs. */
export * from "./compile.ts";
export { checkForeign, ForeignError, foreignMapPrefix } from "./foreign.ts";
export * from "./in-stack.ts";
export * from "./layout.ts";
export * from "./sets.ts";
export * from "./steps.ts";
export { CompileError, formatDiagnostic, type Diagnostic } from "./frontend/diagnostics.ts";
export { selectorsOf, type SelectorTree } from "./frontend/fuse.ts";
export { hooks, isPacketHook, type Hook, type HookFacts, type PacketHook, type SocketHook } from "./frontend/hooks.ts";
export type { MemberUse, PolicyUse } from "./frontend/members.ts";
export type { SourceReader } from "./frontend/program.ts";
export type { ConstantPrefix } from "./frontend/values.ts";
export type { ConstantValue } from "./frontend/views/params.ts";
