import {
  actor,
  bool,
  cannot,
  choice,
  fallback,
  flows,
  kind,
  now,
  subtype,
  u64,
  u8,
  type Packet,
} from "../policy/index.ts";

/** The bit of MP_PRIO that makes a subflow a backup (RFC 8684, section 3.3.8). */
const BACKUP = 0x01;
/** How long to wait for the effect before asking again; doubled each time. */
const patienceNs = 1_000_000_000;
const longestNs = 64_000_000_000;

interface Asked {
  /** 0: nothing yet, 1: to be a regular subflow, 2: to be a backup. */
  asked: number;
  askedNs: number;
  waitNs: number;
  /** When the one who was asked last sent data here. */
  dataNs: number;
  /** Whether this is a subflow of MPTCP, past its handshake. */
  isMptcp: number;
}

const asked = () => ({ askedNs: u64, waitNs: u64, dataNs: u64, asked: u8, isMptcp: u8 });

/** Notes what the other side does with the subflow. */
function watch({ tcp }: Packet, flow: Asked): void {
  if (tcp.payloadLength > 0) flow.dataNs = now();
}

function carriesData({ tcp }: Packet): boolean {
  for (const option of tcp.options) {
    if (option.subtype === subtype.dss) return true;
  }
  return false;
}

/**
 * Puts MP_PRIO into this packet if whom it goes to has not been asked yet, or goes on sending on a backup. A packet without
 * room is left alone: the next one may have some.
 */
function ask(packet: Packet, flow: Asked, backup: boolean): boolean {
  const { tcp } = packet;
  if (tcp.syn || tcp.rst) return true;
  if (flow.isMptcp === 0) {
    if (!carriesData(packet)) return true;
    flow.isMptcp = 1;
  }
  const wanted = backup ? 2 : 1;
  if (flow.asked === wanted) {
    if (!backup || flow.dataNs < flow.askedNs + flow.waitNs) return true;
    if (flow.waitNs < longestNs) flow.waitNs = flow.waitNs * 2;
  } else {
    flow.waitNs = patienceNs;
  }
  const flags = backup ? (subtype.priority << 4) | BACKUP : subtype.priority << 4;
  if (!packet.insert([kind.mptcp, 3, u8(flags)])) return false;
  flow.asked = u8(wanted);
  flow.askedNs = now();
  return true;
}

/**
 * Makes subflows backups, or regular ones again, by MP_PRIO: once per change and subflow, and again, ever more rarely, only
 * while who was asked still sends data on a backup. `towards` says who is asked: this host, its peer, or both. The
 * request goes along with a packet of the subflow itself: on one that is idle, as backups are, it waits for the next one,
 * and where the chain sees only one direction, as on XDP, only one side can be asked.
 */
export const setBackup = actor({
  name: "set_backup",
  direction: "both",
  params: { backup: fallback(bool, true), towards: fallback(choice("both", "local", "peer"), "both") },
  state: { local: flows(asked()), peer: flows(asked()) },
  run(packet, { backup, towards }, { local, peer }) {
    const host = local.getOrCreate(packet.flow);
    const other = peer.getOrCreate(packet.flow);
    if (host === undefined || other === undefined) return cannot("no_room");
    if (packet.ingress) {
      watch(packet, other);
      if (towards !== "peer" && !ask(packet, host, backup)) return cannot("option_space");
    } else {
      watch(packet, host);
      if (towards !== "local" && !ask(packet, other, backup)) return cannot("option_space");
    }
  },
});
