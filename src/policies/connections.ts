/**
 * Which MPTCP connection a packet belongs to, and its keys, learnt from handshakes (RFC 8684, sections 3.1 and 3.2; RFC 6824
 * for version 0). "Local" is this host; between hosts, whichever side the packets go to that arrive by the interface.
 */
import {
  flows,
  kind,
  known,
  mptcpToken,
  mptcpTokenV0,
  perPacket,
  subtype,
  table,
  u32,
  u64,
  u8,
  type Packet,
  type StateRecord,
  type StateViews,
} from "../policy/index.ts";

/** What is known of a subflow. Tokens are 0 while they are not known. */
const aboutSubflow = {
  tokenLocal: known(u32, "tokenLocal"),
  tokenRemote: known(u32, "tokenRemote"),
  /** The SYN's sequence number: another one is another connection. */
  initial: u32,
  stage: u8,
  /** Which sides sent a FIN. */
  finished: u8,
  /** Of the MP_JOIN that opened it. */
  idLocal: u8,
  idRemote: u8,
  backupLocal: u8,
  backupRemote: u8,
};
/** By subflow. */
export const subflows = flows(aboutSubflow);
type Subflow = StateRecord<typeof aboutSubflow>;

/** By token, each connection by both. `key` is that of the token's side, 0 when the handshake was not seen. */
export const connections = table(u32, {
  key: u64,
  other: u32,
  /** Open subflows of which this is the local token. */
  subflows: u32,
  version: u8,
});

/** What is known about the packet at hand. */
export const lesson = perPacket({ tokenLocal: u32, tokenRemote: u32, news: u32 });
/** Values of `news`; 0 if there are none. */
export const CONNECTED = 1;
export const JOINED = 2;
export const CLOSED = 3;

/** The state of a policy that observes with `learnConnections`. */
export const learning = { subflows, connections, lesson };
type Learning = StateViews<typeof learning>;

/** Values of `stage`. It is 0 of subflows that are older than the chain. */
const GREETED = 1;
export const OPEN = 2;
export const OVER = 3;

/** Lengths of MP_CAPABLE with both keys, and of the MP_JOIN that ends a handshake. */
const TWO_KEYS = 20;
const JOIN_ACK = 24;

/** Values of `finished`. */
const LOCAL = 1;
const REMOTE = 2;
const BOTH = 3;

const minusOne = 0xffff_ffff;

/** Notes an open subflow's connection. The kernel does not always know the peer's token of one that is older. */
function open({ connections }: Learning, subflow: Subflow, keyLocal: u64, keyRemote: u64, version: u8): void {
  subflow.stage = OPEN;
  if (subflow.tokenLocal === 0) return;
  const ours = connections.getOrCreate(subflow.tokenLocal);
  if (ours === undefined) return;
  ours.subflows += 1;
  if (subflow.tokenRemote === 0) return;
  const theirs = connections.getOrCreate(subflow.tokenRemote);
  if (theirs === undefined) return;
  ours.other = subflow.tokenRemote;
  theirs.other = subflow.tokenLocal;
  if (keyLocal === 0) return;
  ours.key = keyLocal;
  ours.version = version;
  theirs.key = keyRemote;
  theirs.version = version;
}

function close({ connections, lesson }: Learning, subflow: Subflow): void {
  const wasOpen = subflow.stage === OPEN;
  subflow.stage = OVER;
  if (!wasOpen) return;
  lesson.news = CLOSED;
  const ours = connections.get(subflow.tokenLocal);
  if (ours !== undefined) ours.subflows += minusOne;
}

/** A SYN: a new subflow, unless it is sent again. False when there is nothing to learn from it. */
function greet({ tcp }: Packet, subflow: Subflow): boolean {
  const initial = tcp.ack ? u32(tcp.acknowledgment - 1) : tcp.sequence;
  if (subflow.stage !== 0 && subflow.initial === initial) return subflow.stage === GREETED;
  subflow.stage = GREETED;
  subflow.initial = initial;
  subflow.finished = 0;
  subflow.tokenLocal = 0;
  subflow.tokenRemote = 0;
  return true;
}

