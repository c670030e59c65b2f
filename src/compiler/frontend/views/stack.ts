/** `socket` of in-stack policies: the TCP socket of a subflow, trusted and writable, and the connection that it is part of. */
import ts from "#typescript";
import { integerSizes, type IntegerName } from "../../../policy/types.ts";
import { maximumSubflows } from "../../../policy/stack.ts";
import type { Variable } from "../../ir/builder.ts";
import { int32, int64, pointer, type Block, type KernelField, type Value } from "../../ir/ir.ts";
import { blurBy } from "../conceal.ts";
import { orOne, type Lowering } from "../lowering.ts";
import type { LanguageValue, View } from "../values.ts";
import { FlowView, type FlowParts } from "./flow.ts";
import { setKeepAlive, setMaxPacingRate } from "../socket-options.ts";
import { flowOfSock, sendingStates, stateBit } from "./socket.ts";
import {
  castTo,
  loadField,
  loadPointer,
  plainFacts,
  storeField,
  subflowFact,
  subflowField,
  tcpField,
  type SubflowPointers,
} from "./subflow-facts.ts";

/** What a `struct tcp_sock *`, and a `struct mptcp_sock *`, point to as well. */
const beginnings = ["sock_common", "sock", "inet_sock", "inet_connection_sock"];

/** One subflow, as it can be read. */
export class SubflowView implements View {
  readonly name: string;
  readonly subflow: SubflowPointers;
  constructor(name: string, subflow: SubflowPointers) {
    this.name = name;
    this.subflow = subflow;
  }

  get(lowering: Lowering, property: string): LanguageValue | undefined {
    if (property === "flow") return { kind: "view", view: new FlowView(this.#flow(lowering)) };
    return subflowFact(lowering, this.subflow, property);
  }

  callAsWritten(lowering: Lowering, method: string, node: ts.CallExpression): LanguageValue | undefined {
    return method === "field" ? namedField(lowering, this.subflow.tcp, "tcp_sock", node) : undefined;
  }

  /** The port is `inet_sport`, not `skc_num`: that is 0 by the time a closed socket is released (inet_put_port). */
  #flow(lowering: Lowering): FlowParts {
    const { tcp } = this.subflow;
    const { builder } = lowering;
    const localPort = (): Value =>
      builder.swap(16, builder.load(2, tcp, 0, int32, { struct: "inet_sock", field: "inet_sport" }));
    return { ...flowOfSock(lowering, tcp).flow, localPort };
  }
}

/** The socket that an operation is given. */
export class StackSocketView extends SubflowView {
  /** A `struct tcp_sock *` that the kernel's functions take. */
  readonly pointer: Value;
  readonly #inRelease: boolean;
  constructor(pointer: Value, inRelease: boolean) {
    super("socket", { tcp: pointer, context: (lowering) => subflowContext(lowering, pointer) });
    this.pointer = pointer;
    this.#inRelease = inRelease;
  }

  socketPointer(): Value {
    return this.pointer;
  }

  override get(lowering: Lowering, property: string): LanguageValue | undefined {
    if (property !== "connection") return super.get(lowering, property);
    const connection = loadPointer(lowering, this.subflow.context(lowering), subflowField("conn"), "mptcp_sock");
    return { kind: "nullable", pointer: connection, view: new ConnectionView(connection) };
  }

  set(lowering: Lowering, property: string, value: LanguageValue, node: ts.Node): boolean {
    const option = Object.hasOwn(options, property) ? options[property] : undefined;
    if (option) {
      if (this.#inRelease) lowering.fail("stackLimit", node, `a new ${property}`, "release");
      option(lowering, this.pointer, value, node);
      return true;
    }
    const { struct, field, type, writable } = plainFacts[property] ?? {};
    if (!writable) return false;
    const written = lowering.coerce(value, type, node);
    // A socket without a window would never send again.
    const stored = property === "cwnd" ? orOne(lowering, written) : written;
    storeField(lowering, this.pointer, { struct, field }, integerSizes[type], stored);
    return true;
  }
}

/** What is set by setsockopt. */
const options: Readonly<
  Record<string, (lowering: Lowering, socket: Value, value: LanguageValue, node: ts.Node) => void>
> = {
  maxPacingRate: (lowering, socket, value, node) =>
    setMaxPacingRate(lowering, socket, cappedRate(lowering, lowering.coerce(value, "u64", node))),
  keepAliveSeconds: (lowering, socket, value, node) =>
    setKeepAlive(lowering, socket, lowering.coerce(value, "u32", node)),
};

/** A rate of 64 bits as SO_MAX_PACING_RATE takes it: 32 bits, all of them set for no limit. */
function cappedRate(lowering: Lowering, rate: Value): Value {
  const { builder } = lowering;
  const capped: Variable = { name: "rate", type: int32 };
  const [large, exit] = builder.blocks(2);
  builder.write(capped, builder.truncate(rate));
  builder.branch("ugt", rate, builder.const(0xffff_ffff, 64), large, exit);
  lowering.enter(large);
  builder.write(capped, builder.const(0xffff_ffff));
  builder.jump(exit);
  lowering.enter(exit);
  return builder.read(capped);
}

/** What MPTCP keeps of a socket that is a subflow; null for others, which may keep other things in the same place. */
function subflowContext(lowering: Lowering, tcp: Value): Value {
  const { builder } = lowering;
  const isMptcp = builder.zeroExtend(loadField(lowering, tcp, tcpField("is_mptcp"), "u8"));
  const kept = builder.load(8, tcp, 0, int64, { struct: "inet_connection_sock", field: "icsk_ulp_data" });
  const mask = builder.binary("sub", builder.const(0, 64), isMptcp);
  return castTo(lowering, builder.binary("and", kept, mask), "mptcp_subflow_context");
}

const connectionField = (field: string): KernelField => ({ struct: "mptcp_sock", field });

const connectionFacts: Readonly<Record<string, readonly [field: string, type: IntegerName]>> = {
  token: ["token", "u32"],
  sndNxt: ["snd_nxt", "u64"],
  sndUna: ["snd_una", "u64"],
  bytesSent: ["bytes_sent", "u64"],
  bytesAcked: ["bytes_acked", "u64"],
  bytesRetransmitted: ["bytes_retrans", "u64"],
};

/** An MPTCP connection: one that a subflow leads to, or, trusted, one that a scheduler is asked for. */
export class ConnectionView implements View {
  readonly name = "socket.connection";
  /** A `struct mptcp_sock *`. */
  readonly #connection: Value;
  readonly #trusted: boolean;
  constructor(connection: Value, trusted = false) {
    this.#connection = connection;
    this.#trusted = trusted;
  }

