/** `emptcp chain edit` and `repair`: change the parts of a running chain, attach it again where interfaces are back. */
import type { Command } from "commander";
import { showSelector } from "../../chain/description.ts";
import type { ChainParts } from "../../chain/running.ts";
import { openChain } from "../../chain/chains.ts";
import type { Input, InputRecord } from "../../chain/inputs.ts";
import { UsageError } from "../errors.ts";
import { print, printJson, withProgress } from "../output.ts";

/** `rate_limit rate=10mbit` or `./mine.ts:halve shift=2`. */
export interface PolicyWords {
  readonly file?: string;
  readonly name: string;
  readonly inputs: InputRecord;
}

/** One edit as it was given: what, and its words. */
export interface Edit {
  readonly option: keyof typeof edits;
  readonly words: readonly string[];
}

type Policies = (kind: "selector" | "actor", words: readonly string[]) => { policy: never; inputs: never };

interface Kind {
  readonly value: string;
  readonly help: string;
  apply(parts: ChainParts, words: readonly string[], find: Policies): void;
}

const selectorNumber = "<selector>";
const policy = "<policy param=value…>";

/** All that can be asked for, in the order in which the help shows it. */
const edits = {
  add: {
    value: policy,
    help: "append an actor",
    apply({ actors }, words, find) {
      const { policy: actor, inputs } = find("actor", words);
      actors.add(actor, inputs);
    },
  },
  insert: {
    value: "<place policy param=value…>",
    help: "put an actor before another one",
    apply({ actors }, [place, ...words], find) {
      const { policy: actor, inputs } = find("actor", words);
      actors.insert(place, actor, inputs);
    },
  },
  remove: {
    value: "<actor>",
    help: "take an actor out",
    apply: ({ actors }, [place]) => void actors.remove(place),
  },
  move: {
    value: "<actor place>",
    help: "let an actor run at another place",
    apply({ actors }, [place, to]) {
      if (!/^\d+$/.test(to ?? ""))
        throw new UsageError(`Cannot move ${place}: say to which place, for example --move "${place} 1"`);
      actors.move(place, Number(to));
    },
  },
  swap: {
    value: "<actor policy param=value…>",
    help: "put another actor in the place of one",
    apply({ actors }, [place, ...words], find) {
      const { policy: actor, inputs } = find("actor", words);
      actors.replace(place, actor, inputs);
    },
  },
  disable: {
    value: "<actor>",
    help: "leave an actor out for now; it keeps parameters, counters and state",
    apply: ({ actors }, [place]) => void actors.disable(place),
  },
  enable: {
    value: "<actor>",
    help: "let it act again",
    apply: ({ actors }, [place]) => void actors.enable(place),
  },
  select: {
    value: policy,
    help: "narrow the selectors: and this one",
    apply({ selectors }, words, find) {
      const { policy: selector, inputs } = find("selector", words);
      selectors.select(selector, inputs);
    },
  },
  or: {
    value: policy,
    help: "widen the selectors: or this one",
    apply({ selectors }, words, find) {
      const { policy: selector, inputs } = find("selector", words);
      selectors.or(selector, inputs);
    },
  },
  exclude: {
    value: policy,
    help: "narrow the selectors: and not this one",
    apply({ selectors }, words, find) {
      const { policy: selector, inputs } = find("selector", words);
      selectors.exclude(selector, inputs);
    },
  },
  setSelector: {
    value: "<selector param=value…>",
    help: "give a selector other parameters",
    apply: ({ selectors }, [place, ...words]) => void selectors.set(place, readInputs(words)),
  },
  unselect: {
    value: selectorNumber,
    help: "take a selector out",
    apply: ({ selectors }, [place]) => void selectors.remove(place),
  },
  disableSelector: {
    value: selectorNumber,
    help: "decide without a selector for now",
    apply: ({ selectors }, [place]) => void selectors.disable(place),
  },
  enableSelector: {
    value: selectorNumber,
    help: "let it decide again",
    apply: ({ selectors }, [place]) => void selectors.enable(place),
  },
} as const satisfies Record<string, Kind>;

