/**
 * `npm run bench`: what a chain costs per packet next to the same in C, how long it takes to compile and to submit, what
 * congestion control costs per ACK next to cubic, what a transfer loses. Names of sections select some. Progress goes to
 * stderr; stdout gets the table, or with `--json` an array of rows.
 */
import { formatTable, type Row } from "./report.ts";
import { sections } from "./sections.ts";

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

async function run(names: readonly string[]): Promise<Row[]> {
  const rows: Row[] = [];
  for (const name of names) {
    const start = performance.now();
    const progress = (what: string): void => say(`${name.padEnd(13)} ${elapsed(start)}  ${what}`);
    progress("…");
    rows.push(...(await sections[name](progress)));
    progress("done");
  }
  return rows;
}

const elapsed = (start: number): string => `${((performance.now() - start) / 1000).toFixed(0).padStart(4)} s`;

const [options, wanted] = [true, false].map((are) =>
  process.argv.slice(2).filter((one) => one.startsWith("-") === are),
);
const unknown = options.find((option) => option !== "--json") ?? wanted.find((name) => !Object.hasOwn(sections, name));
if (unknown !== undefined) {
  const known = Object.keys(sections).join(", ");
  say(`Cannot run the benchmark: there is no ${unknown}; there are the sections ${known}, and the option --json`);
  process.exitCode = 2;
} else {
  try {
    const rows = await run(Object.keys(sections).filter((name) => wanted.length === 0 || wanted.includes(name)));
    process.stdout.write(`${options.includes("--json") ? JSON.stringify(rows, undefined, 2) : formatTable(rows)}\n`);
  } catch (error) {
    say(error instanceof Error ? error.message : String(error));
    process.exitCode = 1;
  }
}
