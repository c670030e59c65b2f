/**
 * How a `rate_limit` is done. Subflows of an MPTCP connection share its window, and the sender obeys the largest that any of
 * them shows: the window limits whole connections only. One subflow is paced where it ends, and policed on its way.
 */
import type { Actor } from "../policy/index.ts";
import { capWindow, pace, police, rateLimit } from "../policies/index.ts";
import { addressText, localAddresses, withNetns, type NetworkNamespace } from "../linux/index.ts";
import { parseIpAddress } from "../wire/index.ts";
import type { ActorEntry } from "./compose.ts";
import { ChainError } from "./errors.ts";
import type { Expression, SelectorEntry } from "./expression.ts";
import { ParameterError } from "./inputs.ts";
import type { ChainOptions } from "./policy-chain.ts";

/** The actor whose parameters are given: `rate_limit` takes a window instead of a rate. @throws ParameterError */
export function asGiven(actor: Actor, inputs: Readonly<Record<string, unknown>>): Actor {
  if (actor !== rateLimit) return actor;
  const [byRate, byWindow] = ["rate", "window"].map((name) => inputs[name] !== undefined);
  if (byRate !== byWindow) return byWindow ? capWindow : rateLimit;
  throw new ParameterError(
    byRate
      ? "Cannot use rate_limit: it is given rate and window; give one of them"
      : `Cannot use rate_limit: its parameter rate or window is missing; give ${rateLimit.params.rate.expects} as rate, or bytes as window`,
  );
}

export interface Choice {
  readonly policy: Actor;
  /** What was chosen, and why. */
  readonly note: string;
}

/**
 * What does a `rate_limit`.
 * @param expression the part of the selectors that decides
 * @throws ChainError for what no mechanism can do
 */
export function chooseLimiter(entry: ActorEntry, expression: Expression, options: ChainOptions): Choice {
  const per = entry.per ?? (pinsSubflow(expression) ? "subflow" : "connection");
  const policy = asGiven(rateLimit, { ...entry.inputs, ...entry.fromMember });
  if (per === "connection")
    return {
      policy,
      note:
        `rate_limit per connection: done by the window that its ACKs show (${policy.name}), ` +
        "so all its interfaces have to be among the chain's",
    };
  if (policy === capWindow)
    throw new ChainError(
      "Cannot limit the window of one subflow: subflows share the connection's, and the sender obeys the largest that any " +
        'of them shows. Give a rate instead; or, for a connection without other subflows, per: "connection"',
    );
  return limitSubflow(expression, options, entry.done === pace.name);
}

const paced = (reason: string): Choice => ({
  policy: pace,
  note: `rate_limit per subflow: done by pacing (pace), since ${reason}`,
});
const policed = (reason: string): Choice => ({
  policy: police,
  note: `rate_limit per subflow: done by a policer (police), since ${reason}`,
});

/** @param wasPaced in the running chain that this one takes the place of: interfaces come and go, with their addresses */
function limitSubflow(
  expression: Expression,
  { netns, direction, interfaces = [] }: ChainOptions,
  wasPaced: boolean,
): Choice {
  if (direction === "ingress") return policed("pacing does not reach what arrives");
  const place = locate(localAddressesOf(expression), netns);
  if (place === "here") return paced("it ends at this host, whose sockets can be told; this limits what they send");
  if (wasPaced) return paced("it was so far, whichever addresses this host has now");
  if (place === "elsewhere") return policed("no interface of this host has its local address");
  const unknown = "where subflows end is not known from the selectors, or not the same for all";
  return interfaces.length > 0
    ? policed(`${unknown}: a policer holds them anywhere`)
    : paced(`${unknown}, and without interfaces only this host's can be held`);
}

/** Whether an expression can only match certain subflows. */
function pinsSubflow(expression: Expression): boolean {
  switch (expression.op) {
    case "policy":
      return expression.policy.name === "subflow";
    case "and":
      return expression.terms.some(pinsSubflow);
    case "or":
      return expression.terms.every(pinsSubflow);
    default:
      return false;
  }
}

/** The local addresses of all that an expression can match; undefined where it leaves them open. */
function localAddressesOf(expression: Expression): string[] | undefined {
  switch (expression.op) {
    case "policy":
      return "local" in expression.policy.params ? localAddressesIn(expression) : undefined;
    case "and":
      return expression.terms.map(localAddressesOf).find((one) => one !== undefined);
    case "or": {
      const all = expression.terms.map(localAddressesOf);
      return all.some((one) => one === undefined) ? undefined : all.flatMap((one) => one!);
    }
    default:
      return undefined;
  }
}

/** Members of a set may change, but those it starts with tell where it is used. */
function localAddressesIn({ inputs, set }: SelectorEntry): string[] | undefined {
  if (!set) return [String(inputs["local"])];
  return set.members.length > 0 ? set.members.map(({ local }) => String(local)) : undefined;
}

function locate(
  addresses: string[] | undefined,
  netns: NetworkNamespace | undefined,
): "here" | "elsewhere" | "unknown" {
  const own = addresses && addressesIn(netns);
  if (!own) return "unknown";
  const isOwn = (address: string): boolean => address.startsWith("127.") || own.has(canonical(address));
  if (addresses.every(isOwn)) return "here";
  return addresses.some(isOwn) ? "unknown" : "elsewhere";
}

const canonical = (address: string): string => addressText(parseIpAddress(address));

/** Nothing where it cannot be looked up, for example for a namespace of another machine. */
function addressesIn(netns: NetworkNamespace | undefined): ReadonlySet<string> | undefined {
  try {
    return withNetns(netns, localAddresses);
  } catch {
    return undefined;
  }
}
