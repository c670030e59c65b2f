export { VmError, type VmErrorKind } from "./errors.ts";
export { ArrayMap, HashMap, ProgramArrayMap, RingBufferMap, SocketStorageMap, VmMap, createMap } from "./maps.ts";
export { KernelObjects, type FieldValue } from "./kernel-objects.ts";
export type { KernelCall, KernelFunction } from "./kernel-functions.ts";
export { OperationsVm } from "./operations.ts";
export {
  Vm,
  type OperationResult,
  type PacketFields,
  type PacketResult,
  type RunResult,
  type SocketResult,
  type VmOptions,
} from "./vm.ts";
export type { SocketOptionCall } from "./socket-helpers.ts";
export type { ContextValues, SkbFieldName, SockOpsFieldName, XdpFieldName } from "./context.ts";
