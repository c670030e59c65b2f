import { expect, test } from "vitest";
import { namespaceName, newRunId, ownerAlive, parseNamespaceName } from "./run-id.ts";

test("a namespace's name tells the process that owns it", () => {
  const runId = newRunId();
  const owner = parseNamespaceName(namespaceName(runId, "client"));
  expect(owner).toMatchObject({ runId, pid: process.pid, where: "client" });
  expect(ownerAlive(owner!)).toBe(true);
  expect(newRunId()).not.toBe(runId);
});

test("a process that took over the number of a dead one is not the owner", () => {
  expect(ownerAlive({ pid: process.pid, startTime: "1" })).toBe(false);
});

test("parseNamespaceName() leaves other people's namespaces alone", () => {
  for (const name of ["client", "emptcp-mine", "emptcp-p1-client", "xemptcp-p1t2n3-client", "emptcp-p1t2n3-a/b"]) {
    expect(parseNamespaceName(name)).toBeUndefined();
  }
});
