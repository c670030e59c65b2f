#!/usr/bin/env node
/** The `emptcp` command. Exit codes: 0 done, 1 failed, 2 wrong use. */
import { readFileSync } from "node:fs";
import { Command, CommanderError } from "commander";
import { describeError, UsageError } from "./errors.ts";

const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as {
  version: string;
};

const program = new Command("emptcp")
  .description("Extends Multipath TCP on a stock Linux kernel: policies in TypeScript, run as eBPF.")
  .version(version, "--version", "print the version")
  .helpOption("-h, --help", "print help")
  .showHelpAfterError("(--help tells how to use it)")
  .configureHelp({ showGlobalOptions: false })
  .exitOverride()
  .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, "emptcp: ")) })
  .addHelpText(
    "after",
    `
Start here:
  sudo emptcp doctor                     what this machine offers
  sudo emptcp demo                       a policy chain steers a live MPTCP connection, in a minute
  sudo emptcp chain apply limit.ts -i wlan0 -i wwan0
  sudo emptcp chain show rate_limit      what it did so far
  sudo emptcp watch                      MPTCP connections and their subflows, live
  sudo emptcp events                     what chains tell, as it happens
  sudo emptcp chain remove rate_limit
  sudo emptcp paths connections          the subflows of connections; add, remove and change them
  sudo emptcp stack start                congestion control in the kernel that follows strategies

Exit codes: 0 done, 1 failed, 2 wrong use. EMPTCP_DEBUG=1 adds stack traces to errors.`,
  );

/** In the order of the help. One command does without what the others load. */
const commands: Readonly<Record<string, () => Promise<(program: Command) => void>>> = {
  doctor: async () => (await import("./commands/doctor.ts")).addDoctor,
  chain: async () => (await import("./commands/chain.ts")).addChain,
  build: async () => (await import("./commands/build.ts")).addBuild,
  lab: async () => (await import("./commands/lab.ts")).addLab,
  demo: async () => (await import("./commands/demo.ts")).addDemo,
  stack: async () => (await import("./commands/stack.ts")).addStack,
  paths: async () => (await import("./commands/paths.ts")).addPaths,
  watch: async () => (await import("./commands/watch.ts")).addWatch,
  events: async () => (await import("./commands/events.ts")).addEvents,
  clean: async () => (await import("./commands/clean.ts")).addClean,
};
const asked = Object.keys(commands).filter((name) => name === process.argv[2]);
for (const name of asked.length > 0 ? asked : Object.keys(commands)) (await commands[name]())(program);

// Whoever reads our output may stop early, as head does.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exit(0);
});

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    // Commander has told already; what is left is whether it was asked to.
    process.exitCode = error.exitCode === 0 ? 0 : 2;
  } else {
    const verifierLog = process.argv.includes("--log-verifier");
    process.stderr.write(`${describeError(error, { verifierLog, debug: Boolean(process.env["EMPTCP_DEBUG"]) })}\n`);
    process.exitCode = error instanceof UsageError ? 2 : 1;
  }
}
