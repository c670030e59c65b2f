/** Imports what users write in files of their own, in TypeScript, too. */
import { existsSync, statSync } from "node:fs";
import { register } from "node:module";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { FileError } from "./errors.ts";

let hooked = false;

/** Only what is built has hooks that Node can run; under a test runner, which strips types itself, there is nothing to do. */
function hookLoader(): void {
  if (hooked || !import.meta.url.endsWith(".js")) return;
  register("./load-hooks.js", import.meta.url);
  hooked = true;
}

/**
 * Imports a `.ts`, `.js` or `.mjs` file, wherever it is; it may import `emptcp`.
 * @param version a file that was imported before is read again when it has another number
 * @throws FileError with the line at fault
 */
export async function importFile(file: string, version?: number): Promise<Readonly<Record<string, unknown>>> {
  const path = resolve(file);
  if (!existsSync(path) || !statSync(path).isFile()) throw new FileError(`Cannot load ${file}: there is no such file`);
  if (!/\.m?[jt]s$/.test(path)) throw new FileError(`Cannot load ${file}: it is no .ts, .js or .mjs file`);
  hookLoader();
  // So that the lines in stack traces are those of the TypeScript.
  process.setSourceMapsEnabled(true);
  try {
    const { href } = pathToFileURL(path);
    return (await import(version ? `${href}?version=${version}` : href)) as Record<string, unknown>;
  } catch (cause) {
    throw new FileError(`Cannot load ${file}: ${describeFailure(cause, path)}`, { cause });
  } finally {
    process.setSourceMapsEnabled(false);
  }
}

function describeFailure(error: unknown, path: string): string {
  if (!(error instanceof Error)) return String(error);
  if (error instanceof SyntaxError) return error.message.startsWith("/") ? error.message : syntaxErrorOf(error, path);
  // Where in the user's file it went wrong: the topmost frame there.
  const frame = (error.stack ?? "").split("\n").find((line) => line.trim().startsWith("at ") && line.includes(path));
  const place = frame && /:(\d+):(\d+)\)?$/.exec(frame);
  return `${place ? `${path}:${place[1]}:${place[2]}: ` : ""}${error.message}`;
}

/** JavaScript's own syntax errors begin their stack with the place. */
function syntaxErrorOf(error: SyntaxError, path: string): string {
  const place = /^file:\/\/\S+?:(\d+)$/m.exec(error.stack ?? "")?.[1];
  return `${path}${place === undefined ? "" : `:${place}`}: ${error.message}`;
}
