/** `emptcp clean`: says and removes what dead runs left. */
import type { Command } from "commander";
import { describeLeftovers, findLeftovers, removeLeftovers } from "../leftovers.ts";
import { print, printJson } from "../output.ts";

export function addClean(program: Command): void {
  program
    .command("clean")
    .summary("say and remove what killed runs left behind")
    .description(
      "Removes what runs of emptcp left when they were killed: halves of chains and of congestion control, labs and\n" +
        "what was attached in them, shared state that nothing uses, strategies of connections that are gone.\n" +
        "What is whole and lives stays: chains, registered congestion control, running labs.",
    )
    .option("--dry-run", "only say what there is")
    .option("--json", "print { removed, labs, chains, halfChains, halfActors, actors, state, strategies }")
    .addHelpText("after", "\nExamples:\n  sudo emptcp clean --dry-run\n  sudo emptcp clean")
    .action(({ dryRun, json }: { dryRun?: true; json?: true }) => {
      const found = dryRun ? findLeftovers() : removeLeftovers();
      if (json) return printJson({ removed: !dryRun, ...found });
      const lines = describeLeftovers(found);
      if (lines.length === 0) return print("Nothing to clean: no run was killed");
      for (const line of lines) print(`${dryRun ? "Would remove" : "Removed"} ${line}`);
    });
}
