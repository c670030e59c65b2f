#!/usr/bin/env node
/** The `emptcp` command. Exit codes: 0 done, 1 failed, 2 wrong use. */
import { readFileSync } from "node:fs";
import { Command, CommanderError } from "commander";
import { addBuild } from "./commands/build.ts";
import { addChain } from "./commands/chain.ts";
import { addClean } from "./commands/clean.ts";
import { addDemo } from "./commands/demo.ts";
import { addDoctor } from "./commands/doctor.ts";
import { addEvents } from "./commands/events.ts";
import { addLab } from "./commands/lab.ts";
import { addPaths } from "./commands/paths.ts";
import { addStack } from "./commands/stack.ts";
import { addWatch } from "./commands/watch.ts";
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

addDoctor(program);
addChain(program);
addBuild(program);
addLab(program);
addDemo(program);
addStack(program);
addPaths(program);
addWatch(program);
addEvents(program);
addClean(program);

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
