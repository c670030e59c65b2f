import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { PathManagerError } from "../linux/index.ts";
import { backup } from "./index.ts";
import { FakeKernel, local, remote } from "./testing/fakes.ts";

// What becomes of a connection under backup() that has lost all its subflows. Interfaces "one" and "two" are those of the fake.

let kernel: FakeKernel;
const two = { address: "10.0.2.1", port: 40_001 };
const idOf = ({ address }: typeof local) => (address === local.address ? 0 : 1);
const end = (from: typeof local, errorName?: string) =>
  kernel.tell("subflow_closed", {
    local: from,
    localId: idOf(from),
    remote,
    ...(errorName && { error: 104, errorName }),
  });

beforeEach(() => {
  vi.useFakeTimers();
  kernel = new FakeKernel(backup({ interface: "two" }));
  kernel.establish();
});
afterEach(() => {
  expect(kernel.failures).toEqual([]);
  kernel.tell("closed");
  vi.useRealTimers();
});

test("backup() tries the two paths in turn, the first one after a while, until one holds", () => {
  end(local, "ECONNRESET");
  expect(kernel.asked).toEqual([two.address]);
  end(two, "ECONNREFUSED");
  expect(kernel.asked).toEqual([two.address]);
  vi.advanceTimersByTime(1000);
  expect(kernel.asked).toEqual([two.address, local.address]);
  end({ ...local, port: 40_002 }, "ETIMEDOUT");
  expect(kernel.asked).toEqual([two.address, local.address, two.address]);
  kernel.tell("subflow_established", { local: { ...two, port: 40_003 }, localId: idOf(two), remote });
  vi.advanceTimersByTime(10_000);
  expect(kernel.asked).toHaveLength(3);
});

test("backup() goes on trying while neither path can be taken", () => {
  kernel.refusal = new PathManagerError({ kind: "unreachable", action: "", errno: 101, reason: "there is no route" });
  end(local, "ENETUNREACH");
  vi.advanceTimersByTime(5000);
  expect(kernel.asked).toEqual([]);
  kernel.refusal = undefined;
  vi.advanceTimersByTime(1000);
  expect(kernel.asked).toEqual([local.address]);
});

test("backup() leaves connections alone that close in good order", () => {
  end(local);
  vi.advanceTimersByTime(5000);
  expect(kernel.asked).toEqual([]);
});
