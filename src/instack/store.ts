/** Where actors in the stack live: one directory each below the BPF file system; see chain/pins.ts. */
import { aboutPin, nameIn, PATIENCE_MS, PinStore, stackFolder } from "../chain/pins.ts";
import { openMap, startTimeOf } from "../linux/index.ts";
import { decodeDescription, type StackDescription } from "./description.ts";
import { InStackBusyError, InStackError, InStackExistsError, NoSuchInStackError } from "./errors.ts";

/** What the kernel takes as a name of congestion control, and the BPF file system as that of a directory. */
const namePattern = /^[A-Za-z0-9_]{1,15}$/;

/** The link that registers the operations, and the map that holds them. */
export const linkPin = "link_struct_ops";
export const operationsPin = "struct_ops";

export const stackStore = new PinStore({
  folder: stackFolder,
  mark: "stack",
  names: namePattern,
  exists: (name) => new InStackExistsError(name, "ours"),
  missing: (name) => new NoSuchInStackError(name, stackStore.names()),
  busy: (name) => new InStackBusyError(name, PATIENCE_MS / 1000),
});

/** @throws InStackError */
export function checkStackName(name: string): void {
  if (!namePattern.test(name))
    throw new InStackError(
      `Cannot register "${name}" in the stack: the kernel takes names of letters, digits and _, at most 15`,
    );
}

export function readStackDescription(directory: string): StackDescription {
  using about = openMap(`${directory}/${aboutPin}`);
  return decodeDescription(about.lookup(new Uint8Array(4))!, nameIn(directory));
}

/** Whether the process that registered it has ended though it was to go with it. */
export function isOwnerless({ stays, owner }: StackDescription): boolean {
  return !stays && startTimeOf(owner.pid) !== owner.started;
}
