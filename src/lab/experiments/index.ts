/** The experiments by name. Each is loaded when it is run: they compile chains, and a compiler takes its time to load. */
import type { Experiment } from "./experiment.ts";

export interface ExperimentEntry {
  readonly summary: string;
  readonly load: () => Promise<Experiment>;
}

export const experiments: Readonly<Record<string, ExperimentEntry>> = {
  "multi-tenant": {
    summary: "guests' subflows over two uplinks of their hypervisor (about 5 minutes)",
    load: async () => (await import("./multi-tenant.ts")).multiTenant,
  },
  "path-management": {
    summary: "one path at first, more with the bytes received, none that shares a link (about 4 minutes)",
    load: async () => (await import("./path-management.ts")).pathManagement,
  },
  scheduling: {
    summary: "rates of subflows on unlike paths, decided each 100 ms (about 5 minutes)",
    load: async () => (await import("./scheduling.ts")).scheduling,
  },
  fairness: {
    summary: "MPTCP of 1 to 3 subflows beside TCP at one bottleneck, uncoupled and coupled (about 3 minutes)",
    load: async () => (await import("./fairness.ts")).fairness,
  },
  "load-balancing": {
    summary: "subflows that routers spread over four paths, replaced when they are slow (about 9 minutes)",
    load: async () => (await import("./load-balancing.ts")).loadBalancing,
  },
  credits: {
    summary: "parallel downloads by credit instead of by loss (about 5 minutes)",
    load: async () => (await import("./credits.ts")).credits,
  },
  "smart-backup": {
    summary: "a path goes bad under an upload, and a backup is there (about 3 minutes)",
    load: async () => (await import("./smart-backup.ts")).smartBackup,
  },
  "smart-streaming": {
    summary: "blocks due within a second, over a path that loses packets (about 3 minutes)",
    load: async () => (await import("./smart-streaming.ts")).smartStreaming,
  },
  "join-delay": {
    summary: "second subflows by the kernel and by a controller: how much later (about 2 minutes)",
    load: async () => (await import("./join-delay.ts")).joinDelay,
  },
  overhead: {
    summary: "what chains cost packets, flows and processors (about 4 minutes)",
    load: async () => (await import("./overhead.ts")).overhead,
  },
};

export { runExperiment, type Experiment, type ExperimentOptions } from "./experiment.ts";
