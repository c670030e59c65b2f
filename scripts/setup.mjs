/**
 * Makes a fresh clone ready to run: npm packages, Debian packages for the tools the lab calls, and the build in dist/. Each
 * step is skipped when there is nothing to do. Speaks on stderr only, so that what runs next owns stdout.
 *
 *   --packages   npm packages only
 *   --tests      also the tools that only tests call
 *   --quiet      say nothing unless something fails
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { accessSync, constants, existsSync, readFileSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const known = ["--packages", "--tests", "--quiet"];
const options = new Set(process.argv.slice(2));
for (const option of options) {
  if (!known.includes(option)) fail(`Cannot set up: no option ${option}; there are ${known.join(", ")}`, 2);
}

/** Executables the lab calls, and the Debian package each comes from. */
const tools = {
  ip: "iproute2",
  tc: "iproute2",
  ss: "iproute2",
  iptables: "iptables",
  ethtool: "ethtool",
  ping: "iputils-ping",
  // bpftool loads the object files that `emptcp build` writes, clang makes chain members from C, as their users will.
  ...(options.has("--tests") && { bpftool: "bpftool", clang: "clang" }),
};
/** A user's PATH may lack the folders where Debian keeps administrators' tools. */
const searchPath = [...(process.env.PATH ?? "").split(delimiter), "/usr/sbin", "/sbin"].filter(Boolean);

/** Steps faster than this are not worth a line. */
const silentMs = 1500;

checkNode();
installNpmPackages();
if (!options.has("--packages")) {
  installTools();
  build();
}

function checkNode() {
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major < 20 || (major === 20 && minor < 11))
    fail(`Cannot set up: emptcp needs Node 20.11 or later, this is ${process.versions.node}`);
}

function installNpmPackages() {
  const lock = createHash("sha256")
    .update(readFileSync(join(root, "package-lock.json")))
    .digest("hex");
  const marker = join(root, "node_modules", ".emptcp-setup");
  if (existsSync(marker) && readFileSync(marker, "utf8") === lock) return;
  step("npm packages", () => {
    run("npm", ["ci", "--ignore-scripts", "--loglevel=error"]);
    writeFileSync(marker, lock);
  });
}

function installTools() {
  const missing = Object.keys(tools).filter((tool) => !findExecutable(tool));
  if (missing.length === 0) return;
  const packages = [...new Set(missing.map((tool) => tools[tool]))];
  const byHand = `install ${packages.join(", ")} (missing: ${missing.join(", ")})`;
  if (!findExecutable("apt-get")) fail(`Cannot install system packages without apt-get: ${byHand}`);
  if (process.getuid() !== 0)
    fail(`Cannot install system packages without root: ${byHand}, e.g. sudo apt-get install ${packages.join(" ")}`);
  step(`system packages (${packages.join(", ")})`, () => {
    const install = ["apt-get", ["install", "-y", "--no-install-recommends", ...packages]];
    const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
    if (attempt(...install, env).status === 0) return;
    // The package lists are missing or out of date.
    run("apt-get", ["update"], env);
    run(...install, env);
  });
  const still = missing.filter((tool) => !findExecutable(tool));
  if (still.length > 0) fail(`Cannot find ${still.join(", ")} although ${packages.join(", ")} was installed`);
}

function build() {
  const tsc = join(root, "node_modules", "typescript", "bin", "tsc");
  step("build", () => run(process.execPath, [tsc, "-p", "tsconfig.build.json"]));
}

function findExecutable(name) {
  return searchPath.some((folder) => {
    try {
      accessSync(join(folder, name), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function step(name, work) {
  const loud = !options.has("--quiet");
  const live = loud && process.stderr.isTTY;
  if (live) process.stderr.write(`setup  ${name} …`);
  const start = performance.now();
  work();
  const took = performance.now() - start;
  if (live) process.stderr.write("\r\u001b[K");
  if (loud && took >= silentMs) process.stderr.write(`setup  ${(took / 1000).toFixed(1).padStart(5)} s  ${name}\n`);
}

function attempt(command, args, env = process.env) {
  return spawnSync(command, args, { cwd: root, env, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

function run(command, args, env) {
  const { status, error, stdout, stderr } = attempt(command, args, env);
  if (status === 0) return;
  const said = `${stdout ?? ""}${stderr ?? ""}`.trim() || error?.message || `exit code ${status}`;
  fail(`\n${said}\nCannot set up: ${[command, ...args].join(" ")} failed`);
}

function fail(message, code = 1) {
  process.stderr.write(`${message}\n`);
  process.exit(code);
}
