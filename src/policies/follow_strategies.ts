import { cannot, min, offer, perSocket, socketActor, u32 } from "../policy/index.ts";
import { strategy, subflowStrategies } from "./strategies.ts";

const unlimited = 0xffff_ffff;

/**
 * Does what subflows' strategies of the kind `rate` say, by the kernel's pacing, where nothing is registered in the stack: with
 * any congestion control. Looks at each sample of the round trip and each retransmission timeout.
 */
export const followStrategies = socketActor({
  name: "follow_strategies",
  at: ["established", "rtt", "rto", "closed"],
  state: { strategies: subflowStrategies, own: perSocket({ paced: u32 }) },
  run(socket, _params, { strategies, own }) {
    if (socket.event === "closed") {
      strategies.delete(socket.flow);
      return;
    }
    const record = strategies.getOrCreate(socket.flow);
    const mine = own.getOrCreate(socket);
    if (record === undefined || mine === undefined) return cannot("no_room");
    offer(record);
    const paces = record.kind === strategy.rate && record.rateBytesPerSecond !== 0;
    const wanted = paces ? u32(min(record.rateBytesPerSecond, unlimited - 1)) : unlimited;
    // Zero is what a socket begins with: no limit of ours.
    const present = mine.paced === 0 ? unlimited : mine.paced;
    if (wanted === present) return;
    mine.paced = wanted;
    socket.maxPacingRate = wanted;
  },
  release(socket, _params, { strategies, own }) {
    strategies.delete(socket.flow);
    const mine = own.get(socket);
    if (mine !== undefined && mine.paced !== 0 && mine.paced !== unlimited) socket.maxPacingRate = unlimited;
  },
});
