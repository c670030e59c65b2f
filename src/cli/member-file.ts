/** Members in a file: a table of comma-separated values, or an array of objects in JSON. */
import { readFileSync } from "node:fs";
import type { InputRecord } from "../chain/index.ts";
import { UsageError } from "./errors.ts";

/** @throws UsageError that says what is wrong, and in which line */
export function readMembers(file: string): InputRecord[] {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    throw new UsageError(`Cannot read ${file}: ${(error as NodeJS.ErrnoException).code ?? String(error)}`);
  }
  if (/\.csv$/i.test(file)) return parseTable(text, file);
  if (/\.json$/i.test(file)) return parseObjects(text, file);
  throw new UsageError(`Cannot read members from ${file}: its name has to end in .csv or .json`);
}

/** A line of fields, then one per member; a value that holds a comma or a quote stands in quotes, which are doubled there. */
export function parseTable(text: string, file: string): InputRecord[] {
  const lines = text.replace(/^\ufeff/, "").split(/\r?\n/);
  const rows = lines.flatMap((line, i) =>
    /^\s*(#|$)/.test(line) ? [] : [{ line: i + 1, cells: splitLine(line, i + 1, file) }],
  );
  const [head, ...members] = rows;
  if (!head) throw new UsageError(`Cannot read members from ${file}: its first line has to name the fields`);
  const twice = head.cells.find((name, i) => head.cells.indexOf(name) < i);
  if (twice !== undefined)
    throw new UsageError(`Cannot read members from ${file}: its first line names ${twice} twice`);
  return members.map(({ line, cells }) => {
    if (cells.length !== head.cells.length)
      throw new UsageError(
        `Cannot read members from ${file}: line ${line} has ${cells.length} values, the first line names ${head.cells.length} fields`,
      );
    return Object.fromEntries(head.cells.map((name, i) => [name, cells[i]]));
  });
}

const cell = /\s*(?:"((?:[^"]|"")*)"|([^",]*?))\s*(,|$)/y;

function splitLine(line: string, number: number, file: string): string[] {
  if (!line.includes('"')) return line.split(",").map((value) => value.trim());
  const cells: string[] = [];
  for (cell.lastIndex = 0; ;) {
    const match = cell.exec(line);
    if (!match) throw new UsageError(`Cannot read members from ${file}: line ${number} has a quote where none can be`);
    cells.push(match[1]?.replaceAll('""', '"') ?? match[2]);
    if (match[3] === "") return cells;
  }
}

export function parseObjects(text: string, file: string): InputRecord[] {
  const refuse = (why: string): never => {
    throw new UsageError(`Cannot read members from ${file}: ${why}`);
  };
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    return refuse(error instanceof Error ? error.message : String(error));
  }
  if (!Array.isArray(parsed)) return refuse("it has to be an array of objects");
  return parsed.map((member: unknown, i): InputRecord => {
    if (typeof member !== "object" || member === null || Array.isArray(member))
      return refuse(`element ${i + 1} is no object`);
    const wrong = Object.entries(member).find(([, value]) => !["string", "number", "boolean"].includes(typeof value));
    if (wrong) return refuse(`${wrong[0]} of element ${i + 1} is neither a string, a number nor a boolean`);
    return member as InputRecord;
  });
}
