export { VmError, type VmErrorKind } from "./errors.ts";
export { ArrayMap, HashMap, ProgramArrayMap, RingBufferMap, VmMap, createMap } from "./maps.ts";
export { Vm, type PacketFields, type PacketResult, type RunResult, type SocketResult, type VmOptions } from "./vm.ts";
export type { SocketOptionCall } from "./socket-helpers.ts";
export type { ContextValues, SkbFieldName, SockOpsFieldName, XdpFieldName } from "./context.ts";
