import { actor, cannot, kind, u16, within, type TcpOption } from "../policy/index.ts";

/** Below this there is no segment worth the name: the kernel's own bound (net.ipv4.tcp_min_snd_mss). */
const leastMss = 48;

function isMss(option: TcpOption): boolean {
  return option.kind === kind.mss;
}

/**
 * Lowers the largest segment that SYNs ask for, so that an option of up to `by` bytes fits into every one. Both sides learn of
 * it: it does not matter which one's packets get the option.
 */
export const clampMss = actor({
  name: "clamp_mss",
  direction: "both",
  params: { by: within(u16, 1, 1400) },
  run({ tcp }, { by }) {
    if (!tcp.syn) return;
    const option = tcp.options.find(isMss);
    if (option === undefined) return cannot("no_mss");
    const mss = option.u16(2);
    if (mss < by + leastMss) return cannot("too_small");
    option.setU16(2, u16(mss - by));
  },
});
