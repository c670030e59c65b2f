/** What a person is told when something goes wrong. */
// Not through the indexes: they load the compiler, which takes longer than most commands.
import { ChainError, FileError } from "../chain/errors.ts";
import { ParameterError } from "../chain/inputs.ts";
import { ChainBusyError, ChainExistsError, NoSuchChainError } from "../chain/store.ts";
import { CompileError, formatDiagnostic } from "../compiler/frontend/diagnostics.ts";
import { InStackBusyError, InStackError, InStackExistsError, NoSuchInStackError } from "../instack/errors.ts";
import { KernelError, MissingFeaturesError, NoSuchInterfaceError, VerifierError } from "../linux/index.ts";

/** The command line itself is wrong: exit code 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** What was asked could not be done, and the message says why. */
export class CommandError extends Error {
  override readonly name = "CommandError";
}

/** Errors whose message is made for people; of any other a person needs the stack. */
const expected = [
  UsageError,
  CommandError,
  FileError,
  ChainError,
  ChainBusyError,
  ChainExistsError,
  NoSuchChainError,
  ParameterError,
  InStackBusyError,
  InStackError,
  InStackExistsError,
  NoSuchInStackError,
  CompileError,
  KernelError,
  MissingFeaturesError,
  NoSuchInterfaceError,
  VerifierError,
];

export interface ErrorOptions {
  /** The raw log of the verifier, too. */
  readonly verifierLog?: boolean;
  /** The stack of errors that were not expected. */
  readonly debug?: boolean;
}

/** An error as lines for stderr, without a trailing newline. */
export function describeError(error: unknown, { verifierLog = false, debug = false }: ErrorOptions = {}): string {
  if (error instanceof CompileError) {
    const count = error.diagnostics.length;
    const found = count === 1 ? "one thing" : `${count} things`;
    return `emptcp: Cannot compile: ${found} to change\n\n${error.diagnostics.map(formatDiagnostic).join("\n\n")}`;
  }
  if (error instanceof VerifierError) {
    const log = verifierLog ? `\n\n${error.log.trim()}` : "\nThe verifier's whole log: --log-verifier";
    return `emptcp: ${error.message}${log}`;
  }
  const message = error instanceof Error ? error.message : String(error);
  const lines = [`emptcp: ${message}`];
  if (debug && error instanceof Error && error.stack !== undefined) lines.push(error.stack);
  else if (!expected.some((type) => error instanceof type) && isSurprise(error))
    lines.push("This was not expected; EMPTCP_DEBUG=1 shows where it happened");
  return lines.join("\n");
}

/** Errors of the language's own kinds, rather than thrown on purpose with words of their own. */
function isSurprise(error: unknown): boolean {
  if (!(error instanceof Error)) return true;
  const purposeful = /^(Cannot|There is|The |Linux )/.test(error.message);
  return !purposeful;
}
