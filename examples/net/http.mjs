import http from "node:http";
import { HttpAgent, listen, mptcpOf } from "emptcp/net";

/** An HTTP server and client of Node on MPTCP, with the connection kept for the next request. */

const server = http.createServer((request, response) => {
  response.end(mptcpOf(request.socket).fallback ? "by TCP" : "by MPTCP");
});
const agent = new HttpAgent({ keepAlive: true });

function ask(port, times) {
  http.get({ host: "127.0.0.1", port, agent }, (response) => {
    response.setEncoding("utf8").on("data", (text) => console.log(`request ${times} ${text}`));
    response.on("end", () => {
      if (times < 2) ask(port, times + 1);
      else {
        agent.destroy();
        server.close();
      }
    });
  });
}

listen(server, 0, () => ask(server.address().port, 1));
