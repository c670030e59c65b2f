/** `emptcp demo`: a policy chain steers a live MPTCP connection, in about a minute. */
import type { Command } from "commander";
import type { DemoObserver, StageResult } from "../demo/demo.ts";
import { colours, LiveLine, print, printJson } from "../output.ts";

export function addDemo(program: Command): void {
  program
    .command("demo")
    .summary("watch chains steer a live MPTCP connection")
    .description(
      "Builds two hosts joined by wifi (40 Mbit/s, 20 ms) and lte (20 Mbit/s, 50 ms), lets the server send to the client\n" +
        "over MPTCP, and attaches, changes and removes chains meanwhile; then a controller decides which subflows there are.\n" +
        "Takes about a minute; leaves nothing behind.\n" +
        "Exit code 1 when a stage did not hold.",
    )
    .option("--json", "print { ok, stages: [{ name, asked, measured, ok }] }")
    .addHelpText("after", "\nExamples:\n  sudo emptcp demo\n  sudo emptcp demo --json | jq .ok")
    .action(demo);
}

async function demo({ json }: { json?: true }): Promise<void> {
  const line = new LiveLine();
  if (!json) print("The server sends to the client, over wifi (40 Mbit/s, 20 ms) and lte (20 Mbit/s, 50 ms).");
  line.show("checking what this machine offers …");
  let results: StageResult[];
  try {
    const { runDemo } = await import("../demo/demo.ts");
    results = await runDemo(observe(line, json === true));
  } catch (error) {
    if (json) printJson({ ok: false, error: error instanceof Error ? error.message : String(error), stages: [] });
    throw error;
  } finally {
    line.clear();
  }
  const failed = results.filter(({ ok }) => !ok);
  if (json) printJson({ ok: failed.length === 0, stages: results });
  else
    print(
      failed.length === 0 ? "\nEvery stage held." : `\nDid not hold: ${failed.map(({ name }) => name).join(", ")}.`,
    );
  if (failed.length > 0) process.exitCode = 1;
}

function observe(line: LiveLine, json: boolean): DemoObserver {
  let title = "";
  return {
    onStage(stage, number, count) {
      title = `${number}/${count} ${stage.name}`;
      if (json) return line.show(`${title} …`);
      line.clear();
      print(`\n${colours.bold(`${number} ${stage.name}`)}\n  asked     ${stage.asked}`);
    },
    onSample({ total, paths }) {
      const each = Object.entries(paths).map(([link, mbit]) => `${link} ${mbit.toFixed(1)}`);
      line.show(`  ${title}: ${total.toFixed(1)} Mbit/s (${each.join(", ")})`);
    },
    onResult({ measured, ok }, seconds) {
      line.clear();
      if (json) return;
      const verdict = ok ? colours.green("✓ held") : colours.red("✗ did not hold");
      print(`  measured  ${measured}\n  ${verdict} ${colours.dim(`(${seconds.toFixed(0)} s)`)}`);
    },
  };
}
