/** The hand-written C programs, compiled with clang where it is installed. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { ProgramSpec } from "../bpf/spec.ts";
import type { BenchHook } from "./chains.ts";
import { readElfProgram } from "../bpf/elf/index.ts";

/** C files stay in src/, also for the build in dist/. */
const folder = fileURLToPath(new URL("../../src/bench/baseline/", import.meta.url));

const targets = {
  xdp: { define: "HOOK_XDP", section: "xdp", type: "xdp", attachType: "xdp" },
  tcx_ingress: { define: "HOOK_TC", section: "tc", type: "schedCls", attachType: "tcxIngress" },
} as const;

/** The first line of `clang --version`, or undefined where there is no clang. */
export function clangVersion(): string | undefined {
  const { status, stdout } = spawnSync("clang", ["--version"], { encoding: "utf8" });
  return status === 0 ? stdout.split("\n")[0] : undefined;
}

/** Compiles baseline/`name`.c for one hook. @throws Error with what clang says */
export function compileBaseline(name: string, hook: BenchHook): ProgramSpec {
  const { define, section, type, attachType } = targets[hook];
  const output = mkdtempSync(join(tmpdir(), "emptcp-bench-"));
  try {
    const object = join(output, "baseline.o");
    const options = ["-O2", "-g", "-mcpu=v3", "-Wall", "-Werror", "-target", "bpf", `-D${define}`];
    const { status, stderr } = spawnSync("clang", [...options, "-c", join(folder, `${name}.c`), "-o", object], {
      encoding: "utf8",
    });
    if (status !== 0) throw new Error(`Cannot compile ${name}.c: ${stderr}`);
    return { name, type, attachType, license: "GPL", ...readElfProgram(readFileSync(object), section) };
  } finally {
    rmSync(output, { recursive: true, force: true });
  }
}
