import https from "node:https";
import { readFileSync } from "node:fs";
import { HttpsAgent, listen, mptcpOf } from "emptcp/net";

/** An HTTPS server and client of Node on MPTCP: `node https.mjs KEY.pem CERTIFICATE.pem`, of which localhost is a name. */

const [keyFile, certificateFile] = process.argv.slice(2);
const cert = readFileSync(certificateFile);

const server = https.createServer({ key: readFileSync(keyFile), cert }, (request, response) => {
  const { fallback } = mptcpOf(request.socket);
  response.end(`${request.socket.getProtocol()} by ${fallback ? "TCP" : "MPTCP"}`);
});

listen(server, 0, () => {
  const agent = new HttpsAgent();
  const { port } = server.address();
  https.get({ host: "localhost", port, agent, ca: cert }, (response) => {
    response.setEncoding("utf8").on("data", (text) => console.log(text));
    response.on("end", () => server.close());
  });
});
