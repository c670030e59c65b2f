/** Controllers: objects of handlers, one for each event. */
import type { LocalAddress, SocketAddress } from "../linux/index.ts";
import type { Connection, Manager, PeerAddress, Subflow } from "./types.ts";

/** "stop": controllers of a higher number do not hear of this event. A promise is waited for by nobody; its failure is told. */
export type Answer = void | "stop" | Promise<void>;

export interface Handlers {
  /** A connection begins; its peer has not confirmed it yet. */
  created?(connection: Connection): Answer;
  /** Subflows may be added. Also told, after `created`, of each connection that is there when controllers start. */
  established?(connection: Connection): Answer;
  closed?(connection: Connection): Answer;
  /** A subflow besides the first one, whoever opened it. */
  subflowEstablished?(subflow: Subflow, connection: Connection): Answer;
  /** Also of subflows that never came to be. */
  subflowClosed?(subflow: Subflow, connection: Connection): Answer;
  /** The peer changed `subflow.backup`. */
  subflowPriority?(subflow: Subflow, connection: Connection): Answer;
  addressAnnounced?(address: PeerAddress, connection: Connection): Answer;
  addressRemoved?(id: number, connection: Connection): Answer;
  /** An address can be used from now on. Also told of each that is there when controllers start. */
  localAddressAdded?(address: LocalAddress, manager: Manager): Answer;
  localAddressRemoved?(address: LocalAddress, manager: Manager): Answer;
  listenerCreated?(endpoint: SocketAddress): Answer;
  listenerClosed?(endpoint: SocketAddress): Answer;
  /** A retransmission timer ran out; `rtoMs` is what it is now. */
  timeout?(subflow: Subflow, rtoMs: number, connection: Connection): Answer;
}

export type HandlerName = keyof Handlers;

export const handlerNames = [
  "created",
  "established",
  "closed",
  "subflowEstablished",
  "subflowClosed",
  "subflowPriority",
  "addressAnnounced",
  "addressRemoved",
  "localAddressAdded",
  "localAddressRemoved",
  "listenerCreated",
  "listenerClosed",
  "timeout",
] as const satisfies readonly HandlerName[];

export interface Controller extends Handlers {
  readonly name: string;
  /** Which connections it hears of: all unless said otherwise. Asked once for each, when it is told of first. */
  filter?(connection: Connection): boolean;
  /** Controllers of lower numbers hear first; 0 unless told. */
  readonly priority?: number;
}

const known = new Set<string>([...handlerNames, "name", "filter", "priority"]);
const made = new WeakSet<object>();

/**
 * Makes a controller.
 * @throws TypeError for events that there are not, and for what is no function
 */
export function controller(definition: Controller): Controller {
  const { name } = definition;
  if (typeof name !== "string" || name === "") throw new TypeError("Cannot make a controller without a name");
  for (const [key, value] of Object.entries(definition)) {
    if (!known.has(key))
      throw new TypeError(
        `Cannot make controller ${name}: there is no event ${key}; the events are ${handlerNames.join(", ")}`,
      );
    if (key !== "name" && key !== "priority" && value !== undefined && typeof value !== "function")
      throw new TypeError(`Cannot make controller ${name}: ${key} is no function`);
  }
  if (definition.priority !== undefined && !Number.isFinite(definition.priority))
    throw new TypeError(`Cannot make controller ${name}: its priority is no number`);
  made.add(definition);
  return definition;
}

export function isController(value: unknown): value is Controller {
  return typeof value === "object" && value !== null && made.has(value);
}
