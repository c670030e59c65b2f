/** Runs the steps of a plan: a tool or a setting, inside a namespace. */
import { spawnSync } from "node:child_process";
import { accessSync, constants, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { missingCapabilities } from "../linux/capabilities.ts";
import { withNetns, type NetworkNamespace } from "../linux/netns.ts";
import { tools, type Step, type Tool } from "./plan.ts";

/** Which package of Debian and Fedora has a tool. */
const packageOf: Readonly<Record<Tool, string>> = {
  ip: "iproute2",
  tc: "iproute2",
  iptables: "iptables",
  ip6tables: "iptables",
  ethtool: "ethtool",
};

const searchPath = [...new Set([...(process.env["PATH"] ?? "").split(":"), "/usr/sbin", "/sbin", "/usr/bin", "/bin"])];

function locate(tool: string): string | undefined {
  return searchPath
    .map((folder) => path.join(folder, tool))
    .find((file) => {
      try {
        accessSync(file, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

/** The tools that a lab needs and this machine lacks, with the packages that have them. */
export function missingTools(): { tool: Tool; package: string }[] {
  return tools.filter((tool) => locate(tool) === undefined).map((tool) => ({ tool, package: packageOf[tool] }));
}

/** @throws Error that names the packages to install. */
export function requireTools(): void {
  const missing = missingTools();
  if (missing.length === 0) return;
  const packages = [...new Set(missing.map((one) => one.package))].join(" ");
  throw new Error(`Cannot run a lab: ${missing.map((one) => one.tool).join(", ")} not found; install ${packages}`);
}

/** @throws Error that names the missing capabilities. */
export function requireRights(): void {
  const missing = missingCapabilities(["CAP_SYS_ADMIN", "CAP_NET_ADMIN"]);
  if (missing.length > 0) throw new Error(`Cannot run a lab: ${missing.join(" and ")} missing; run as root`);
}

/** What the tool printed. @throws Error with the command line and what the tool said. */
export function runTool(netns: NetworkNamespace | undefined, tool: Tool, args: readonly string[]): string {
  const executable = locate(tool);
  if (executable === undefined) throw new Error(`Cannot run ${tool}: not found; install ${packageOf[tool]}`);
  const result = withNetns(netns, () => spawnSync(executable, args, { encoding: "utf8" }));
  if (result.error !== undefined) throw result.error;
  if (result.status !== 0) {
    const said = (result.stderr || result.stdout).trim();
    throw new Error(`Cannot set up the lab: ${tool} ${args.join(" ")}: ${said || `status ${result.status}`}`);
  }
  return result.stdout;
}

const sysctlFile = (name: string) => `/proc/sys/${name.replaceAll(".", "/")}`;

export function writeSysctl(netns: NetworkNamespace, name: string, value: string): void {
  try {
    withNetns(netns, () => writeFileSync(sysctlFile(name), value));
  } catch (cause) {
    throw new Error(`Cannot set up the lab: ${name} cannot be set to ${value}`, { cause });
  }
}

export function readSysctl(netns: NetworkNamespace, name: string): string {
  return withNetns(netns, () => readFileSync(sysctlFile(name), "utf8")).trim();
}

export function executeStep(step: Step, namespaceOf: (where: string) => NetworkNamespace): void {
  const netns = namespaceOf(step.where);
  if ("tool" in step) runTool(netns, step.tool, step.args);
  else writeSysctl(netns, step.sysctl, step.value);
}
