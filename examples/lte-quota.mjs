import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { interfaceIndex, PathManager } from "emptcp/linux";

/**
 * A monthly quota in bytes, both directions, for an interface that this host's MPTCP endpoints are on. Once it is used up,
 * connections use that path only where no other is left, until the month (UTC) is over; running ones and new ones alike.
 *
 *   ip mptcp endpoint add 192.168.2.1 dev lte subflow
 *   node examples/lte-quota.mjs lte 20e9 /var/lib/lte-quota.json
 *
 * The file keeps the count. What passes while this does not run is counted when it runs again.
 */
const [name, quota, file] = process.argv.slice(2);
if (file === undefined || !(Number(quota) > 0)) throw new Error("Give an interface, bytes per month, and a file");
const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
const paths = new PathManager();
let state = existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : { month: "", used: 0, boot, counter: count() };

/** Bytes since the interface is there; 0 without it. */
function count() {
  const lines = readFileSync("/proc/self/net/dev", "utf8").split("\n");
  const line = lines.find((one) => one.trim().startsWith(`${name}:`)) ?? ":";
  const fields = line.split(":")[1].trim().split(/\s+/).map(Number);
  return fields.length < 9 ? 0 : fields[0] + fields[8];
}

setInterval(() => {
  const [month, counter] = [new Date().toISOString().slice(0, 7), count()];
  const isSame = state.boot === boot && counter >= state.counter;
  const used = (state.month === month ? state.used : 0) + (isSame ? counter - state.counter : counter);
  state = { month, used, boot, counter };
  writeFileSync(`${file}.new`, JSON.stringify(state));
  renameSync(`${file}.new`, file);
  for (const { id, flags, interfaceIndex: on } of counter > 0 ? paths.endpoints() : []) {
    if (on !== interfaceIndex(name) || flags.includes("backup") === used >= Number(quota)) continue;
    paths.setFlags(id, used >= Number(quota) ? [...flags, "backup"] : flags.filter((flag) => flag !== "backup"));
  }
}, 1000);
