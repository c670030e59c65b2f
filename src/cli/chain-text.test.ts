import { expect, test } from "vitest";
import type { Attachment } from "../chain/index.ts";
import { describePlaces } from "./chain-text.ts";

const on = (hook: Attachment["hook"], ...names: string[]): Attachment[] =>
  names.map((name) => ({ hook, interface: name, pin: `link_${hook}_${name}` }));
const here = { inode: 1 };

test("describePlaces() names the interfaces of both directions once", () => {
  const attachments = [...on("tcx_ingress", "wifi", "lte"), ...on("tcx_egress", "wifi", "lte")];
  expect(describePlaces({ attachments, netns: here }, 1)).toBe("tc ingress and egress of wifi, lte");
});

test("describePlaces() tells packets, sockets and the namespace", () => {
  const sockets: Attachment = { hook: "sock_ops", cgroup: "/sys/fs/cgroup/shop", pin: "link_sock_ops" };
  const walk: Attachment = { hook: "iter_tcp", pin: "link_iter_tcp" };
  const attachments = [...on("xdp", "eth0"), sockets, walk];
  expect(describePlaces({ attachments, netns: { ...here, name: "client" } }, 1)).toBe(
    "XDP of eth0; sockets of /sys/fs/cgroup/shop (in namespace client)",
  );
  expect(describePlaces({ attachments: [walk, { hook: "sock_ops", pin: "link_sock_ops" }], netns: here }, 2)).toBe(
    "sockets of all cgroups (in another network namespace)",
  );
});
