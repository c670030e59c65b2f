import { actor, cannot, emit, event, u32, u64, u8 } from "../policy/index.ts";
import { CONNECTED, learnConnections, learning } from "./connections.ts";

/** An MPTCP connection, once its handshake is complete. Keys are as they are on the wire, most significant byte first. */
export const connect = event("connect", {
  tokenLocal: u32,
  tokenRemote: u32,
  keyLocal: u64,
  keyRemote: u64,
  version: u8,
});

/** Tells user space of every new MPTCP connection: its tokens and keys. */
export const getConnect = actor({
  name: "get_connect",
  direction: "both",
  state: learning,
  observe: learnConnections,
  run({ flow }, _params, { connections, lesson }) {
    if (lesson.news !== CONNECTED) return;
    const { tokenLocal, tokenRemote } = lesson;
    const local = connections.get(tokenLocal);
    const remote = connections.get(tokenRemote);
    if (local === undefined || remote === undefined) return cannot("no_room");
    const told = emit(connect, flow, {
      tokenLocal,
      tokenRemote,
      keyLocal: local.key,
      keyRemote: remote.key,
      version: local.version,
    });
    if (!told) return cannot("no_listener");
  },
});