export function addEdit(chain: Command): void {
  const asked: Edit[] = [];
  const command = chain
    .command("edit")
    .summary("change selectors and actors of a running chain")
    .description(
      "Changes the parts of a chain while packets flow: all that is asked, in the order given, in one step, or nothing.\n" +
        "No packet meets half of it; counters, state and parameters of what stays go on. ACTOR and SELECTOR are names, or\n" +
        "numbers where a name stands twice; POLICY is a built-in one's name, or FILE.ts:NAME for one of your own.",
    )
    .argument("<name>", "a chain");
  for (const [name, { value, help }] of Object.entries(edits))
    command.option(
      `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)} ${value}`,
      help,
      (text: string) => {
        asked.push({ option: name as Edit["option"], words: text.trim().split(/\s+/) });
        return asked;
      },
    );
  command
    .option("--json", "print { name, selector, actors, tookMs }")
    .addHelpText(
      "after",
      `
Examples:
  sudo emptcp chain edit phones --add record
  sudo emptcp chain edit phones --insert "1 rate_limit rate=5mbit" --disable blk_subflow
  sudo emptcp chain edit phones --exclude "dst prefix=10.9.0.0/16" --move "record 1"
  sudo emptcp chain edit phones --swap "rate_limit ./mine.ts:halve shift=2"`,
    )
    .action(async (name: string, { json }: { json?: true }) => await edit(name, asked, json));

  chain
    .command("repair")
    .summary("attach chains again whose interfaces were gone")
    .description(
      "A chain loses an interface that is removed, also when one of the same name comes back. This attaches it again there;\n" +
        "chain list says which interfaces are gone.",
    )
    .argument("<name...>", "chains")
    .option("--json", "print [{ name, repaired: [interfaces] }]")
    .addHelpText("after", "\nExample:\n  sudo emptcp chain repair phones")
    .action(async (names: string[], { json }: { json?: true }) => {
      const done: { name: string; repaired: string[] }[] = [];
      for (const running of names.map(openChain)) done.push({ name: running.name, repaired: await running.repair() });
      if (json) return printJson(done);
      for (const { name, repaired } of done)
        print(
          `Chain ${name}: ${repaired.length > 0 ? `attached to ${repaired.join(", ")} again` : "nothing to repair"}`,
        );
    });
}

async function edit(name: string, asked: readonly Edit[], json: true | undefined): Promise<void> {
  if (asked.length === 0)
    throw new UsageError(
      `Cannot tell what to change: give for example --add record; emptcp chain edit --help has more`,
    );
  const running = openChain(name);
  const started = performance.now();
  await withProgress("compiling and replacing …", async () => {
    const policies = await loadPolicies(asked);
    await running.edit((parts) => {
      for (const { option, words } of asked) edits[option].apply(parts, words, policies);
    });
  });
  const tookMs = Math.round(performance.now() - started);
  const { selector, actors } = running.description;
  if (json) return printJson({ name, selector, actors, tookMs });
  print(`Chain ${name} is changed (${tookMs} ms)`);
  print(`  packets  ${showSelector(selector)}`);
  print(`  actors   ${actors.map((actor) => `${actor.name}${actor.disabled ? " [disabled]" : ""}`).join(", ")}`);
}

/** Finds the policies that edits name; those of files are loaded first. */
async function loadPolicies(asked: readonly Edit[]): Promise<Policies> {
  const { findInFile } = await import("../../chain/rebuild.ts");
  const found = new Map<string, unknown>();
  for (const word of asked.flatMap(({ words }) => words)) {
    const { file, name } = splitPolicy(word);
    if (file === undefined) continue;
    for (const kind of ["selector", "actor"] as const) found.set(`${kind} ${word}`, await findInFile(kind, name, file));
  }
  return (kind, words) => {
    const { name, file, inputs } = readPolicy(words);
    const loaded = file === undefined ? name : found.get(`${kind} ${words[0]}`);
    if (loaded === undefined) throw new UsageError(`Cannot find ${kind} ${name}: ${file} exports none of that name`);
    return { policy: loaded as never, inputs: inputs as never };
  };
}

function splitPolicy(word: string): { file?: string; name: string } {
  const match = /^(.+\.m?[jt]s):(\w+)$/.exec(word);
  return match ? { file: match[1], name: match[2] } : { name: word };
}

/** `rate_limit rate=10mbit`. @throws UsageError */
export function readPolicy([first, ...rest]: readonly string[]): PolicyWords {
  if (first === undefined || first === "")
    throw new UsageError("Cannot tell which policy is meant: write its name, for example rate_limit rate=10mbit");
  return { ...splitPolicy(first), inputs: readInputs(rest) };
}

function readInputs(words: readonly string[]): InputRecord {
  const inputs: Record<string, Input> = {};
  for (const word of words) {
    const match = /^(\w+)=(.*)$/.exec(word);
    if (!match) throw new UsageError(`Cannot read ${word}: write PARAM=VALUE, for example rate=10mbit`);
    if (match[1] in inputs) throw new UsageError(`Cannot set ${match[1]} twice`);
    inputs[match[1]] = match[2];
  }
  return inputs;
}
