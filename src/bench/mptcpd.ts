/**
 * mptcpd as Debian packages it, with a plugin that does what second-subflow.ts does. It is not installed: its packages are
 * downloaded and unpacked into a folder of the build's caches, so that no service of it starts on this machine.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const cache = fileURLToPath(new URL("../../node_modules/.cache/emptcp/", import.meta.url));
const source = fileURLToPath(new URL("../../src/bench/baseline/second_subflow.c", import.meta.url));
const packages = ["mptcpd", "libmptcpd3", "libmptcpd3-dev", "libell0"];
const plugin = "second_subflow";

export interface Mptcpd {
  /** E.g. "mptcpd 0.12". */
  readonly version: string;
  readonly command: readonly [string, ...string[]];
}

/** Downloads what is not there yet. @throws Error that says what is missing: network, Debian, a compiler */
export function prepareMptcpd(secondAddress: string): Mptcpd {
  const root = join(cache, "mptcpd");
  if (!existsSync(root)) fetchPackages(root);
  const libraries = join(root, "usr/lib");
  const triplet = readdirSync(libraries).find((name) => existsSync(join(libraries, name, "libmptcpd.so.3")));
  if (triplet === undefined) throw new Error(`Cannot find libmptcpd.so.3 below ${libraries}`);
  const plugins = join(root, "plugins");
  compilePlugin(root, plugins);
  const daemon = join(root, "usr/libexec/mptcpd");
  const environment = ["env", `LD_LIBRARY_PATH=${join(libraries, triplet)}`] as const;
  return {
    version: run(environment[0], [environment[1], daemon, "--version"]).split("\n")[0].trim(),
    command: [
      ...environment,
      `SECOND_ADDRESS=${secondAddress}`,
      daemon,
      `--plugin-dir=${plugins}`,
      `--load-plugins=${plugin}`,
      `--path-manager=${plugin}`,
      // It warns of each event, of which it does not know all attributes.
      "--log=null",
    ],
  };
}

function compilePlugin(root: string, folder: string): void {
  mkdirSync(folder, { recursive: true });
  // Another benchmark may be loading it right now.
  const aside = join(folder, `${plugin}.${process.pid}`);
  const options = ["-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-I", join(root, "usr/include")];
  run("cc", [...options, "-o", aside, source]);
  renameSync(aside, join(folder, `${plugin}.so`));
}

function fetchPackages(root: string): void {
  mkdirSync(cache, { recursive: true });
  // Unpacked aside and renamed: all of it is there, or nothing.
  const aside = mkdtempSync(join(cache, "mptcpd-"));
  try {
    const download = ["-o", "APT::Sandbox::User=root", "download", ...packages];
    if (attempt("apt-get", download, aside).status !== 0) {
      // The package lists are missing or out of date.
      run("apt-get", ["update"]);
      run("apt-get", download, aside);
    }
    const unpacked = join(aside, "root");
    for (const file of readdirSync(aside).filter((name) => name.endsWith(".deb")))
      run("dpkg-deb", ["-x", join(aside, file), unpacked]);
    renameSync(unpacked, root);
  } finally {
    rmSync(aside, { recursive: true, force: true });
  }
}

function attempt(command: string, args: readonly string[], cwd?: string) {
  return spawnSync(command, args, { encoding: "utf8", cwd, timeout: 60_000 });
}

function run(command: string, args: readonly string[], cwd?: string): string {
  const { status, stdout, stderr, error } = attempt(command, args, cwd);
  if (status === 0) return stdout;
  const said = (stderr ?? "").trim() || error?.message || `exit code ${status}`;
  throw new Error(`${[command, ...args].join(" ")} failed: ${said}`);
}
