/** Makes a lab and keeps it until the process ends: for tests of what becomes of it then. */
import { createLab } from "../lab.ts";
import { wifiAndLte } from "../spec.ts";

const lab = await createLab(wifiAndLte);
console.log(lab.runId);
process.stdin.resume();
