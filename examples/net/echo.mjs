import { connect, createServer } from "emptcp/net";

/** An echo server and a client that asks its connection for its paths: programs of node:net with another import. */

const server = createServer((socket) => {
  socket.pipe(socket);
});
server.listen(0, () => {
  const { port } = server.address();
  const client = connect({ port, host: "127.0.0.1" });
  client.setEncoding("utf8").on("data", (text) => {
    const { enabled, fallback } = client.mptcp;
    console.log(`${text} came back; MPTCP ${enabled ? "offered" : "not offered"}, ${fallback ? "not " : ""}in use`);
    for (const { local, remote } of client.mptcp.subflows())
      console.log(
        `subflow from ${local.address} to ${remote.address}, port ${remote.port === port ? "as asked" : "other"}`,
      );
    client.end();
    server.close();
  });
  client.write("hello");
});
