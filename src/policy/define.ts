/** What all kinds of policies are made by: their description, and the file that defines them. */
import type { Parameters, Policy, State } from "./policy.ts";

/** The modules of this folder whose functions define policies. */
const definers = /^(define|policy|stack)\.[jt]s$/;

const namePattern = /^[a-z][a-z0-9_]{0,31}$/;

export function definePolicy(
  kind: "selector" | "actor",
  options: {
    name: string;
    params?: unknown;
    state?: unknown;
    on?: string;
    direction?: string;
    observe?: unknown;
    member?: unknown;
    check?: Policy["check"];
  },
): Policy {
  if (!namePattern.test(options.name))
    throw new TypeError(
      `Cannot define ${kind} "${options.name}": a name is made of a-z, 0-9 and _, starts with a letter and has at most 32`,
    );
  return {
    kind,
    on: (options.on as Policy["on"] | undefined) ?? "packet",
    name: options.name,
    params: (options.params as Parameters | undefined) ?? {},
    state: (options.state as State | undefined) ?? {},
    observes: options.observe !== undefined,
    hasMembers: options.member !== undefined,
    ...(options.check && { check: options.check }),
    direction: (options.direction as "both" | undefined) ?? "ingress",
    module: callerModule(),
  };
}

/** The module that called `selector`, `actor` and their like: the first frame of the stack outside of what defines them. */
function callerModule(): string {
  const prepare = Reflect.get(Error, "prepareStackTrace");
  try {
    Error.prepareStackTrace = (_error, frames) => frames;
    const frames = new Error("where").stack as unknown as NodeJS.CallSite[];
    const folder = frames[0]?.getFileName()?.replace(/[^/]*$/, "");
    const isOwn = (file: string): boolean => file.startsWith(folder!) && definers.test(file.slice(folder!.length));
    return frames.map((frame) => frame.getFileName()).find((file) => file && !isOwn(file)) ?? "";
  } finally {
    Error.prepareStackTrace = prepare;
  }
}
