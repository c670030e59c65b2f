/** Selectors and actors written in C: programs in an object file that `include/emptcp.h` made members of a chain. */
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { checkForeign } from "../compiler/index.ts";
import type { Actor, Parameters, Policy, Selector } from "../policy/index.ts";

/** How names of object files end. */
export const objectFile = ".o";

export interface ForeignOptions<P extends Parameters> {
  readonly kind: "selector" | "actor";
  /** The object file, as `clang -target bpf -g` makes it. */
  readonly file: string;
  /** The function in it. */
  readonly program: string;
  /** Of an actor: what it reads as `PARAM`, in this order, 8 bytes apart. */
  readonly params?: P;
  /** Packets an actor needs to see; by default those that arrive for XDP, and those that leave for tc. */
  readonly direction?: "ingress" | "egress" | "both";
}

/**
 * A policy in C. It is used like any other, in a chain that is linked.
 *
 * ```ts
 * const macModify = foreign({ kind: "actor", file: "mac_modify.bpf.o", program: "mac_modify", params: { mac } });
 * new ActorChain().add("record").add(macModify, { mac: "02:00:00:00:00:01" });
 * ```
 *
 * @throws ForeignError, ElfError when the file has no such program, or one that cannot be a member; Error when it cannot be read
 */
export function foreign<const P extends Parameters = {}>(options: ForeignOptions<P> & { kind: "actor" }): Actor<P>;
export function foreign(options: ForeignOptions<{}> & { kind: "selector" }): Selector<{}>;
export function foreign({ kind, file, program, params = {}, direction }: ForeignOptions<Parameters>): Actor | Selector {
  if (kind === "selector" && Object.keys(params).length > 0)
    throw new TypeError(`Cannot use ${program} of ${file} as a selector: foreign ones take no parameters`);
  if (!file.endsWith(objectFile))
    throw new TypeError(`Cannot use ${file}: the name of an object file ends in ${objectFile}`);
  const code = { file: resolve(file), object: readFileSync(file), program };
  const type = checkForeign(code);
  const policy: Policy = {
    kind,
    on: "packet",
    name: program,
    params,
    state: {},
    observes: false,
    hasMembers: false,
    direction: direction ?? (type === "xdp" ? "ingress" : "egress"),
    module: code.file,
    foreign: code,
  };
  return policy;
}
