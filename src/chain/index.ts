/** Policy chains: compose them, submit them, watch and change them while traffic flows. */
export { ActorChain, SelectorChain } from "./compose.ts";
export type { ActorCounters, ChainCounters, SelectorCounters } from "./counters.ts";
export { showSelector, type Attachment, type ChainDescription, type SelectorDescription } from "./description.ts";
export { ChainError, FileError } from "./errors.ts";
export * from "./explain/index.ts";
export { foreign, type ForeignOptions } from "./foreign.ts";
export { importFile, loadChainFile, loadChainOrActor } from "./load.ts";
export { writeObject } from "./object.ts";
export { ParameterError, type Input, type InputRecord } from "./inputs.ts";
export { MemberParameter, MemberSet, type MemberSetOptions } from "./member-set.ts";
export type { MemberRecord } from "./members.ts";
export { PolicyChain, type ChainOptions, type ChainPlan } from "./policy-chain.ts";
export { listChains, openChain, RunningChain, type ChainParts } from "./running.ts";
export { RunningMembers, SetFullError } from "./running-members.ts";
export type { ActorRates, ChainRates, ProgramRates, SelectorRates } from "./rates.ts";
export { policyFile, sourceReader } from "./sources.ts";
export type { FlowRecord } from "./state.ts";
export { ChainBusyError, ChainExistsError, NoSuchChainError } from "./store.ts";
