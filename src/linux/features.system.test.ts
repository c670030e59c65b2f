import { spawnSync } from "node:child_process";
import { expect, test } from "vitest";
import { effectiveCapabilities, parseEffectiveCapabilities } from "./capabilities.ts";
import { MissingFeaturesError, probeFeatures, requireFeatures } from "./features.ts";
import { KernelError } from "./kernel-error.ts";
import { declare } from "./ffi.ts";
import { createMap } from "./maps.ts";

test("probeFeatures() finds everything that a current kernel has", () => {
  const notInMainline = "mptcpScheduler";
  const missing = probeFeatures().filter(({ id, present }) => !present && id !== notInMainline);
  expect(missing).toEqual([]);
});

test("probeFeatures() agrees with what the system's own tools say", () => {
  const found = Object.fromEntries(probeFeatures().map((feature) => [feature.id, feature.present]));
  const schedulers = spawnSync("grep", ["-c", "bpf_struct_ops_mptcp_sched_ops", "/sys/kernel/btf/vmlinux"]);
  expect(found["mptcpScheduler"]).toBe(schedulers.status === 0);
  expect(found["capBpf"]).toBe(effectiveCapabilities().has("CAP_BPF"));
  expect(found["mptcp"]).toBe(spawnSync("sysctl", ["-n", "net.mptcp.enabled"], { encoding: "utf8" }).stdout === "1\n");
});

test("parseEffectiveCapabilities() reads the mask of proc", () => {
  expect(parseEffectiveCapabilities("Name:\tx\nCapPrm:\t0000000000000000\nCapEff:\t000000c000001000\n")).toEqual(
    new Set(["CAP_NET_ADMIN", "CAP_PERFMON", "CAP_BPF"]),
  );
});

test("requireFeatures() and createMap() name the capability that an ordinary user lacks", () => {
  const setresuid = declare("setresuid", "int", ["int", "int", "int"]);
  const NOBODY = 65_534;
  const map = { name: "x", type: "hash", keySize: 4, valueSize: 4, maxEntries: 1 } as const;
  requireFeatures(["capBpf", "capNetAdmin"]);
  const errors: unknown[] = [];
  // The saved user stays root, so that the way back is open.
  setresuid(-1, NOBODY, -1);
  try {
    for (const act of [() => requireFeatures(["capBpf", "capNetAdmin"]), () => createMap(map).close()]) {
      try {
        act();
      } catch (error) {
        errors.push(error);
      }
    }
  } finally {
    setresuid(-1, 0, -1);
  }
  const [required, created] = errors;
  expect(required).toBeInstanceOf(MissingFeaturesError);
  expect((required as MissingFeaturesError).missing.map(({ id }) => id)).toEqual(["capBpf", "capNetAdmin"]);
  expect((required as Error).message).toMatch(/CAP_BPF .*\n.*CAP_NET_ADMIN/);
  expect(created).toBeInstanceOf(KernelError);
  expect(created).toMatchObject({ missing: "CAP_BPF", code: "EPERM" });
});
