/** What can be wrong with a chain as it was composed, or with the file it comes from. */

/** A chain that has no interface, no actor that fits, or options that contradict each other. */
export class ChainError extends Error {
  override readonly name = "ChainError";
}

/** A file that cannot be loaded, or that is not what it should be. */
export class FileError extends Error {
  override readonly name = "FileError";
}
