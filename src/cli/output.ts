/** Where output goes: results to stdout, everything else to stderr; colours and live lines on terminals only. */
import { createColors } from "picocolors";

/** Whether what goes to this stream may be coloured. */
export const wantsColour = (stream: { readonly isTTY?: boolean }) =>
  stream.isTTY === true && !process.env["NO_COLOR"] && process.env["TERM"] !== "dumb";

export const colours = createColors(wantsColour(process.stdout));

export function print(text: string): void {
  process.stdout.write(text.endsWith("\n") ? text : `${text}\n`);
}

/** 64-bit integers become decimal strings: JSON numbers would lose digits. */
const plainInteger = (_: string, value: unknown): unknown => (typeof value === "bigint" ? String(value) : value);

export function printJson(value: unknown): void {
  print(JSON.stringify(value, plainInteger, 2));
}

/** One of several values, on a line of its own. */
export function printJsonLine(value: unknown): void {
  print(JSON.stringify(value, plainInteger));
}

/** One line that is written over and over, on a terminal; elsewhere nothing at all. */
export class LiveLine {
  readonly #live = process.stderr.isTTY;

  show(text: string): void {
    if (!this.#live) return;
    // Some terminals do not tell how wide they are.
    const width = (process.stderr.columns || 80) - 1;
    process.stderr.write(`\r\u001b[K${text.length > width ? `${text.slice(0, width - 1)}…` : text}`);
  }

  clear(): void {
    if (this.#live) process.stderr.write("\r\u001b[K");
  }
}

/** Does `work` with a line that says so while it lasts. */
export async function withProgress<T>(text: string, work: () => Promise<T>): Promise<T> {
  const line = new LiveLine();
  line.show(text);
  try {
    return await work();
  } finally {
    line.clear();
  }
}
