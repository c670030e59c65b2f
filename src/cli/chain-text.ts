/** Submitted chains in words. */
import type { Attachment, ChainDescription } from "../chain/index.ts";

const hookTitles: Readonly<Record<Attachment["hook"], string>> = {
  xdp: "XDP",
  tcx_ingress: "tc ingress",
  tcx_egress: "tc egress",
  sock_ops: "sockets",
  iter_tcp: "running sockets",
  iter_tcp_release: "",
};

/** `tc ingress of wifi, lte; sockets of the root cgroup (in namespace client)`. */
export function describePlaces({ attachments, netns }: Pick<ChainDescription, "attachments" | "netns">): string {
  const hooks = [...new Set(attachments.map(({ hook }) => hook))].filter((hook) => !hook.startsWith("iter_"));
  const places = hooks.map((hook) => {
    const here = attachments.filter((one) => one.hook === hook);
    if (hook === "sock_ops") return `sockets of ${here[0].cgroup ?? "all cgroups"}`;
    return `${hookTitles[hook]} of ${here.map((one) => one.interface ?? "").join(", ")}`;
  });
  return `${places.join("; ")}${netns.name === undefined ? "" : ` (in namespace ${netns.name})`}`;
}
