/** Policies written as text inside a test: evaluated for what they declare, compiled from the same text. */
import { posix } from "node:path";
import { runInThisContext } from "node:vm";
import ts from "#typescript";
import { sourceReader } from "../../chain/sources.ts";
import * as language from "../../policy/index.ts";
import type { Policy } from "../../policy/index.ts";
import type { SourceReader } from "../index.ts";

/** Where the policies of a test are said to lie. */
export const mainFile = "/policies/main.ts";

export interface PolicySource {
  readonly reader: SourceReader;
  /** The policies that the files define, by name. */
  readonly policies: ReadonlyMap<string, Policy>;
}

/**
 * @param text the main file; it may import `emptcp/policy` and `others`
 * @param others further files by path, such as `./helper.ts`
 */
export function policySource(text: string, others: Readonly<Record<string, string>> = {}): PolicySource {
  const files = new Map([[mainFile, text]]);
  for (const [path, other] of Object.entries(others)) files.set(posix.resolve(posix.dirname(mainFile), path), other);
  const reader = { ...sourceReader, read: (path: string) => files.get(path) ?? sourceReader.read(path) };
  return { reader, policies: definitions(files) };
}

/** Runs the files as JavaScript and notes what they define. */
function definitions(files: ReadonlyMap<string, string>): Map<string, Policy> {
  const found = new Map<string, Policy>();
  const noting =
    <A extends readonly unknown[]>(define: (...args: A) => Policy) =>
    (...args: A): Policy => {
      const policy = define(...args);
      found.set(policy.name, policy);
      return policy;
    };
  const library = {
    ...language,
    selector: noting(language.selector),
    actor: noting(language.actor),
    socketActor: noting(language.socketActor),
    congestionControl: noting(language.congestionControl),
    scheduler: noting(language.scheduler),
  };
  const modules = new Map<string, object>();
  const load = (path: string): object => {
    const known = modules.get(path);
    if (known) return known;
    const exports = {};
    modules.set(path, exports);
    const { outputText } = ts.transpileModule(files.get(path) ?? "", {
      compilerOptions: { module: ts.ModuleKind.CommonJS, target: ts.ScriptTarget.ES2022 },
    });
    const require = (specifier: string): object =>
      specifier === "emptcp/policy" ? library : load(posix.resolve(posix.dirname(path), specifier));
    const body = runInThisContext(`(function (exports, require) {${outputText}\n})`) as (...args: unknown[]) => void;
    body(exports, require);
    return exports;
  };
  load(mainFile);
  return found;
}
