/** Where policies are defined. */
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Policy } from "../policy/index.ts";

/** The path of a module as it stands in a stack trace. */
export function modulePath(module: string): string {
  return module.startsWith("file:") ? fileURLToPath(module) : module;
}

const builtIns = fileURLToPath(new URL("../policies", import.meta.url));
const builtInFolders: readonly string[] = [builtIns, join(builtIns, "stack")];

/** Whether a policy comes with this package, so that its name says where it is defined. */
export function isBuiltIn({ module }: Policy): boolean {
  return builtInFolders.includes(dirname(modulePath(module)));
}
