/** Attaching a chain's programs to its hooks, among those of other chains. */
import { isPacketHook, type Hook } from "../compiler/index.ts";
import {
  attachSockOps,
  attachTcx,
  attachXdp,
  createIterLink,
  KernelError,
  openLink,
  queryTcxOrder,
  type KernelLink,
  type KernelProgram,
} from "../linux/index.ts";
import type { Attachment } from "./description.ts";
import { chainDirectory, chainNames, readDescription } from "./store.ts";

/** An interface of the current network namespace. */
export interface Interface {
  readonly name: string;
  readonly index: number;
}

/** Where a chain's program for one hook goes. */
export interface Target {
  readonly hook: Hook;
  readonly interface?: Interface;
  readonly cgroup?: string;
}

export function targetsOf(hooks: readonly Hook[], interfaces: readonly Interface[], cgroup?: string): Target[] {
  return hooks.flatMap((hook): Target[] =>
    isPacketHook(hook)
      ? interfaces.map((one) => ({ hook, interface: one }))
      : [{ hook, ...(hook === "sock_ops" && cgroup !== undefined && { cgroup }) }],
  );
}

export function attachmentOf({ hook, interface: one, cgroup }: Target): Attachment {
  return one
    ? { hook, interface: one.name, interfaceIndex: one.index, pin: `link_${hook}_${one.index}` }
    : { hook, ...(cgroup !== undefined && { cgroup }), pin: `link_${hook}` };
}

/** @throws KernelError, NoSuchInterfaceError */
export function attach(program: KernelProgram, target: Target, priority: number): KernelLink {
  const { hook, interface: one, cgroup } = target;
  switch (hook) {
    case "xdp":
      return attachXdp(program, { interface: one!.name });
    case "tcx_ingress":
    case "tcx_egress":
      return attachInOrder(program, one!.name, hook === "tcx_ingress" ? "ingress" : "egress", priority);
    case "sock_ops":
      return attachSockOps(program, cgroup === undefined ? {} : { cgroup });
    default:
      return createIterLink(program);
  }
}

const ATTEMPTS = 10;

/** Behind all chains of the same priority or a lower one, before the others. Programs that are no chain's stay as they are. */
function attachInOrder(
  program: KernelProgram,
  name: string,
  direction: "ingress" | "egress",
  priority: number,
): KernelLink {
  for (let attempt = 1; ; attempt++) {
    const { revision, entries } = queryTcxOrder({ interface: name, direction });
    const later = entries.length === 0 ? new Map<number, string>() : linksAfter(priority, `tcx_${direction}`);
    const pin = entries.map(({ linkId }) => later.get(linkId)).find((path) => path !== undefined);
    const before = pin === undefined ? undefined : openLink(pin);
    try {
      return attachTcx(program, { interface: name, direction, revision, ...(before && { before }) });
    } catch (error) {
      // Another program came or went meanwhile.
      if (!(error instanceof KernelError && error.code === "ESTALE") || attempt === ATTEMPTS) throw error;
    } finally {
      before?.close();
    }
  }
}

/** The pins of the links, by their ids, of chains that run after those of a priority. */
function linksAfter(priority: number, hook: string): Map<number, string> {
  const found = new Map<number, string>();
  for (const name of chainNames()) {
    const directory = chainDirectory(name);
    if (!directory) continue;
    const { options, attachments } = readDescription(directory);
    if ((options.priority ?? 0) <= priority) continue;
    for (const attachment of attachments) {
      if (attachment.hook !== hook) continue;
      const path = `${directory}/${attachment.pin}`;
      const link = openLink(path);
      found.set(link.info().id, path);
      link.close();
    }
  }
  return found;
}
