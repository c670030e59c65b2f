/** What a process does that is killed at some point of it: registers congestion control, replaces and removes it, all the time. */
import { writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { built } from "./run.ts";

/** Writes the script into `folder`; its argument is the name to register, and it prints a line when that is done first. */
export function writeChurn(folder: string): string {
  const policies = join(folder, "policies.ts");
  writeFileSync(
    policies,
    `import { base, congestionControl, min, shared, u64 } from "emptcp/policy";
export const one = congestionControl({ name: "one" });
export const two = congestionControl({
  name: "two",
  state: { own: shared({ acked: u64 }) },
  congAvoid(socket, ack, acked, { own }) {
    base.congAvoid(socket, ack, acked);
    own.acked += acked;
    socket.cwnd = min(socket.cwnd, 50);
  },
});
`,
  );
  const script = join(folder, "churn.mjs");
  writeFileSync(
    script,
    `import { loadInStackFile, registerInStack } from ${JSON.stringify(join(dirname(built), "../index.js"))};
const [one, two] = [await loadInStackFile(${JSON.stringify(policies)}, "one"), await loadInStackFile(${JSON.stringify(policies)}, "two")];
const name = process.argv[2];
for (let turn = 0; ; turn++) {
  const running = registerInStack(turn % 2 ? one : two, { name, base: "reno" });
  console.log("registered");
  for (let i = 0; i < 4; i++) await running.replace(i % 2 ? one : two);
  running.remove({ move: turn % 3 !== 0 });
}
`,
  );
  return script;
}
