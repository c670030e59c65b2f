/** `socket`: one subflow of this host, on a cgroup's socket callbacks or in a walk over all sockets. */
import type ts from "#typescript";
import { helpers } from "../../../bpf/helpers.ts";
import type { SocketEvent } from "../../../policy/socket.ts";
import { int32, int64, pointer, type Block, type Value } from "../../ir/ir.ts";
import type { Variable } from "../../ir/builder.ts";
import { eventNames, operation, operationBits, type Wanted } from "../socket-events.ts";
import { setSocketOption, socketOption } from "../socket-options.ts";
import { hooks, type SocketHook } from "../hooks.ts";
import { goOnWith, type Lowering } from "../lowering.ts";
import type { AddressValue, LanguageValue, View } from "../values.ts";
import { FlowView, type FlowParts } from "./flow.ts";

/** `struct bpf_sock_ops` (include/uapi/linux/bpf.h). */
const contextFields = { op: 0, args: 4, sndCwnd: 76, srttUs: 80, callbackFlags: 84, sock: 184 } as const;

export interface ParsedSocket {
  readonly hook: SocketHook;
  readonly context: Value;
  /** `struct sock_common *` on the iterator; absent on sock_ops. */
  readonly sock?: Value;
  /** 1 for IPv4, IPv4 over an IPv6 socket included; 0 for IPv6. */
  readonly isV4: Variable;
  readonly flow: FlowParts;
}

/** The operation of a callback; in a walk over sockets that of one that is established. */
export function operationOf({ builder }: Lowering, { hook, context }: ParsedSocket): Value {
  return hook === "sock_ops" ? builder.load(4, context, contextFields.op) : builder.const(operation.established);
}

/** The TCP socket in a walk over all sockets. */
function tcpSocket(lowering: Lowering, { sock }: ParsedSocket, otherwise?: Block): Value {
  const { builder } = lowering;
  const tcp = builder.call(helpers.skcToTcpSock.number, [sock!], pointer("kernel", true), "none");
  goOnWith(lowering, tcp, otherwise);
  return tcp;
}

const tcpField = ({ builder }: Lowering, tcp: Value, size: 1 | 4, field: string): Value =>
  builder.load(size, tcp, 0, int32, { struct: "tcp_sock", field });

export class SocketView implements View {
  readonly name = "socket";
  readonly #socket: ParsedSocket;
  readonly #lifts: boolean;
  /** @param lifts whether what is set is what sockets have by themselves */
  constructor(socket: ParsedSocket, lifts = false) {
    this.#socket = socket;
    this.#lifts = lifts;
  }

