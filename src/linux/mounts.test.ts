import { expect, test } from "vitest";
import { countCpus } from "./memory.ts";
import { parseMountInfo } from "./mounts.ts";

test("parseMountInfo() reads paths with blanks, any number of optional fields, and what may be written", () => {
  const text = [
    "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw",
    "42 23 0:39 / /mnt/b\\040pf ro,relatime shared:5 master:1 - bpf none rw",
    "",
  ].join("\n");
  expect(parseMountInfo(text)).toEqual([
    { path: "/sys/fs/cgroup/unified", type: "cgroup2", writable: true },
    { path: "/mnt/b pf", type: "bpf", writable: false },
  ]);
});

test.each([
  ["0\n", 1],
  ["0-3\n", 4],
  ["0-1,4,6-7\n", 5],
])("countCpus() counts %j", (list, count) => {
  expect(countCpus(list)).toBe(count);
});
