/** `emptcp paths run`: controllers from files, reloaded when the files change. */
import type { Command } from "commander";
import { activePathManager } from "../../linux/path-manager-errors.ts";
import { runUrgently } from "../../linux/scheduling.ts";
import { undoAtExit } from "../cleanup.ts";
import { describeError } from "../errors.ts";
import { print } from "../output.ts";
import { netnsOption } from "./paths-inspect.ts";

export function addPathsRun(paths: Command): void {
  paths
    .command("run")
    .summary("run controllers, which decide which subflows connections have")
    .description(
      "Runs the controllers that files export as their defaults, until Ctrl-C, on the connections that are there and on those\n" +
        "that come. A file that changes is loaded again; connections stay as they are, also when this ends. What a handler\n" +
        "throws is shown with its stack, and the others go on.",
    )
    .argument("<files...>", ".ts, .js or .mjs")
    .option("--urgent", "answer before ordinary processes run: at real-time priority, or the highest that is permitted")
    .option(...netnsOption)
    .addHelpText(
      "after",
      `
A file:
  import { ndiffports } from "emptcp/paths";
  export default ndiffports({ subflows: 4 });

Examples:
  sudo sysctl net.mptcp.path_manager=userspace
  sudo emptcp paths run ndiffports.ts`,
    )
    .action(runCommand);
}

const shown = (count: number) => `${count} connection${count === 1 ? "" : "s"}`;

async function runCommand(files: string[], { netns, urgent }: { netns?: string; urgent?: true }): Promise<void> {
  // Not before it is needed: it loads the compiler.
  const { loadControllers, runControllers, watchFiles } = await import("../../paths/index.ts");
  let version = 0;
  const load = async () => {
    const loaded = await Promise.all(files.map(async (file) => await loadControllers(file, version)));
    // So that stacks of handlers that fail name lines of the TypeScript.
    process.setSourceMapsEnabled(true);
    return loaded.flat();
  };
  const controllers = await load();
  const active = activePathManager(netns);
  if (active !== "userspace")
    process.stderr.write(
      `emptcp: The path manager of connections that begin now is "${active}", which takes no commands about them; ` +
        "set sysctl net.mptcp.path_manager=userspace\n",
    );
  if (urgent) runUrgently();
  const running = await runControllers(controllers, { netns });
  const names = (list: typeof controllers) => list.map(({ name }) => name).join(", ");
  print(`Running ${names(controllers)}: ${shown(running.connections.length)} so far; Ctrl-C ends`);
  let reloading = Promise.resolve();
  const reload = async () => {
    version++;
    try {
      const next = await load();
      await running.replace(next);
      print(`Running ${names(next)} again: ${shown(running.connections.length)}`);
    } catch (error) {
      process.stderr.write(`${describeError(error)}\nemptcp: The controllers that ran before go on\n`);
    }
  };
  const stop = watchFiles(files, () => void (reloading = reloading.then(reload)));
  undoAtExit(() => {
    stop();
    running.close();
  });
}