  get socketPointer(): (() => Value) | undefined {
    return this.#trusted ? () => this.#connection : undefined;
  }

  get(lowering: Lowering, property: string): LanguageValue | undefined {
    if (property === "subflows") return { kind: "view", view: new SubflowsView(this.#connection) };
    if (!Object.hasOwn(connectionFacts, property)) return undefined;
    const [field, type] = connectionFacts[property];
    return lowering.integer(type, loadField(lowering, this.#connection, connectionField(field), type));
  }

  callAsWritten(lowering: Lowering, method: string, node: ts.CallExpression): LanguageValue | undefined {
    return method === "field" ? namedField(lowering, this.#connection, "mptcp_sock", node) : undefined;
  }
}

/**
 * The list of a connection's subflows. Another CPU may change it meanwhile: no access can fault, the walk is bounded, and
 * what does not point back to the connection is none of its subflows.
 */
class SubflowsView implements View {
  readonly name = "connection.subflows";
  readonly nests = true;
  readonly #connection: Value;
  constructor(connection: Value) {
    this.#connection = connection;
  }

  get(): undefined {
    return undefined;
  }

  /** The port of a socket that this CPU holds stays as it is. */
  blurStep(lowering: Lowering, value: Value): Value {
    const port = { struct: "sock_common", field: "skc_num" };
    return blurBy(lowering, value, () => lowering.builder.loadFresh(2, lowering.subject!, 0, int32, port));
  }

  iterate(lowering: Lowering, body: (item: LanguageValue, next: Block) => void, exit: Block, forget: () => void): void {
    const { builder } = lowering;
    const [node, count]: [Variable, Variable] = [
      { name: "node", type: pointer("kernel") },
      { name: "count", type: int32 },
    ];
    const list = connectionField("conn_list");
    const end = builder.fieldAddress(this.#connection, list);
    const [head, more, entry, own, live, next] = builder.blocks(6);
    const follow = (from: Value, field: KernelField): void =>
      builder.write(node, builder.load(8, from, 0, pointer("kernel"), { ...field, field: `${field.field}.next` }));
    follow(this.#connection, list);
    builder.write(count, builder.const(0));
    builder.jump(head);
    builder.enter(head);
    builder.branch("ult", builder.read(count), builder.const(maximumSubflows), more, exit);
    lowering.enter(more);
    builder.branch("ne", builder.read(node), end, entry, exit);
    lowering.enter(entry);
    const link = subflowField("node");
    const context = castTo(lowering, builder.containerOf(builder.read(node), link), "mptcp_subflow_context");
    follow(context, link);
    builder.write(count, builder.binary("add", builder.read(count), builder.const(1)));
    const parent = builder.load(8, context, 0, pointer("kernel"), subflowField("conn"));
    builder.branch("eq", parent, this.#connection, own, next);
    lowering.enter(own);
    const tcp = loadPointer(lowering, context, subflowField("tcp_sock"), "tcp_sock");
    builder.branch("test", stateBit(lowering, tcp), builder.const(sendingStates), live, next);
    lowering.enter(live);
    body({ kind: "view", view: new SubflowView("a subflow", { tcp, context: () => context }) }, next);
    builder.jump(next);
    if (lowering.enter(next)) {
      forget();
      builder.jump(head);
    }
    builder.seal(head);
  }
}

/** `socket.field("tcp_sock.reordering", u32)`: the structure, then the way in it. */
function namedField(lowering: Lowering, base: Value, own: string, node: ts.CallExpression): LanguageValue {
  const [path, type] = node.arguments;
  const written = path && ts.isStringLiteral(path) ? /^(\w+)\.([\w.[\]]+)$/.exec(path.text) : null;
  const known = written && [own, ...beginnings].includes(written[1]);
  const name = type && ts.isIdentifier(type) ? lowering.program.languageName(type) : undefined;
  if (!known || !name || !Object.hasOwn(integerSizes, name))
    return lowering.fail("kernelField", node, node.arguments.map((one) => one.getText()).join(", "), `${own}.token`);
  const [, struct, field] = written;
  lowering.at(node);
  return lowering.integer(name as IntegerName, loadField(lowering, base, { struct, field }, name as IntegerName));
}
