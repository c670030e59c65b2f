/**
 * A server in a process of its own, started in its host's namespace: the first four bytes of a connection say how many to
 * answer with. It prints the port it listens on, and ends with its input.
 */
import type net from "node:net";
import { listenMptcp } from "../../linux/sockets.ts";

const block = Buffer.alloc(1 << 20);

function serve(socket: net.Socket): void {
  let answered = false;
  socket.on("data", (data: Buffer) => {
    if (answered || data.length < 4) return;
    answered = true;
    const bytes = data.readUInt32BE();
    for (let left = bytes; left > 0; left -= block.length)
      socket.write(block.subarray(0, Math.min(left, block.length)));
    socket.end();
  });
  // A client that has gone is none of its business.
  socket.on("error", () => socket.destroy());
}

const server = await listenMptcp({ address: "0.0.0.0", port: 0, congestionControl: "cubic", allowHalfOpen: true });
server.on("connection", serve);
console.log((server.address() as net.AddressInfo).port);
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
