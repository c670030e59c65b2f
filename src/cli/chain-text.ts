/** Submitted chains in words. */
import type { ChainDescription } from "../chain/index.ts";
import { netnsInode } from "../linux/index.ts";

const packetHooks = { tcx_ingress: "tc ingress", tcx_egress: "tc egress", xdp: "XDP" } as const;

/** `tc ingress and egress of wifi, lte (in namespace client)`; `hereInode` tells the network namespace of the reader. */
export function describePlaces(
  { attachments, netns }: Pick<ChainDescription, "attachments" | "netns">,
  hereInode = netnsInode(),
): string {
  const on = (hook: string) => attachments.filter((one) => one.hook === hook);
  const [sockets] = on("sock_ops");
  const titles = Object.entries(packetHooks).filter(([hook]) => on(hook).length > 0);
  const places: string[] = [];
  if (titles.length > 0) {
    // Every packet hook of a chain is attached to all of its interfaces.
    const interfaces = on(titles[0][0]).map((one) => `${one.interface ?? ""}${one.gone ? " (gone)" : ""}`);
    const hooks = titles.map(([, title]) => title).join(" and ");
    places.push(`${hooks.replace("and tc ", "and ")} of ${interfaces.join(", ")}`);
  }
  if (sockets) places.push(`sockets of ${sockets.cgroup ?? "all cgroups"}`);
  const inside = netns.name === undefined ? "another network namespace" : `namespace ${netns.name}`;
  const elsewhere = netns.name !== undefined || netns.inode !== hereInode;
  return `${places.join("; ")}${elsewhere ? ` (in ${inside})` : ""}`;
}
