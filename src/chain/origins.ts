/** Where policies are defined. */
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import type { Policy } from "../policy/index.ts";

/** The path of a module as it stands in a stack trace. */
export function modulePath(module: string): string {
  return module.startsWith("file:") ? fileURLToPath(module) : module;
}

const builtInFolder = fileURLToPath(new URL("../policies", import.meta.url));

/** Whether a policy comes with this package, so that its name says where it is defined. */
export function isBuiltIn({ module }: Policy): boolean {
  return dirname(modulePath(module)) === builtInFolder;
}
