/** Retransmission timers that run out, of all subflows of a namespace: a chain of one actor on sockets, and its events. */
import { ActorChain, listChains, PolicyChain, SelectorChain } from "../chain/index.ts";
import type { NetworkNamespace, SocketAddress } from "../linux/index.ts";
import { tellTimeouts } from "./tell-timeouts.ts";

export interface TimeoutWatcher {
  close(): void;
}

const prefix = "paths-timeouts-";
let count = 0;

/** Chains outlive processes that were killed, and nobody reads the events of theirs. */
function removeLeftovers(): void {
  for (const chain of listChains()) {
    const owner = new RegExp(`^${prefix}(\\d+)-\\d+$`).exec(chain.name)?.[1];
    if (owner !== undefined && Number(owner) !== process.pid && !isAlive(Number(owner))) chain.remove();
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/**
 * Calls `expired` with the ends of a socket whose timer ran out, connections that run already included, until closed.
 * @throws KernelError, also without CAP_BPF and CAP_NET_ADMIN
 */
export function watchTimeouts(
  netns: NetworkNamespace | undefined,
  expired: (local: SocketAddress, remote: SocketAddress) => void,
): TimeoutWatcher {
  removeLeftovers();
  const running = new PolicyChain(new SelectorChain(), new ActorChain().add(tellTimeouts), {
    name: `${prefix}${process.pid}-${++count}`,
    ...(netns !== undefined && { netns }),
  }).submit();
  try {
    const reader = running.readEvents(({ local, localPort, remote, remotePort }) =>
      expired({ address: local, port: localPort }, { address: remote, port: remotePort }),
    );
    return {
      close() {
        reader.close();
        running.remove();
      },
    };
  } catch (error) {
    running.remove();
    throw error;
  }
}