  get(lowering: Lowering, property: string): LanguageValue | undefined {
    const { builder } = lowering;
    const { hook, context } = this.#socket;
    const number = (contextField: number, field: string): Value =>
      hook === "sock_ops"
        ? builder.load(4, context, contextField)
        : tcpField(lowering, tcpSocket(lowering, this.#socket), 4, field);
    switch (property) {
      case "flow":
        return { kind: "view", view: new FlowView(this.#socket.flow) };
      case "event": {
        const called = operationOf(lowering, this.#socket);
        const passive = builder.compare("eq", called, builder.const(operation.passivelyEstablished));
        return { kind: "choice", words: eventNames, value: builder.binary("sub", called, passive) };
      }
      case "srttUs": {
        // The kernel keeps eighths.
        const eighths = number(contextFields.srttUs, "srtt_us");
        return lowering.integer("u32", builder.binary("lshr", eighths, builder.const(3)));
      }
      case "cwnd":
        return lowering.integer("u32", number(contextFields.sndCwnd, "snd_cwnd"));
      case "rtoCount": {
        if (hook !== "sock_ops") return { kind: "literal", value: 0n };
        const isTimeout = builder.compare("eq", operationOf(lowering, this.#socket), builder.const(operation.rto));
        // The kernel counts this one later.
        const before = builder.load(4, context, contextFields.args);
        const count = builder.binary("add", before, builder.const(1));
        return lowering.integer("u32", builder.binary("mul", count, isTimeout));
      }
      default:
        return undefined;
    }
  }

  socketPointer({ builder }: Lowering): Value {
    return this.#socket.sock ?? builder.load(8, this.#socket.context, contextFields.sock, pointer("kernel", true));
  }

  set(lowering: Lowering, property: string, value: LanguageValue, node: ts.Node): boolean {
    const option = socketOption(property);
    if (!option) return false;
    const memory = this.#lifts ? option.lifted(lowering) : option.value(lowering, value, node);
    if (!memory) return true;
    const { sock, context } = this.#socket;
    // What setsockopt wants: the context on sock_ops, the TCP socket on the iterator.
    const target = sock ? tcpSocket(lowering, this.#socket) : context;
    setSocketOption(lowering, target, option, lowering.builder.read(this.#socket.isV4), memory);
    return true;
  }
}

/** `packet` as selectors see it where there is none: what the socket's own packets carry. */
export class SocketPacketView implements View {
  readonly name = "packet";
  readonly #socket: ParsedSocket;
  constructor(socket: ParsedSocket) {
    this.#socket = socket;
  }

  get(lowering: Lowering, property: string, node: ts.Node): LanguageValue | undefined {
    switch (property) {
      case "ingress":
      case "egress":
        return { kind: "static", value: property === "egress" };
      case "flow":
        return { kind: "view", view: new FlowView(this.#socket.flow) };
      case "ip":
      case "tcp":
        return { kind: "view", view: new SocketHeaderView(`packet.${property}`, property, this.#socket) };
      default:
        return lowering.fail("wrongHook", node, `packet.${property}`, hooks[this.#socket.hook].title);
    }
  }
}

const addressValue = (address: AddressValue): LanguageValue => ({ kind: "address", address });

class SocketHeaderView implements View {
  readonly name: string;
  readonly #layer: "ip" | "tcp";
  readonly #socket: ParsedSocket;
  constructor(name: string, layer: "ip" | "tcp", socket: ParsedSocket) {
    this.name = name;
    this.#layer = layer;
    this.#socket = socket;
  }

  get(lowering: Lowering, property: string, node: ts.Node): LanguageValue {
    const { flow } = this.#socket;
    const known: Readonly<Record<string, () => LanguageValue>> =
      this.#layer === "ip"
        ? { source: () => addressValue(flow.local()), destination: () => addressValue(flow.remote()) }
        : {
            sourcePort: () => lowering.integer("u16", flow.localPort()),
            destinationPort: () => lowering.integer("u16", flow.remotePort()),
          };
    return (
      known[property]?.() ??
      lowering.fail("wrongHook", node, `${this.name}.${property}`, hooks[this.#socket.hook].title)
    );
  }
}

/** Finds the 4-tuple of a socket callback. Goes to `other` for callbacks that nobody wants. */
export function parseSockOps(lowering: Lowering, context: Value, { events }: Wanted, other: Block): ParsedSocket {
  const { builder } = lowering;
  const load = (offset: number): Value => builder.load(4, context, offset);
  const wanted = builder.block();
  const called = load(contextFields.op);
  const bit = builder.binary("shl", builder.const(1), called);
  builder.branch("test", bit, builder.const(operationBits(events)), wanted, other);
  lowering.enter(wanted);
  if (events.includes("closed")) {
    const [change, goesOn] = builder.blocks(2);
    builder.branch("eq", called, builder.const(operation.state), change, goesOn);
    lowering.enter(change);
    // The second argument is the new state; TCP_CLOSE is 7.
    builder.branch("eq", load(contextFields.args + 4), builder.const(7), goesOn, other);
    lowering.enter(goesOn);
  }
  const v6 = { local: 48, remote: 32 };
  const isV4 = family(lowering, load(20), (word) => load(v6.remote + 4 * word));
  const address = (v4: number, v6: number): AddressValue =>
    loadedAddress(
      lowering,
      isV4,
      () => load(v4),
      (word) => load(v6 + 4 * word),
    );
  const flow: FlowParts = {
    local: () => address(28, v6.local),
    remote: () => address(24, v6.remote),
    // remote_port is in network order in the upper half of its word, local_port in host order.
    remotePort: () => builder.swap(32, load(64)),
    localPort: () => load(68),
  };
  return { hook: "sock_ops", context, isV4, flow };
}

/** Takes the socket of one step of the TCP iterator. Goes to `other` at its end and for sockets that carry no data. */
export function parseIterated(
  lowering: Lowering,
  hook: "iter_tcp" | "iter_tcp_release",
  context: Value,
  other: Block,
): ParsedSocket {
  const { builder } = lowering;
  // struct bpf_iter__tcp: meta at 0, sk_common at 8 (null at the end).
  const sock = builder.load(8, context, 8, pointer("kernel", true));
  const present = builder.block();
  builder.branch("ne", sock, builder.const(0, 64), present, other);
  lowering.enter(present);
  const live = builder.block();
  builder.branch("test", stateBit(lowering, sock), builder.const(sendingStates), live, other);
  lowering.enter(live);
  return { hook, context, sock, ...flowOfSock(lowering, sock) };
}

/** Bits of states in which this host may still send: TCP_ESTABLISHED is 1, TCP_CLOSE_WAIT 8. */
export const sendingStates = (1 << 1) | (1 << 8);

/** One bit, for the state of a `struct sock_common *`. */
export function stateBit({ builder }: Lowering, sock: Value): Value {
  const state = builder.load(1, sock, 0, int32, { struct: "sock_common", field: "skc_state" });
  return builder.binary("shl", builder.const(1), state);
}

/** The 4-tuple of a `struct sock_common *`. */
export function flowOfSock(lowering: Lowering, sock: Value): Pick<ParsedSocket, "isV4" | "flow"> {
  const { builder } = lowering;
  const field = (size: 1 | 2 | 4, name: string): Value =>
    builder.load(size, sock, 0, int32, { struct: "sock_common", field: name });
  const v6Word = (name: string, word: number): Value => field(4, `${name}.in6_u.u6_addr32[${word}]`);
  const isV4 = family(lowering, field(2, "skc_family"), (word) => v6Word("skc_v6_daddr", word));
  const address = (v4: string, v6: string): AddressValue =>
    loadedAddress(
      lowering,
      isV4,
      () => field(4, v4),
      (word) => v6Word(v6, word),
    );
  const flow: FlowParts = {
    local: () => address("skc_rcv_saddr", "skc_v6_rcv_saddr"),
    remote: () => address("skc_daddr", "skc_v6_daddr"),
    remotePort: () => builder.swap(16, field(2, "skc_dport")),
    localPort: () => field(2, "skc_num"),
  };
  return { isV4, flow };
}

/** 1 when the socket speaks IPv4: AF_INET (2), or an IPv6 socket whose peer is IPv4-mapped. */
function family(lowering: Lowering, value: Value, remoteWord: (word: number) => Value): Variable {
  const { builder } = lowering;
  const isV4: Variable = { name: "is_v4", type: int32 };
  const [v6, exit] = [builder.block(), builder.block()];
  builder.write(isV4, builder.const(1));
  builder.branch("eq", value, builder.const(2), exit, v6);
  lowering.enter(v6);
  const prefix = builder.binary(
    "or",
    builder.binary("or", remoteWord(0), remoteWord(1)),
    builder.binary("xor", remoteWord(2), builder.const(0xffff_0000)),
  );
  builder.write(isV4, builder.compare("eq", prefix, builder.const(0)));
  builder.jump(exit);
  lowering.enter(exit);
  return isV4;
}

function loadedAddress(
  { builder }: Lowering,
  isV4: Variable,
  v4: () => Value,
  word: (word: number) => Value,
): AddressValue {
  return {
    kind: "loaded",
    isV4: () => builder.read(isV4),
    v4,
    half: (which) => {
      const upper = builder.binary("shl", builder.zeroExtend(word(2 * which + 1)), builder.const(32, 64));
      return builder.binary("or", upper, builder.zeroExtend(word(2 * which)));
    },
  };
}

/** Lets the kernel call back for what actors want to know of the socket, besides what others asked for. */
export function askForCallbacks(lowering: Lowering, socket: ParsedSocket, { flags }: Wanted, other: Block): void {
  if (flags === 0 || socket.hook === "iter_tcp_release") return;
  const { builder } = lowering;
  const wanted = builder.const(flags);
  if (socket.hook === "iter_tcp") {
    const tcp = tcpSocket(lowering, socket, other);
    const memory = builder.stack(8);
    builder.store(4, memory, 0, builder.binary("or", tcpField(lowering, tcp, 1, "bpf_sock_ops_cb_flags"), wanted));
    // SOL_TCP, TCP_BPF_SOCK_OPS_CB_FLAGS, from Linux 6.12 on.
    const [level, name, size] = [6, 1008, 4].map((number) => builder.const(number, 64)) as [Value, Value, Value];
    builder.call(helpers.setsockopt.number, [tcp, level, name, memory, size], int64, "memory");
    return;
  }
  const [early, exit] = builder.blocks(2);
  const bits = operationBits(["connect", "established"]);
  const bit = builder.binary("shl", builder.const(1), operationOf(lowering, socket));
  builder.branch("test", bit, builder.const(bits), early, exit);
  lowering.enter(early);
  const now = builder.load(4, socket.context, contextFields.callbackFlags);
  const all = builder.zeroExtend(builder.binary("or", now, wanted));
  builder.call(helpers.sockOpsCbFlagsSet.number, [socket.context, all], int64, "memory");
  builder.jump(exit);
  lowering.enter(exit);
}

/** Goes to `yes` where the socket's event is one of an actor's. */
export function atEvents(
  lowering: Lowering,
  socket: ParsedSocket,
  events: readonly SocketEvent[],
  all: readonly SocketEvent[],
  yes: Block,
  no: Block,
): void {
  const { builder } = lowering;
  if (socket.hook === "iter_tcp_release" || all.every((event) => events.includes(event))) return builder.jump(yes);
  if (socket.hook === "iter_tcp") return builder.jump(events.includes("established") ? yes : no);
  const bit = builder.binary("shl", builder.const(1), operationOf(lowering, socket));
  builder.branch("test", bit, builder.const(operationBits(events)), yes, no);
}
