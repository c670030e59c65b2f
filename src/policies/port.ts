import { choice, fallback, selector, u16 } from "../policy/index.ts";

/** Packets of connections that use a port: on this host's side, the peer's, or either; both directions. */
export const port = selector({
  name: "port",
  params: { port: u16, side: fallback(choice("local", "remote", "either"), "either") },
  run({ flow }, { port, side }) {
    switch (side) {
      case "local":
        return flow.localPort === port;
      case "remote":
        return flow.remotePort === port;
      default:
        return flow.localPort === port || flow.remotePort === port;
    }
  },
  // With either side a packet would be two members.
  member: ({ flow }, { side }) =>
    side === "either" ? undefined : { port: side === "local" ? flow.localPort : flow.remotePort },
});
