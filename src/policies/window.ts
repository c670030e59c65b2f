import { kind, max, min, u16, type Packet, type Tcp } from "../policy/index.ts";

/** The largest shift a window may have (RFC 7323, section 2.3). */
const maximumScale = 14;

/** By how much the window field of one side is shifted, and whether that is known. */
export interface WindowScale {
  scale: number;
  scaleKnown: number;
}

/** Notes the shift of whom this SYN comes from. */
export function learnScale({ tcp }: Packet, flow: WindowScale): void {
  flow.scale = 0;
  for (const option of tcp.options) {
    if (option.kind !== kind.windowScale) continue;
    flow.scale = min(option.u8(2), maximumScale);
    break;
  }
  flow.scaleKnown = 1;
}

/** Lowers the window that a segment shows to `bytes`, and closes it never. */
export function lowerWindow(tcp: Tcp, bytes: number, scale: number): void {
  const window = bytes >> scale;
  if (window < tcp.window) tcp.window = u16(max(window, 1));
}
