/** A terminal's alternate screen, written line by line: only those that changed since the last time. */

const escape = "\u001b";
const enter = `${escape}[?1049h${escape}[?25l${escape}[2J`;
const leave = `${escape}[?25h${escape}[?1049l`;
/** Terminals that know these show everything in between at once. */
const beginUpdate = `${escape}[?2026h`;
const endUpdate = `${escape}[?2026l`;

/** What to write so that a screen with the lines `before` shows `after`; empty when nothing changed. Pure. */
export function updateOf(before: readonly string[], after: readonly string[]): string {
  const height = Math.max(before.length, after.length);
  const changed = Array.from({ length: height }, (_, i) => i).filter((i) => before[i] !== after[i]);
  if (changed.length === 0) return "";
  const lines = changed.map((i) => `${escape}[${i + 1};1H${after[i] ?? ""}${escape}[0m${escape}[K`);
  return `${beginUpdate}${lines.join("")}${endUpdate}`;
}

export interface ScreenOutput {
  write(text: string): unknown;
}

export class Screen {
  readonly #output: ScreenOutput;
  #shown: readonly string[] = [];

  constructor(output: ScreenOutput) {
    this.#output = output;
    output.write(enter);
  }

  show(lines: readonly string[]): void {
    const update = updateOf(this.#shown, lines);
    if (update !== "") this.#output.write(update);
    this.#shown = lines;
  }

  /** The terminal has another size: nothing of what it shows can be relied on. */
  forget(): void {
    this.#shown = [];
    this.#output.write(`${escape}[2J`);
  }

  close(): void {
    this.#output.write(leave);
  }
}

export type Key = "up" | "down" | "pageUp" | "pageDown" | "top" | "bottom" | "sort" | "quit";

const keys: Readonly<Record<string, Key>> = {
  [`${escape}[A`]: "up",
  [`${escape}OA`]: "up",
  k: "up",
  [`${escape}[B`]: "down",
  [`${escape}OB`]: "down",
  j: "down",
  [`${escape}[5~`]: "pageUp",
  [`${escape}[6~`]: "pageDown",
  " ": "pageDown",
  [`${escape}[H`]: "top",
  g: "top",
  [`${escape}[F`]: "bottom",
  G: "bottom",
  s: "sort",
  q: "quit",
  "\u0003": "quit",
  "\u0004": "quit",
};

const sequence = new RegExp(`${escape}(?:\\[[0-9;]*[A-Za-z~]|O[A-Z])|[^${escape}]`, "gu");

/** The keys in what a terminal in raw mode sent; others are passed over. Pure. */
export function parseKeys(input: string): Key[] {
  return (input.match(sequence) ?? []).flatMap((one) => (Object.hasOwn(keys, one) ? [keys[one]] : []));
}