/** MP_JOIN on a SYN: the receiver's token; on both, the sender's address id and whether it wants a backup. */
function join({ tcp, egress }: Packet, { connections }: Learning, subflow: Subflow, token: u32, flags: u32): void {
  if (egress) {
    subflow.idLocal = u8(flags);
    subflow.backupLocal = u8((flags >> 8) & 1);
  } else {
    subflow.idRemote = u8(flags);
    subflow.backupRemote = u8((flags >> 8) & 1);
  }
  if (tcp.ack) return;
  const connection = connections.get(token);
  const other = connection === undefined ? 0 : connection.other;
  subflow.tokenLocal = egress ? other : token;
  subflow.tokenRemote = egress ? token : other;
}

/** A packet of a handshake. */
function listen(packet: Packet, learning: Learning): void {
  const { tcp, flow, egress } = packet;
  const { subflows, lesson } = learning;
  let head: u32 = 0;
  let first: u64 = 0;
  let second: u64 = 0;
  for (const option of tcp.options) {
    if (option.kind !== kind.mptcp) continue;
    head = 1;
    if (option.subtype !== subtype.capable && option.subtype !== subtype.join) continue;
    head = option.u32(0);
    first = option.u64(4);
    second = option.u64(12);
    break;
  }
  // Plain TCP, or fallen back to it.
  if (head === 0) {
    subflows.delete(flow);
    return;
  }
  const meant = (head >> 12) & 0xf;
  const version = u8((head >> 8) & 0xf);
  // Before all else: the verifier follows a hash for every way that leads to it.
  let sender: u32 = 0;
  let receiver: u32 = 0;
  if (meant === subtype.capable && first !== 0) {
    for (let side = 0; side < 2; side++) {
      const key = side === 0 ? first : second;
      const token = version === 0 ? mptcpTokenV0(key) : mptcpToken(key);
      if (side === 0) sender = token;
      else receiver = token;
    }
    if (second === 0) receiver = 0;
  }
  const subflow = subflows.getOrCreate(flow);
  if (subflow === undefined || (tcp.syn && !greet(packet, subflow))) return;
  const length = u8(head >> 16);
  if (meant === subtype.capable) {
    if (sender !== 0) {
      if (egress) subflow.tokenLocal = sender;
      else subflow.tokenRemote = sender;
    }
    if (receiver !== 0) {
      if (egress) subflow.tokenRemote = receiver;
      else subflow.tokenLocal = receiver;
    }
    if (!tcp.syn && length >= TWO_KEYS) {
      open(learning, subflow, egress ? first : second, egress ? second : first, version);
      lesson.news = CONNECTED;
    }
  } else if (meant === subtype.join) {
    if (tcp.syn) join(packet, learning, subflow, u32(first >> 32), head);
    else if (length === JOIN_ACK) {
      open(learning, subflow, 0, 0, 0);
      lesson.news = JOINED;
    }
  }
  lesson.tokenLocal = subflow.tokenLocal;
  lesson.tokenRemote = subflow.tokenRemote;
}

/** A packet of a subflow that is open, or ends. */
function follow({ tcp, egress }: Packet, learning: Learning, subflow: Subflow): void {
  const { lesson } = learning;
  lesson.tokenLocal = subflow.tokenLocal;
  lesson.tokenRemote = subflow.tokenRemote;
  if (subflow.stage === 0) open(learning, subflow, 0, 0, 0);
  if (!tcp.fin && !tcp.rst) return;
  subflow.finished = tcp.rst ? BOTH : subflow.finished | (egress ? LOCAL : REMOTE);
  if (subflow.finished === BOTH) close(learning, subflow);
}

/** Learns from handshakes, notices when subflows end, and tells what is known of each packet's subflow. */
export function learnConnections(packet: Packet, learning: Learning): void {
  const { tcp, flow } = packet;
  if (!tcp.syn) {
    const subflow = learning.subflows.get(flow);
    if (subflow === undefined) return;
    if (subflow.stage !== GREETED || tcp.fin || tcp.rst) {
      follow(packet, learning, subflow);
      return;
    }
  }
  listen(packet, learning);
}
