/**
 * Work without end on one processor, as urgent as any other, in a process of its own. Arguments: the processor, and the
 * seconds after which it ends in any case. It ends with the process that started it, too.
 */
import { stayOn } from "../../linux/scheduling.ts";

const [processor, seconds] = process.argv.slice(2).map(Number);
const parent = process.ppid;
stayOn(processor);
const endsAt = performance.now() + 1000 * seconds;
while (performance.now() < endsAt && process.ppid === parent) {
  let sum = 0;
  for (let i = 0; i < 1_000_000; i++) sum += i;
}
process.exit(0);
