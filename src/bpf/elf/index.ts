export type { MapLayout, RecordLayout } from "./map-types.ts";
export { ElfError } from "./container.ts";
export { readElf, readElfProgram, type ElfObject, type ElfProgram, type External } from "./read.ts";
export { sectionName, writeElf, type ObjectSpec } from "./write.ts";
