/** Controllers in files of users, and what happens when a file changes. */
import { watch } from "node:fs";
import { basename, dirname, resolve } from "node:path";
// Not through the index, which loads the compiler.
import { FileError } from "../chain/errors.ts";
import { importFile } from "../chain/import-file.ts";
import { isController, type Controller } from "./controller.ts";

/**
 * The controllers that a file exports as its default: one, or a list of them.
 * @param version tells Node's module cache one reading of the file from another; files that it imports are read once
 * @throws FileError
 */
export async function loadControllers(file: string, version?: number): Promise<readonly Controller[]> {
  const exported = (await importFile(file, version))["default"];
  const found: readonly unknown[] = Array.isArray(exported) ? exported : [exported];
  if (found.length > 0 && found.every(isController)) return found;
  const example = 'export default controller({ name: "mine", … }), or a list of controllers';
  const reason =
    exported === undefined
      ? "it has no default export"
      : typeof exported === "function"
        ? "its default export is a function that makes one: call it"
        : 'its default export is no controller, made by controller() of "emptcp/paths"';
  throw new FileError(`Cannot load controllers from ${file}: ${reason}; ${example}`);
}

/** Editors write in several steps. */
const settleMs = 50;

/** Calls `changed` when files are written or replaced, until the function returned is called. */
export function watchFiles(files: readonly string[], changed: () => void): () => void {
  const paths = new Set(files.map((file) => resolve(file)));
  let timer: NodeJS.Timeout | undefined;
  // Directories rather than files, which many editors replace by others of the same name.
  const watchers = [...new Set([...paths].map((path) => dirname(path)))].map((directory) =>
    watch(directory, (_event, name) => {
      if (name === null || !paths.has(resolve(directory, basename(name)))) return;
      clearTimeout(timer);
      timer = setTimeout(changed, settleMs);
    }),
  );
  return () => {
    clearTimeout(timer);
    for (const one of watchers) one.close();
  };
}
