import { afterEach, describe, expect, test, vi } from "vitest";
import { ActorChain, PolicyChain, SelectorChain, type ChainOptions, type RunningChain } from "../chain/index.ts";
import { parsePacket, WireError, type TcpOption } from "../wire/index.ts";
import { capturePackets } from "../linux/capture.ts";
import { attachChain } from "./experiments/experiment.ts";
import { createLab, readMptcpCounters, startTransfer, type HostSpec, type Lab, type Transfer } from "./index.ts";
import { samplePaths } from "./measure/counters.ts";

// Subflows of running connections, kept away, given back, made backups and ended, while every byte arrives. On links whose
// packets are whole, as a card delivers them, and on links that carry large frames whose checksums are still to be filled in.

const links = ["wifi", "lte"];
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
let lab: Lab | undefined;
const readers: (() => void)[] = [];

afterEach(async () => {
  for (const stop of readers.splice(0)) stop();
  await lab?.close();
  lab = undefined;
});

interface Setting {
  readonly family?: 4 | 6;
  readonly largeFrames?: boolean;
  readonly server?: HostSpec;
  readonly client?: HostSpec;
}

async function makeLab({ family = 4, largeFrames = false, server, client }: Setting = {}): Promise<Lab> {
  const link = { between: ["client", "server"] as const, rateMbit: 40, rttMs: 10, largeFrames };
  lab = await createLab({
    hosts: {
      client: { family, ...client },
      server: { family, endpoints: "signal", addAddrTimeoutSeconds: 1, ...server },
    },
    links: links.map((name) => ({ name, ...link })),
  });
  return lab;
}

function submit(
  host: string,
  title: string,
  actors: ActorChain,
  selectors = new SelectorChain(),
  options: ChainOptions = {},
): RunningChain {
  return attachChain(lab!, host, title, new PolicyChain(selectors, actors, options), links).running;
}

/** Counts options of a host's interfaces, as they are on the wire: what arrives before its chains, what leaves behind them. */
function countOptions(host: string, wanted: (option: TcpOption) => boolean) {
  const count = { ingress: 0, egress: 0 };
  for (const name of links) {
    const stop = capturePackets({ interface: name, netns: lab!.host(host).netns }, ({ bytes, direction }) => {
      try {
        count[direction] += parsePacket(bytes).tcp?.options.filter(wanted).length ?? 0;
      } catch (error) {
        if (!(error instanceof WireError)) throw error;
      }
    });
    readers.push(stop);
  }
  return count;
}
const announces = (option: TcpOption) => option.kind === "addAddr" && !("echo" in option && option.echo);
const setsPriority = (option: TcpOption) => option.kind === "mpPrio";

/** @param explain what else was seen, where there are not as many in time */
async function subflows(transfer: Transfer, many: number, explain = () => ""): Promise<void> {
  await vi.waitFor(() => expect(transfer.info().subflows, explain()).toHaveLength(many), { timeout: 8000 });
}

async function mbit(link: string, direction: "forward" | "backward", forMs = 500): Promise<number> {
  return await new Promise((resolve) => {
    const stop = samplePaths(lab!, forMs, ({ mbit }) => {
      stop();
      resolve(mbit[link][direction]);
    });
  });
}

/** Waits until a link carries what is asked, in Mbit/s. */
async function carries(link: string, direction: "forward" | "backward", isSo: (mbit: number) => boolean) {
  await vi.waitFor(
    async () => {
      const seen = await mbit(link, direction);
      expect(isSo(seen), `${seen.toFixed(1)} Mbit/s over ${link}`).toBe(true);
    },
    { timeout: 20_000 },
  );
}

async function finish(transfer: Transfer): Promise<void> {
  expect([transfer.info().fallback, transfer.receiverInfo().fallback]).toEqual([false, false]);
  const { receivedBytes, sentBytes, receivedHash, sentHash } = await transfer.stop();
  expect(receivedBytes).toBeGreaterThan(0);
  expect({ receivedBytes, receivedHash }).toEqual({ receivedBytes: sentBytes, receivedHash: sentHash });
}

/** How much more a host's MPTCP stack counted by the time this is asked. */
function counting(host: string) {
  const before = readMptcpCounters(lab!, host);
  return (name: string) => readMptcpCounters(lab!, host)[name] - before[name];
}

type Way = Readonly<{ family: 4 | 6; largeFrames: boolean; direction: "download" | "upload" }>;
const towards = ({ direction }: Way) => (direction === "download" ? "backward" : "forward");
/** Over lte alone, on the client. */
const lteAlone = ({ family }: Way) =>
  new SelectorChain().select("ip_pair", {
    local: lab!.host("client").interfaces[1][family === 4 ? "ipv4" : "ipv6"],
    remote: lab!.host("server").interfaces[1][family === 4 ? "ipv4" : "ipv6"],
  });

