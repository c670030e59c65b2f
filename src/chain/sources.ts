/** Finds and reads the TypeScript sources that policies are compiled from. */
import { existsSync, readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import type { SourceReader } from "../compiler/index.ts";
import type { Policy } from "../policy/index.ts";
import { modulePath } from "./origins.ts";

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

/**
 * The TypeScript file behind a module: itself, or what the source map of a compiled module names.
 * @throws Error when there is none
 */
export function sourceOf(module: string): string {
  const path = modulePath(module);
  if (/\.[cm]?ts$/.test(path)) return path;
  const map = /\/\/# sourceMappingURL=(\S+)\s*$/.exec(read(path) ?? "")?.[1];
  const text = map && read(resolve(dirname(path), map));
  const source = text && (JSON.parse(text) as { sources?: string[] }).sources?.[0];
  const found = source && resolve(dirname(path), source);
  if (found && existsSync(found)) return found;
  throw new Error(
    `Cannot find the TypeScript source of ${path}: a policy is compiled from its source. ` +
      "Define it in a .ts file, or keep the .ts file and the source map beside the compiled one",
  );
}

export const sourceReader: SourceReader = {
  read,
  policyLibrary: sourceOf(
    new URL(import.meta.url.endsWith(".ts") ? "../policy/index.ts" : "../policy/index.js", import.meta.url).href,
  ),
};

/** The file that defines a policy. @throws Error when it cannot be found */
export function policyFile(policy: Policy): string {
  return policy.foreign ? policy.foreign.file : sourceOf(policy.module);
}
