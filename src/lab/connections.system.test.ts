import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { ActorChain, PolicyChain, SelectorChain, type ChainEvent, type RunningChain } from "../chain/index.ts";
import { dumpTcpSockets } from "../linux/diag.ts";
import { mptcpToken } from "../wire/index.ts";
import { attachChain } from "./experiments/experiment.ts";
import { createLab, type Lab } from "./lab.ts";
import type { LabSpec } from "./spec.ts";
import { startTransfer, type Transfer } from "./workload/transfer.ts";

/** A client with two links to a router, behind which the server is. */
const routed: LabSpec = {
  hosts: {
    client: { endpoints: "subflow", routes: { "10.0.3.0/24": ["one", "two"] } },
    router: { forwards: true },
    server: { routes: { "10.0.1.0/24": "lan", "10.0.2.0/24": "lan" } },
  },
  links: [
    { name: "one", between: ["client", "router"], rateMbit: 20, rttMs: 10 },
    { name: "two", between: ["client", "router"], rateMbit: 20, rttMs: 10 },
    { name: "lan", between: ["router", "server"], rateMbit: 100, rttMs: 2 },
  ],
};
const address = "10.0.3.2";

/** A host's token of the only connection there is, as the kernel says; 0 without one. */
function tokenOn(lab: Lab, host: string): number {
  const sockets = dumpTcpSockets(lab.host(host).netns).filter(({ mptcp, state }) => mptcp && state === "established");
  const tokens = new Set(sockets.map(({ mptcp }) => mptcp!.tokenLocal));
  expect(tokens.size).toBeLessThan(2);
  return [...tokens][0] ?? 0;
}

async function twoSubflows(transfer: Transfer): Promise<void> {
  await vi.waitFor(() => expect(transfer.info().subflows).toHaveLength(2), { timeout: 5000 });
}

describe("MPTCP connections", () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await createLab(routed);
  });
  afterAll(async () => {
    await lab?.close();
  });

  test("are learnt from handshakes on both hosts and between them: tokens, keys, joins and ends", async () => {
    const places = { client: ["one", "two"], router: ["lan"], server: ["lan"] };
    const told: Record<string, ChainEvent[]> = {};
    const actors = new ActorChain().add("get_connect").add("get_subflow");
    const readers = Object.entries(places).map(([host, interfaces]) => {
      const { running } = attachChain(
        lab,
        host,
        `tell-${host}`,
        new PolicyChain(new SelectorChain(), actors),
        interfaces,
      );
      return running.readEvents((event) => (told[host] ??= []).push(event));
    });
    try {
      const transfer = await startTransfer(lab, { address });
      await twoSubflows(transfer);
      const [client, server] = [tokenOn(lab, "client"), tokenOn(lab, "server")];
      expect(await transfer.stop()).toMatchObject({ ok: true });
      transfer.abort();
      // What arrives by the router's interface goes to the client.
      const seenBy = { client: [client, server], router: [client, server], server: [server, client] };
      await vi.waitFor(() => {
        for (const [host, [tokenLocal, tokenRemote]] of Object.entries(seenBy)) {
          const names = told[host]?.map(({ name }) => name) ?? [];
          expect(names.slice(0, 2), host).toEqual(["connect", "subflow"]);
          expect(names.slice(2), host).toEqual(["subflow_closed", "subflow_closed"]);
          for (const { fields } of told[host]) expect(fields, host).toMatchObject({ tokenLocal, tokenRemote });
          const [{ fields: connect }, { fields: subflow }] = told[host];
          expect(mptcpToken(connect["keyLocal"] as bigint, 1)).toBe(tokenLocal);
          expect(mptcpToken(connect["keyRemote"] as bigint, 1)).toBe(tokenRemote);
          expect(subflow[host === "server" ? "idRemote" : "idLocal"]).toBeGreaterThan(0);
        }
      });
    } finally {
      for (const reader of readers) reader.close();
    }
  });

  test("that run already are selected by token as soon as a chain is submitted", async () => {
    await vi.waitFor(() => expect(tokenOn(lab, "client")).toBe(0), { timeout: 5000 });
    const transfer = await startTransfer(lab, { address });
    try {
      await twoSubflows(transfer);
      const [tokenLocal, tokenRemote] = [tokenOn(lab, "client"), tokenOn(lab, "server")];
      const by = (token: number): RunningChain => {
        const chain = new PolicyChain(
          new SelectorChain().select("mptcp_conn", { token }),
          new ActorChain().add("record"),
        );
        return attachChain(lab, "client", `by-${token}`, chain, ["one", "two"]).running;
      };
      const chains = [tokenLocal, tokenRemote, (tokenLocal ^ 1) >>> 0].map(by);
      await vi.waitFor(() => {
        const flows = chains.map((chain) => chain.flows("record").filter(({ fields }) => fields["packetsIn"] > 100));
        expect(flows.map(({ length }) => length)).toEqual([2, 2, 0]);
        expect(chains[2].counters().selectors[0].matched).toBe(0);
      });
    } finally {
      transfer.abort();
    }
  });
});
