import { actor, cannot, emit, event, u32, u8 } from "../policy/index.ts";
import { CLOSED, JOINED, learnConnections, learning } from "./connections.ts";

/** A subflow that joined its connection, whose token is 0 where its handshake was not seen. */
export const subflow = event("subflow", {
  tokenLocal: u32,
  tokenRemote: u32,
  idLocal: u8,
  idRemote: u8,
  /** Whether this host, and the peer, wants to be sent to by other subflows while there are any. */
  backupLocal: u8,
  backupRemote: u8,
});

/** A subflow that ended, the connection's first one too; `left` are still open. */
export const subflowClosed = event("subflow_closed", { tokenLocal: u32, tokenRemote: u32, left: u32, reset: u8 });

/** Tells user space of every subflow that joins an MPTCP connection, and of every one that ends. */
export const getSubflow = actor({
  name: "get_subflow",
  direction: "both",
  state: learning,
  observe: learnConnections,
  run({ flow, tcp }, _params, { connections, subflows, lesson }) {
    if (lesson.news !== JOINED && lesson.news !== CLOSED) return;
    const { tokenLocal, tokenRemote } = lesson;
    const known = subflows.get(flow);
    if (known === undefined) return cannot("no_room");
    const { idLocal, idRemote, backupLocal, backupRemote } = known;
    let told = false;
    if (lesson.news === JOINED) {
      told = emit(subflow, flow, { tokenLocal, tokenRemote, idLocal, idRemote, backupLocal, backupRemote });
    } else {
      const connection = connections.get(tokenLocal);
      const left = connection === undefined ? 0 : connection.subflows;
      told = emit(subflowClosed, flow, { tokenLocal, tokenRemote, left, reset: tcp.rst });
    }
    if (!told) return cannot("no_listener");
  },
});
