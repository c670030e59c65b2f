/**
 * Runs in Node's module loader thread: strips types from `.ts` files, because Node 20 does not, and lets files anywhere import
 * `emptcp`. A module keeps its URL, by which a policy's source is found again.
 */
import { fork, type ChildProcess } from "node:child_process";
import { readFile } from "node:fs/promises";
import type { LoadHook, ResolveHook } from "node:module";
import { fileURLToPath } from "node:url";
import type { StripAnswer, StripRequest } from "./strip-types.ts";

const isOwn = (specifier: string) => specifier === "emptcp" || specifier.startsWith("emptcp/");

/**
 * Always this copy of the package, resolved as if this file had asked: a chain of another copy could not be told from any
 * other object.
 */
export const resolve: ResolveHook = async (specifier, context, nextResolve) =>
  await nextResolve(specifier, isOwn(specifier) ? { ...context, parentURL: import.meta.url } : context);

/** Of this package, whose examples are TypeScript wherever it is installed; other packages come as JavaScript. */
const ownRoot = new URL("../../", import.meta.url).href;
const isOfOtherPackage = (url: string) => url.includes("/node_modules/") && !url.startsWith(ownRoot);

export const load: LoadHook = async (url, context, nextLoad) => {
  if (!/^file:.*\.m?ts(\?.*)?$/.test(url) || isOfOtherPackage(url)) return await nextLoad(url, context);
  const path = fileURLToPath(url);
  const text = await readFile(path, "utf8");
  return { format: "module", source: await stripTypes(path, text), shortCircuit: true };
};

/** The process that has the compiler, while there is something to do and a little longer: files import files. */
let compiler: ChildProcess | undefined;
let waiting = 0;
let idle: NodeJS.Timeout | undefined;
const keepCompilerMs = 500;

async function stripTypes(path: string, text: string): Promise<string> {
  clearTimeout(idle);
  const mine = (compiler ??= fork(fileURLToPath(new URL("./strip-types.js", import.meta.url)), { execArgv: [] }));
  waiting++;
  try {
    const answer = await ask(mine, { path, text });
    if ("error" in answer) throw new SyntaxError(answer.error);
    return answer.source;
  } finally {
    waiting--;
    const end = () => {
      compiler = undefined;
      if (mine.connected) mine.disconnect();
    };
    if (!mine.connected) end();
    else if (waiting === 0) idle = setTimeout(end, keepCompilerMs);
  }
}

async function ask(child: ChildProcess, request: StripRequest): Promise<StripAnswer> {
  return await new Promise((resolve, reject) => {
    const answered = (answer: StripAnswer) => {
      if (answer.path !== request.path) return;
      forget();
      resolve(answer);
    };
    const failed = (reason: unknown) => {
      forget();
      const why = reason instanceof Error ? reason.message : `the process that does so ended (${String(reason)})`;
      reject(new Error(`Cannot strip types from ${request.path}: ${why}`));
    };
    const ended = (code: number | null, signal: string | null) => failed(signal ?? code);
    const forget = () => child.off("message", answered).off("exit", ended).off("error", failed);
    child.on("message", answered).on("exit", ended).on("error", failed);
    child.send(request);
  });
}
