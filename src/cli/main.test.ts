import { describe, expect, test } from "vitest";
import { emptcp } from "./testing/run.ts";

describe("wrong use has exit code 2 and says what is wrong", () => {
  test.each([
    ["no command", [], /Usage: emptcp/],
    ["an unknown command", ["chian"], /unknown command 'chian'/],
    ["an unknown subcommand", ["chain", "aply"], /unknown command 'aply'[\s\S]*Did you mean apply/],
    ["an unknown option", ["doctor", "--jsn"], /unknown option '--jsn'/],
    ["a missing argument", ["chain", "apply"], /missing required argument 'file'/],
    ["an excess argument", ["chain", "show", "a", "b"], /too many arguments/],
    ["a hook that is none", ["chain", "apply", "x.ts", "--hook", "nfqueue"], /Allowed choices are tcx, xdp/],
    ["an empty interface", ["chain", "apply", "x.ts", "-i", "a,"], /name of an interface/],
    ["an assignment that is none", ["chain", "set", "x", "rate=5"], /ACTOR\.PARAM=VALUE/],
    ["nothing to remove", ["chain", "remove"], /--all/],
    ["names and --all", ["chain", "remove", "x", "--all"], /--all/],
    ["a command without --", ["lab", "run", "spec.json", "ping"], /a command goes behind --/],
    [
      "neither an experiment nor a file",
      ["lab", "run", "fairnes"],
      /no experiment and no .json or .ts file; experiments are .*fairness/,
    ],
    ["a host without a command", ["lab", "run", "--in", "client"], /no command/],
    ["a host that is not in the lab", ["lab", "run", "--in", "phone", "--", "true"], /the hosts are client, server/],
  ])("%s", (_, args, message) => {
    const { status, stdout, stderr } = emptcp(args);
    expect(stderr).toMatch(message);
    expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
  });
});

test.each([
  [[]],
  [["chain"]],
  [["chain", "apply"]],
  [["chain", "explain"]],
  [["watch"]],
  [["events"]],
  [["paths"]],
  [["paths", "subflow", "add"]],
  [["paths", "endpoints", "add"]],
  [["lab", "run"]],
  [["demo"]],
  [["doctor"]],
])("emptcp %j --help shows examples and ends with exit code 0", (command: string[]) => {
  const { status, stdout } = emptcp([...command, "--help"]);
  expect(status).toBe(0);
  expect(stdout).toMatch(/sudo emptcp|emptcp doctor/);
});

test("emptcp --version prints the package's version alone", () => {
  expect(emptcp(["--version"]).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
});
