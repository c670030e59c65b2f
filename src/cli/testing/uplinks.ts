/** A router with two uplinks to one server, and what each of a connection's subflows carries. */
import { setTimeout as sleep } from "node:timers/promises";
import { createLab, startTransfer, type HostSpec, type Lab, type LinkSpec, type Transfer } from "../../lab/index.ts";

type Uplink = Pick<LinkSpec, "name" | "rateMbit" | "rttMs">;

// What the faster uplink delivers waits at the receiver until the other's queue is through. Buffers that start small grow to what
// was delivered, not to what could have been: with them, an uplink may stay idle for good.
const sysctls = { "net.ipv4.tcp_wmem": "4096 4194304 16777216", "net.ipv4.tcp_rmem": "4096 4194304 16777216" };

/** The examples' addresses: 192.168.1.0/24 and 192.168.2.0/24. */
export async function createRouter(uplinks: readonly [Uplink, Uplink], server: HostSpec = {}): Promise<Lab> {
  return await createLab({
    hosts: { router: { endpoints: "subflow", sysctls }, server: { sysctls, ...server } },
    links: uplinks.map((uplink, i) => ({ ...uplink, between: ["router", "server"], ipv4: `192.168.${i + 1}.0/24` })),
  });
}

/** The router sends as fast as it may, on both uplinks. */
export async function startUpload(lab: Lab, congestionControl = "cubic"): Promise<Transfer> {
  const transfer = await startTransfer(lab, { client: "router", direction: "upload", congestionControl });
  const deadline = performance.now() + 5000;
  while (transfer.info().subflows.length < 2) {
    if (performance.now() > deadline) throw new Error("The second subflow did not come up within 5 s");
    await sleep(50);
  }
  return transfer;
}

/** Mbit/s that each uplink's subflow had acknowledged within `seconds` from now, in the order of the uplinks. */
export async function measureUplinks(transfer: Transfer, seconds: number): Promise<readonly [number, number]> {
  const acked = () =>
    ["192.168.1.1", "192.168.2.1"].map(
      (address) => transfer.info().subflows.find(({ local }) => local.address === address)?.tcp.bytesAcked ?? 0,
    );
  const before = acked();
  const startedAt = performance.now();
  await sleep(1000 * seconds);
  const elapsedMs = performance.now() - startedAt;
  const [first, second] = acked().map((bytes, i) => ((bytes - before[i]) * 8) / 1000 / elapsedMs);
  return [first, second];
}
