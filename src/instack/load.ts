/** Congestion control that users write in files of their own. */
import { FileError } from "../chain/errors.ts";
import { importFile } from "../chain/import-file.ts";
import type { StackPolicy } from "./register.ts";

/**
 * The congestion control that a file exports: as its default, or the only one; `name` chooses among several.
 * @throws FileError
 */
export async function loadInStackFile(file: string, name?: string): Promise<StackPolicy> {
  const exported = Object.entries(await importFile(file));
  const all = [...new Set(exported.map(([, value]) => value).filter(isInStack))];
  const byDefault = exported.find(([key]) => key === "default")?.[1];
  const found = all.filter((policy) =>
    name === undefined ? all.length === 1 || policy === byDefault : policy.name === name,
  );
  if (found.length === 1) return found[0];
  const names = all.map((policy) => policy.name).join(", ");
  const reason =
    all.length === 0
      ? "it exports no congestion control; export const mine = congestionControl({ name, … }) makes one"
      : name === undefined
        ? `it exports ${names}; make one of them the default export`
        : `it exports no congestion control ${name}, but ${names}`;
  throw new FileError(`Cannot load congestion control from ${file}: ${reason}`);
}

function isInStack(value: unknown): value is StackPolicy {
  const { kind, on } = (value ?? {}) as Partial<StackPolicy>;
  return kind === "actor" && on === "stack";
}
