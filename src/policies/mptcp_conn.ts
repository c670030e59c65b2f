import { choice, fallback, selector, u32, within } from "../policy/index.ts";
import { learnConnections, learning } from "./connections.ts";

/**
 * All subflows of an MPTCP connection, by the token of this host, as `ss -M` shows it, of the peer, or of either. The
 * connections are those whose handshakes the chain saw, and those of this host that ran when the chain was submitted.
 */
export const mptcpConn = selector({
  name: "mptcp_conn",
  params: { token: within(u32, 1, 0xffff_ffff), side: fallback(choice("local", "remote", "either"), "either") },
  state: learning,
  observe: learnConnections,
  run(_packet, { token, side }, { lesson }) {
    switch (side) {
      case "local":
        return lesson.tokenLocal === token;
      case "remote":
        return lesson.tokenRemote === token;
      default:
        return lesson.tokenLocal === token || lesson.tokenRemote === token;
    }
  },
  // With either side a packet would be two members.
  member: (_packet, { side }, { lesson }) =>
    side === "either" ? undefined : { token: side === "local" ? lesson.tokenLocal : lesson.tokenRemote },
});
