import { congestionControl, congestionState, inPrefix, min, u64, type Connection } from "emptcp/policy";

/**
 * Uses other paths, such as LTE, only for what WiFi cannot carry of 20 Mbit/s, and for everything while WiFi is dead; for each
 * MPTCP connection of the host that sends, on top of cubic. At the far end `flow.remote` is the WiFi's address.
 *
 *   emptcp stack start examples/prefer-wifi.ts
 *   sysctl net.ipv4.tcp_congestion_control=prefer_wifi
 */
const wifi = "192.168.1.0/24";
const wanted = 20_000_000 / 8;
const unlimited = 0xffff_ffff;

/** What WiFi leaves for others, in bytes per second: next to nothing counts as nothing. */
function missing(connection: Connection): u64 {
  let carried: u64 = 0;
  let left: u64 = unlimited;
  for (const one of connection.subflows) {
    if (!inPrefix(one.flow.local, wifi) || one.caState === congestionState.loss) continue;
    carried += one.isCwndLimited || one.notSentBytes !== 0 ? one.deliveryRate : wanted;
    left = carried > (wanted / 10) * 9 ? 0 : wanted - carried;
  }
  return left;
}

export const preferWifi = congestionControl({
  name: "prefer_wifi",
  inAckEvent(socket) {
    if (socket.connection === undefined || inPrefix(socket.flow.local, wifi)) return;
    const rate = missing(socket.connection);
    if (rate === min(socket.maxPacingRate, unlimited)) return;
    // A subflow without a rate is given nothing to send. It looks again when an ACK arrives: let there be one a second.
    socket.maxPacingRate = rate;
    socket.pacingRate = rate;
    socket.keepAliveSeconds = rate === 0 ? 1 : 0;
  },
});
