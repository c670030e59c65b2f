/** `emptcp chain set` and `remove`. */
import type { Command } from "commander";
import type { InputRecord } from "../../chain/index.ts";
import { listChains, openChain } from "../../chain/chains.ts";
import { UsageError } from "../errors.ts";
import { print, printJson } from "../output.ts";

export function addChange(chain: Command): void {
  chain
    .command("set")
    .summary("change parameters of a running chain")
    .description(
      "Changes parameters of actors while packets flow; all that are given, or none.\n" +
        "ACTOR is an actor's name, or its place in the chain (1, 2, …) where a name stands twice.",
    )
    .argument("<name>", "a chain")
    .argument("<actor.param=value...>", "for example rate_limit.rate=5mbit")
    .option("--json", "print { name, actors: [{ name, params }] }")
    .addHelpText(
      "after",
      "\nExamples:\n  sudo emptcp chain set phones rate_limit.rate=5mbit\n  sudo emptcp chain set phones 2.rate=500kbit",
    )
    .action((name: string, assignments: string[], { json }: { json?: true }) => {
      const changes = parseAssignments(assignments);
      const running = openChain(name);
      running.setAll(changes);
      const params = running.params();
      const actors = running.description.actors.map((actor, i) => ({ name: actor.name, params: params[i] }));
      if (json) return printJson({ name, actors });
      const shown = actors.flatMap((actor) =>
        Object.entries(actor.params).map(([key, value]) => `${actor.name}.${key}=${value}`),
      );
      print(`Chain ${name}: ${shown.join(", ")}`);
    });

  chain
    .command("remove")
    .summary("take chains off")
    .description("Detaches chains and forgets them. Sockets that they limited are free again.")
    .argument("[name...]", "chains")
    .option("--all", "all chains of this machine")
    .option("--json", "print { removed: [names] }")
    .addHelpText("after", "\nExamples:\n  sudo emptcp chain remove phones\n  sudo emptcp chain remove --all")
    .action((names: string[], { all, json }: { all?: true; json?: true }) => {
      if (all ? names.length > 0 : names.length === 0)
        throw new UsageError("Cannot tell what to remove: give the names of chains, or --all");
      // Every name is looked up before the first chain goes, so that a wrong one changes nothing.
      const chains = all ? listChains() : [...new Set(names)].map(openChain);
      for (const running of chains) running.remove();
      const removed = chains.map((running) => running.name);
      if (json) return printJson({ removed });
      print(removed.length > 0 ? `Removed ${removed.join(", ")}` : "No chain is attached");
    });
}

/** `rate_limit.rate=5mbit record.size=3` by actor, in the order given. @throws UsageError */
export function parseAssignments(assignments: readonly string[]): [actor: string, inputs: InputRecord][] {
  const byActor = new Map<string, Record<string, string>>();
  for (const text of assignments) {
    const match = /^([a-z0-9_]+)\.(\w+)=(.*)$/i.exec(text);
    if (!match) throw new UsageError(`Cannot read ${text}: write ACTOR.PARAM=VALUE, for example rate_limit.rate=5mbit`);
    const [, actor, param, value] = match as unknown as [string, string, string, string];
    const inputs = byActor.get(actor) ?? {};
    if (param in inputs) throw new UsageError(`Cannot set ${actor}.${param} twice`);
    byActor.set(actor, { ...inputs, [param]: value });
  }
  return [...byActor];
}
