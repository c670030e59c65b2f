import { defineConfig } from "vitest/config";

/** Tests that only load programs or run them on packets (BPF_PROG_TEST_RUN): what one does, no other can see. */
const testRuns = [
  "src/bpf/**/*.system.test.ts",
  "src/chain/object.system.test.ts",
  "src/compiler/{backend,frontend}/**/*.system.test.ts",
  "src/compiler/linked.system.test.ts",
  "src/linux/{programs,vm-agreement}.system.test.ts",
  "src/policies/**/*.system.test.ts",
];

/** Tests of commands in a network namespace of their own, under names of their own, which measure nothing. */
const commands = [
  "src/cli/{build,chain,chain-edit,chain-members,events,examples-paths,explain,paths,paths-run,watch}.system.test.ts",
];

// Files share processes: loading modules takes longer than most tests do. Unit tests, test runs and commands want nothing but a
// processor, and use all there are. The other system tests change what all of the machine share, and measure: one file at a
// time, behind them.
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
          include: [...testRuns, ...commands],
          pool: "forks",
          isolate: false,
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
          exclude: [...testRuns, ...commands],
          pool: "forks",
          isolate: false,
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 120_000,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
