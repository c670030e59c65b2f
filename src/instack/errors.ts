/** What can be wrong with an actor in the stack. */

/** It cannot be registered, changed or used as asked. */
export class InStackError extends Error {
  override readonly name = "InStackError";
}

export class InStackExistsError extends Error {
  override readonly name = "InStackExistsError";
  constructor(actor: string, owner: "ours" | "kernel") {
    const what =
      owner === "ours"
        ? `an actor of that name is registered already. Put this one in its place (emptcp stack replace ${actor}), ` +
          `stop it first (emptcp stack stop ${actor}), or give this one another name`
        : "the kernel or another program has congestion control of that name. Give this one another name (--name)";
    super(`Cannot register ${actor} in the stack: ${what}`);
  }
}

export class NoSuchInStackError extends Error {
  override readonly name = "NoSuchInStackError";
  constructor(actor: string, names: readonly string[]) {
    const there =
      names.length > 0 ? `there are ${names.join(", ")}` : "none is registered; emptcp stack start registers one";
    super(`Cannot find ${actor} in the stack: ${there}`);
  }
}

/** Somebody else is changing it, and takes long. */
export class InStackBusyError extends Error {
  override readonly name = "InStackBusyError";
  constructor(actor: string, seconds: number) {
    super(`Cannot change ${actor} in the stack: another process has been changing it for ${seconds} s. Try again`);
  }
}
