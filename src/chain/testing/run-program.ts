/** Runs a pinned packet program on a packet, many times in a row, when told to: what do two CPUs do at once? */
import { once } from "node:events";
import { openProgram, testRun } from "../../linux/programs.ts";

const [path, hex, repeat] = process.argv.slice(2) as [string, string, string];
using program = openProgram(path);
console.log("ready");
await once(process.stdin, "data");
testRun(program, { data: Buffer.from(hex, "hex"), repeat: Number(repeat) });
process.stdin.destroy();
