/** Prints `N passed, N failed` from the file that vitest's JSON reporter wrote. A test file that could not run is a failure. */
import { readFileSync } from "node:fs";

let report;
try {
  report = JSON.parse(readFileSync(process.argv[2], "utf8"));
} catch {
  console.log("no test report was written");
  process.exit(1);
}
const broken = report.testResults.filter(
  ({ status, assertionResults }) => status === "failed" && assertionResults.every((one) => one.status !== "failed"),
);
const other = report.numPendingTests + report.numTodoTests;
const skipped = other > 0 ? `, ${other} not run` : "";
console.log(`${report.numPassedTests} passed, ${report.numFailedTests + broken.length} failed${skipped}`);
