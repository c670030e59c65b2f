/** `socket`: one subflow of this host, on a cgroup's socket callbacks or in a walk over all sockets. */
import type ts from "typescript6";
import { helpers } from "../../../bpf/helpers.ts";
import { int32, int64, pointer, type Block, type Value } from "../../ir/ir.ts";
import type { Variable } from "../../ir/builder.ts";
import { hooks, type SocketHook } from "../hooks.ts";
import type { Lowering } from "../lowering.ts";
import type { AddressValue, LanguageValue, View } from "../values.ts";
import { FlowView, type FlowParts } from "./flow.ts";

/** SOL_SOCKET and SO_MAX_PACING_RATE (include/uapi/asm-generic/socket.h). */
const socketLevel = 1;
const maxPacingRate = 47;
/** SO_MAX_PACING_RATE's value for no limit. */
const unlimited = 0xffff_ffff;

/** `sk` in struct bpf_sock_ops (include/uapi/linux/bpf.h). */
const socketOfContext = 184;

export interface ParsedSocket {
  readonly hook: SocketHook;
  readonly context: Value;
  /** `struct sock_common *` on the iterator; absent on sock_ops. */
  readonly sock?: Value;
  /** 1 for IPv4, IPv4 over an IPv6 socket included; 0 for IPv6. */
  readonly isV4: Variable;
  readonly flow: FlowParts;
}

export class SocketView implements View {
  readonly name = "socket";
  readonly #socket: ParsedSocket;
  constructor(socket: ParsedSocket) {
    this.#socket = socket;
  }

  get(_lowering: Lowering, property: string): LanguageValue | undefined {
    return property === "flow" ? { kind: "view", view: new FlowView(this.#socket.flow) } : undefined;
  }

  socketPointer({ builder }: Lowering): Value {
    return this.#socket.sock ?? builder.load(8, this.#socket.context, socketOfContext, pointer("kernel", true));
  }

  set(lowering: Lowering, property: string, value: LanguageValue, node: ts.Node): boolean {
    if (property !== "maxPacingRate") return false;
    const { builder } = lowering;
    const release = this.#socket.hook === "iter_tcp_release";
    const rate = release ? builder.const(unlimited) : lowering.coerce(value, "u32", node);
    const exit = builder.block();
    setMaxPacingRate(lowering, this.#target(lowering, exit), rate);
    lowering.effects?.acted();
    builder.jump(exit);
    lowering.enter(exit);
    return true;
  }

  /** What setsockopt wants: the context on sock_ops, the TCP socket on the iterator. */
  #target(lowering: Lowering, none: Block): Value {
    const { builder } = lowering;
    if (!this.#socket.sock) return this.#socket.context;
    const tcp = builder.call(helpers.skcToTcpSock.number, [this.#socket.sock], pointer("kernel", true), "none");
    const full = builder.block();
    builder.branch("ne", tcp, builder.const(0, 64), full, none);
    lowering.enter(full);
    return tcp;
  }
}

/** Sets SO_MAX_PACING_RATE of what setsockopt takes; `rate` has 32 bits. */
export function setMaxPacingRate({ builder }: Lowering, target: Value, rate: Value): void {
  const memory = builder.stack(8);
  builder.store(4, memory, 0, rate);
  const constants = [socketLevel, maxPacingRate].map((number) => builder.const(number, 64)) as [Value, Value];
  builder.call(helpers.setsockopt.number, [target, ...constants, memory, builder.const(4, 64)], int64, "memory");
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

/** Finds the 4-tuple of a socket callback. Goes to `other` for callbacks other than a connection being established. */
export function parseSockOps(lowering: Lowering, context: Value, other: Block): ParsedSocket {
  const { builder } = lowering;
  const load = (offset: number): Value => builder.load(4, context, offset);
  // struct bpf_sock_ops: op at 0; BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB is 4, PASSIVE_ESTABLISHED_CB 5.
  const established = builder.block();
  const operation = builder.binary("sub", load(0), builder.const(4));
  builder.branch("ule", operation, builder.const(1), established, other);
  lowering.enter(established);
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
