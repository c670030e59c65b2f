import {
  actor,
  cannot,
  choice,
  fallback,
  flows,
  i32,
  known,
  now,
  subtype,
  u32,
  u64,
  type Packet,
} from "../policy/index.ts";
import { lesson } from "./connections.ts";
import { observeRtt } from "./rtt.ts";

/** Flags of an MPTCP DSS option (RFC 8684, section 3.3): what it holds, and that this has 8 bytes instead of 4. */
const DATA_ACK = 0x01;
const DATA_ACK_8 = 0x02;
const MAPPING = 0x04;
const MAPPING_8 = 0x08;

interface Sent {
  retransmittedIn: number;
  retransmittedOut: number;
  /** The number behind the last byte so far. */
  nextIn: number;
  nextOut: number;
}

/** Counts segments with bytes that were sent before. */
function countRepeated({ tcp, ingress }: Packet, sent: Sent): void {
  if (tcp.payloadLength === 0) return;
  const end = tcp.sequence + tcp.payloadLength;
  const next = ingress ? sent.nextIn : sent.nextOut;
  if (next !== 0 && i32(u32(end - next)) <= 0) {
    if (ingress) sent.retransmittedIn += 1;
    else sent.retransmittedOut += 1;
  } else if (ingress) sent.nextIn = end;
  else sent.nextOut = end;
}

interface DataTrip {
  /** The data sequence number that is to be acknowledged, and since when; 0 when none is under way. */
  dataEnd: number;
  dataNs: number;
  dataRttUs: number;
}

/** Measures from data that leaves on this subflow to its data ACK, which tells of the peer's reordering as well. */
function observeDataRtt({ tcp, egress }: Packet, trip: DataTrip): void {
  if (egress !== (trip.dataNs === 0)) return;
  for (const option of tcp.options) {
    if (option.subtype !== subtype.dss) continue;
    const flags = option.u8(3);
    const hasAck = (flags & DATA_ACK) !== 0;
    const isLong = (flags & DATA_ACK_8) !== 0;
    if (!egress) {
      const acknowledged = isLong ? option.u32(8) : option.u32(4);
      if (!hasAck || acknowledged - trip.dataEnd >= 0x8000_0000) return;
      const sampleUs = (now() - trip.dataNs) / 1000;
      trip.dataRttUs = trip.dataRttUs === 0 ? sampleUs : (trip.dataRttUs * 7 + sampleUs) / 8;
      trip.dataNs = 0;
    } else if ((flags & MAPPING) !== 0 && tcp.payloadLength > 0) {
      // The low half of the number that is mapped, behind the data ACK.
      const words = (hasAck ? (isLong ? 2 : 1) : 0) + ((flags & MAPPING_8) !== 0 ? 1 : 0);
      const low =
        words < 2 ? (words === 0 ? option.u32(4) : option.u32(8)) : words === 2 ? option.u32(12) : option.u32(16);
      trip.dataEnd = low + tcp.payloadLength;
      trip.dataNs = now();
    }
    return;
  }
}

/**
 * Counts packets and bytes of every subflow, in both directions, and measures its round-trip time; changes nothing. With
 * `metrics: "all"` it also counts the bytes of the flow itself, finds retransmissions, and measures how long data takes to be
 * acknowledged on the connection. Records
 * tell whose they are: of connections that ran before the chain, and of those that a policy of the chain learns of.
 */
export const record = actor({
  name: "record",
  direction: "both",
  params: { metrics: fallback(choice("basic", "all"), "basic") },
  state: {
    flows: flows({
      packetsIn: u64,
      bytesIn: u64,
      packetsOut: u64,
      bytesOut: u64,
      stampNs: u64,
      rttUs: u64,
      payloadIn: u64,
      payloadOut: u64,
      dataNs: u64,
      dataRttUs: u64,
      dataEnd: u32,
      stamp: u32,
      retransmittedIn: u32,
      retransmittedOut: u32,
      nextIn: u32,
      nextOut: u32,
      tokenLocal: known(u32, "tokenLocal"),
      tokenRemote: known(u32, "tokenRemote"),
    }),
    lesson,
  },
  run(packet, { metrics }, { flows, lesson }) {
    const flow = flows.getOrCreate(packet.flow);
    if (flow === undefined) return cannot("no_room");
    if (packet.ingress) {
      flow.packetsIn += 1;
      flow.bytesIn += packet.length;
    } else {
      flow.packetsOut += 1;
      flow.bytesOut += packet.length;
    }
    if (lesson.tokenLocal !== 0) flow.tokenLocal = lesson.tokenLocal;
    if (lesson.tokenRemote !== 0) flow.tokenRemote = lesson.tokenRemote;
    if (metrics === "all") {
      if (packet.ingress) flow.payloadIn += packet.tcp.payloadLength;
      else flow.payloadOut += packet.tcp.payloadLength;
      countRepeated(packet, flow);
      observeDataRtt(packet, flow);
    }
    observeRtt(packet, flow);
  },
});
