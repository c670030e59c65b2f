/** `emptcp chain members`: list the members of a set, add some, change them, remove them. */
import { InvalidArgumentError, type Command } from "commander";
import { openChain } from "../../chain/chains.ts";
import type { InputRecord, MemberRecord, RunningMembers } from "../../chain/index.ts";
import { UsageError } from "../errors.ts";
import { readMembers } from "../member-file.ts";
import { print, printJson, withProgress } from "../output.ts";
import { formatCount, formatTable } from "../table.ts";

interface Flags {
  readonly add?: readonly InputRecord[];
  readonly update?: readonly InputRecord[];
  readonly remove?: readonly InputRecord[];
  readonly from?: string;
  readonly replace?: true;
  readonly list?: true;
  readonly json?: true;
}

export function addMembers(chain: Command): void {
  chain
    .command("members")
    .summary("list and change the members of a set")
    .description(
      "Lists the members of a chain's set, adds some, changes or removes them while packets flow: all, or none if one is\n" +
        "wrong. A member is written as FIELD=VALUE, separated by commas: what makes it, and its parameters.",
    )
    .argument("<name>", "a chain")
    .argument("[set]", "one of its sets (default: the only one)")
    .option("--add <member>", "a member to add, or to give other parameters; may be repeated", collect)
    .option("--update <member>", "a member that is there, and the parameters to change; may be repeated", collect)
    .option("--remove <member>", "a member to remove, without its parameters; may be repeated", collect)
    .option(
      "--from <file>",
      "members to add: a .csv file with a line of fields, or a .json file with an array of objects",
    )
    .option("--replace", "with --from: make these the only members")
    .option("--list", "list the members, also after a change")
    .option("--json", "print { name, set, members: count }, with --list as an array of members")
    .addHelpText(
      "after",
      `
Examples:
  sudo emptcp chain members limit
  sudo emptcp chain members limit phones --add prefix=10.20.0.7,rate=5mbit --remove prefix=10.20.0.8
  sudo emptcp chain members limit phones --from phones.csv --replace`,
    )
    .action(members);
}

function collect(text: string, previous: readonly InputRecord[] = []): InputRecord[] {
  const fields = text.split(",").map((field): [string, string] => {
    const at = field.indexOf("=");
    if (at < 1) throw new InvalidArgumentError("Write FIELD=VALUE,FIELD=VALUE.");
    return [field.slice(0, at).trim(), field.slice(at + 1).trim()];
  });
  if (new Set(fields.map(([name]) => name)).size < fields.length)
    throw new InvalidArgumentError("Give each field once.");
  return [...previous, Object.fromEntries(fields)];
}

async function members(name: string, set: string | undefined, flags: Flags): Promise<void> {
  const { add, update, remove, from, replace } = flags;
  if (replace && from === undefined) throw new UsageError("Cannot replace members: give them with --from FILE");
  const asked = [add, update, remove, from].filter((one) => one !== undefined);
  if (asked.length > 1)
    throw new UsageError(
      "Cannot do several changes at once: each is all or nothing; give one of --add, --update, --remove, --from",
    );
  const running = openChain(name).members(set);
  const changed = await change(running, flags);
  if (changed !== undefined && !flags.list) {
    const count = running.count();
    if (flags.json) return printJson({ name, set: running.name, members: count });
    return print(
      `Chain ${name}, ${running.name}: ${changed}; ${formatCount(count)} of at most ${formatCount(running.slot.maxEntries)}`,
    );
  }
  const list = await withProgress(
    `reading members of ${running.name} …`,
    async () => await Promise.resolve(running.list()),
  );
  if (flags.json) printJson(list);
  else show(running, list);
}

/** Does `action`, and says what that is while it lasts; gives what was done. */
async function doing(done: string, action: () => void): Promise<string> {
  await withProgress(`${done.replace("ed ", "ing ")} …`, async () => await Promise.resolve(action()));
  return done;
}

/** Does what is asked, and says what that was. */
async function change(running: RunningMembers, flags: Flags): Promise<string | undefined> {
  const { add, update, remove, from, replace } = flags;
  if (add) return await doing(`added ${count(add)}`, () => running.add(add));
  if (update) return await doing(`changed ${count(update)}`, () => running.update(update));
  if (remove) return await doing(`removed ${count(remove)}`, () => running.remove(remove));
  if (from === undefined) return undefined;
  const read = readMembers(from);
  if (replace) return await doing(`replaced all by ${count(read)}`, () => running.replace(read));
  return await doing(`added ${count(read)}`, () => running.add(read));
}

const count = ({ length }: readonly unknown[]): string =>
  `${formatCount(length)} ${length === 1 ? "member" : "members"}`;

const mostRows = 40;

function show({ name, slot }: RunningMembers, list: readonly MemberRecord[]): void {
  const constant = [...slot.key, ...slot.params];
  print(`${name} (${slot.selector}): ${count(list)} of at most ${formatCount(slot.maxEntries)}`);
  if (list.length === 0) return;
  const columns = constant.map(({ name: field }) => ({ title: field, of: (member: MemberRecord) => member[field] }));
  print(formatTable(columns, list.slice(0, mostRows)));
  if (list.length > mostRows) print(`… and ${formatCount(list.length - mostRows)} more; --json has all of them`);
}
