/** The number by which programs know a network namespace (`bpf_get_netns_cookie`). It is never used again. */
import { AF_INET } from "./sockaddr.ts";
import { closeSocket, getOption, openSocket, SOCK_STREAM } from "./socket-calls.ts";

const SOL_SOCKET = 1;
const SO_NETNS_COOKIE = 71;

/** That of the current namespace. @throws SystemCallError before Linux 5.14 */
export function netnsCookie(): bigint {
  const socket = openSocket(AF_INET, SOCK_STREAM, 0);
  try {
    const bytes = getOption(socket, SOL_SOCKET, SO_NETNS_COOKIE, new Uint8Array(8));
    return new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true);
  } finally {
    closeSocket(socket);
  }
}
