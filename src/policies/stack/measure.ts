import { u8, type Connection, type StackSocket } from "../../policy/index.ts";
import type { Memory, State } from "./memory.ts";

/** Tells others what this subflow is like now; without a slot, nobody. */
export function measure(socket: StackSocket, connection: Connection, mine: Memory, { metrics }: State): void {
  if (mine.slot === 0) return;
  const slot = metrics.at(mine.slot - 1);
  if (slot === undefined) return;
  slot.kind = u8(mine.kind);
  slot.caState = socket.caState;
  slot.backup = socket.backup ? 1 : 0;
  slot.cwnd = socket.cwnd;
  slot.ssthresh = socket.ssthresh;
  slot.mss = socket.mss;
  slot.srttUs = socket.srttUs;
  slot.rttVarUs = socket.rttVarUs;
  slot.minRttUs = socket.minRttUs;
  slot.inFlight = socket.inFlight;
  slot.lost = socket.lost;
  slot.retransmissions = socket.retransmissions;
  slot.delivered = socket.delivered;
  slot.queuedBytes = socket.queuedBytes;
  slot.notSentBytes = socket.notSentBytes;
  slot.pacingRate = socket.pacingRate;
  slot.maxPacingRate = socket.maxPacingRate;
  slot.deliveryRate = socket.deliveryRate;
  slot.bytesSent = socket.bytesSent;
  slot.bytesAcked = socket.bytesAcked;
  slot.bytesRetransmitted = socket.bytesRetransmitted;
  slot.sndNxt = connection.sndNxt;
  slot.sndUna = connection.sndUna;
  slot.updatedUs = socket.lastEventUs;
}
