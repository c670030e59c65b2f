/** The demo's subflow controller. */
import { controller, type Connection } from "../../paths/index.ts";

const lookMs = 100;

/** A second subflow, between `local` and the address that the peer announced, once a connection has brought `leastBytes`. */
export const onceLong = (local: string, leastBytes: number) =>
  controller({
    name: "once_long",
    filter: ({ serverSide }) => !serverSide,
    established(connection) {
      const stop = connection.every(lookMs, () => {
        if (receivedBytes(connection) >= leastBytes && grow(connection, local)) stop();
      });
    },
  });

const receivedBytes = (connection: Connection): number => connection.info()?.bytesReceived ?? 0;

function grow(connection: Connection, local: string): boolean {
  const [announced] = connection.announced.values();
  return announced !== undefined && connection.createSubflow({ local: { address: local }, remote: announced });
}
