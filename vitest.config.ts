import { defineConfig } from "vitest/config";

/** Tests that only run programs on packets (BPF_PROG_TEST_RUN): what one does, no other can see. */
const testRuns = [
  "src/bpf/**/*.system.test.ts",
  "src/compiler/{backend,frontend}/**/*.system.test.ts",
  "src/compiler/linked.system.test.ts",
  "src/policies/*.system.test.ts",
];

// Unit tests share processes; test runs have a process each. Both want nothing but a processor, and use all there are. The other
// system tests change what all of the machine share, and measure: one file at a time, behind them.
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          include: ["src/**/*.test.ts"],
          exclude: ["src/**/*.system.test.ts"],
          isolate: false,
          maxWorkers: 2,
          // Time is stolen in bursts where many machines share one.
          testTimeout: 30_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          name: "test-runs",
          include: testRuns,
          pool: "forks",
          maxWorkers: 2,
          testTimeout: 120_000,
          hookTimeout: 120_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          name: "system",
          include: ["src/**/*.system.test.ts"],
          exclude: testRuns,
          pool: "forks",
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 120_000,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
