import { defineConfig } from "vitest/config";

// Unit tests share a process; system tests touch the kernel, so they run one file at a time, each in its own process.
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
        },
      },
      {
        test: {
          name: "system",
          include: ["src/**/*.system.test.ts"],
          pool: "forks",
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
    ],
  },
});