const single = { family: 4, largeFrames: false, direction: "download" } as const;
const whole = { family: 6, largeFrames: true, direction: "upload" } as const;

describe("blk_subflow and add_subflow", () => {
  test.each<Way & { method: "filter" | "echo"; hook?: "xdp" }>([
    { ...single, method: "echo" },
    { ...single, family: 6, direction: "upload", method: "filter" },
    { ...whole, family: 4, method: "filter" },
    { ...whole, direction: "download", method: "filter" },
    { ...single, direction: "upload", method: "filter", hook: "xdp" },
  ])(
    "IPv$family, large frames $largeFrames, $direction, $method, $hook: keep a subflow away, then give it back",
    async (way) => {
      const { family, direction, method, hook } = way;
      await makeLab(way);
      const [client, server] = [counting("client"), counting("server")];
      // On XDP, captures show what is left behind the chain.
      const wire = countOptions("server", announces);
      const chain = submit("client", "block", new ActorChain().add("blk_subflow", { method }), undefined, {
        ...(hook && { hook, direction: "ingress" as const }),
      });
      const transfer = await startTransfer(lab!, { family, direction });
      // Longer than the server waits before it announces the address again.
      await sleep(1500);
      expect(transfer.info().subflows).toHaveLength(1);
      expect(client("AddAddr")).toBe(0);
      if (method === "echo") {
        expect(wire.egress).toBe(1);
        expect(server("EchoAdd")).toBe(1);
      } else {
        await vi.waitFor(() => expect(wire.egress).toBeGreaterThan(1), { timeout: 10_000 });
        expect(server("EchoAdd")).toBe(0);
      }
      await chain.edit(({ actors }) => actors.remove("blk_subflow").add("add_subflow"));
      await subflows(transfer, 2, () => {
        const seen = ["AddAddr", "AddAddrDrop", "MPJoinSynTx", "MPJoinSynAckRx"].map(
          (name) => `${name} ${client(name)}`,
        );
        return `${seen.join(", ")}; ${JSON.stringify(chain.counters().actors)}`;
      });
      // The server may say it once more before it hears that it was heard.
      expect(client("AddAddr")).toBeGreaterThan(0);
      expect(client("AddAddr")).toBeLessThan(3);
      expect(client("MPJoinSynTx")).toBe(1);
      await carries("lte", towards(way), (mbit) => mbit > 8);
      await finish(transfer);
    },
  );

  test("joins: true keeps the peer's own subflows away too", async () => {
    await makeLab({ client: { endpoints: "subflow" }, server: { endpoints: "none" } });
    const server = counting("server");
    const chain = submit("server", "joins", new ActorChain().add("blk_subflow", { joins: true }));
    const transfer = await startTransfer(lab!);
    await sleep(1000);
    expect(chain.counters().actors[0].acted).toBeGreaterThan(0);
    expect(server("MPJoinSynRx")).toBe(0);
    expect(transfer.info().subflows).toHaveLength(1);
    await finish(transfer);
  });
});

describe("set_backup", () => {
  test.each([single, whole])(
    "IPv$family, large frames $largeFrames, $direction: asks each side at most once, and the path falls idle",
    async (way) => {
      await makeLab(way);
      const transfer = await startTransfer(lab!, way);
      await subflows(transfer, 2);
      const [client, server] = [counting("client"), counting("server")];
      const wire = countOptions("client", setsPriority);
      submit("client", "backup", new ActorChain().add("set_backup"), lteAlone(way));
      await carries("lte", towards(way), (mbit) => mbit < 0.5);
      await carries("wifi", towards(way), (mbit) => mbit > 20);
      await sleep(500);
      // What is put into packets that arrive does not pass the wire. Once one side was asked, there may be no packet left
      // that could ask the other.
      expect(wire.ingress).toBe(0);
      expect(wire.egress).toBeLessThanOrEqual(1);
      expect(server("MPPrioRx")).toBe(wire.egress);
      expect(client("MPPrioRx")).toBeLessThanOrEqual(1);
      expect(client("MPPrioRx") + server("MPPrioRx")).toBeGreaterThan(0);
      expect(transfer.info().subflows).toHaveLength(2);
      await finish(transfer);
    },
  );
});

describe("rm_subflow", () => {
  test.each([single, whole])(
    "IPv$family, large frames $largeFrames, $direction: ends one subflow, and not the last",
    async (way) => {
      await makeLab(way);
      const transfer = await startTransfer(lab!, way);
      await subflows(transfer, 2);
      submit("client", "remove", new ActorChain().add("rm_subflow"), lteAlone(way));
      await vi.waitFor(() => expect(transfer.info().subflows).toHaveLength(1), { timeout: 5000 });
      const last = submit("client", "last", new ActorChain().add("rm_subflow"));
      await carries("wifi", towards(way), (mbit) => mbit > 20);
      expect(last.counters().actors[0].cannot["last_subflow"]).toBeGreaterThan(0);
      await finish(transfer);
    },
  );
});
