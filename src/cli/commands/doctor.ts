/** `emptcp doctor`: what this machine offers, what it lacks, what to do about it. */
import type { Command } from "commander";
import { missingTools } from "../../lab/index.ts";
import { probeFeatures } from "../../linux/index.ts";
import { colours, print, printJson } from "../output.ts";
import { formatTable } from "../table.ts";

interface Finding {
  readonly name: string;
  readonly neededFor: string;
  readonly optional: boolean;
  readonly present: boolean;
  readonly detail: string;
  readonly remedy: string;
}

function findTools(): Finding {
  const missing = missingTools();
  const packages = [...new Set(missing.map((one) => one.package))].join(" ");
  return {
    name: "ip, tc, iptables, ethtool",
    neededFor: "the lab and the demo",
    optional: false,
    present: missing.length === 0,
    detail: missing.length === 0 ? "found" : `${missing.map(({ tool }) => tool).join(", ")} not found`,
    remedy: packages ? `Install ${packages}` : "Install iproute2 iptables ethtool",
  };
}

/** Without capabilities the kernel refuses most probes: their remedies would send a person the wrong way. */
function withoutGuesses(features: readonly Finding[]): Finding[] {
  const lacking = features.filter(({ name, present }) => name.startsWith("CAP_") && !present).map(({ name }) => name);
  if (lacking.length === 0) return [...features];
  return features.map((feature) => {
    if (feature.present || lacking.includes(feature.name)) return feature;
    return { ...feature, remedy: "Run as root, then it can be told", detail: `refused without ${lacking.join(", ")}` };
  });
}

function verdict({ present, optional }: Finding): string {
  if (present) return colours.green("yes");
  return optional ? colours.yellow("no (optional)") : colours.red("NO");
}

export function addDoctor(program: Command): void {
  program
    .command("doctor")
    .summary("check what this machine offers")
    .description(
      "Checks, by trying, every feature of this machine that emptcp uses.\n" +
        "Exit code 1 when one that is required is missing.",
    )
    .option("--json", "print { ok, features: [...] }")
    .addHelpText(
      "after",
      "\nExamples:\n  sudo emptcp doctor\n  emptcp doctor --json | jq '.features[] | select(.present | not)'",
    )
    .action(({ json }: { json?: true }) => {
      const findings = [...withoutGuesses(probeFeatures()), findTools()];
      const ok = findings.every(({ present, optional }) => present || optional);
      if (json) printJson({ ok, features: findings });
      else printFindings(findings, ok);
      if (!ok) process.exitCode = 1;
    });
}

function printFindings(findings: readonly Finding[], ok: boolean): void {
  print(
    formatTable(
      [
        { title: "FEATURE", of: ({ name }) => name },
        { title: "NEEDED FOR", of: ({ neededFor }) => neededFor },
        { title: "PRESENT", of: verdict },
        {
          title: "FOUND, OR WHAT TO DO",
          of: ({ present, detail, remedy }) => (present ? detail : `${remedy} (${detail})`),
        },
      ],
      findings,
    ),
  );
  const missing = findings.filter(({ present, optional }) => !present && !optional).length;
  const lacks = missing === 1 ? "One required feature is missing" : `${missing} required features are missing`;
  print(ok ? "\nEverything that is required is there." : `\n${lacks}.`);
}
