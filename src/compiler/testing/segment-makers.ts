/** Policies that use what a packet can do besides being changed in place, for tests in the VM and in the kernel. */
import { policySource } from "./policy-source.ts";

const making = (method: string, rest = ""): string => `
export const ${method}_priority = actor({
  name: "${method}_priority",
  run(packet) {
    if (!packet.${method}([kind.mptcp, 4, (subtype.priority << 4) | 1, 7]${rest})) return cannot("no_room");
  },
});`;

export const segmentMakers =
  policySource(`import { actor, bytes, cannot, kind, shared, subtype, u8, u16, u32, type TcpOption } from "emptcp/policy";
${making("insert")}
${making("duplicate")}
${making("answer", ", 500")}
export const insert_wide = actor({
  name: "insert_wide",
  run(packet) {
    packet.insert([253, 9, u16(0x1234), u32(0x01020304), 5]);
  },
});
function isMptcp(option: TcpOption): boolean { return option.kind === kind.mptcp; }
export const insert_saved = actor({
  name: "insert_saved",
  state: { kept: shared({ option: bytes(64) }) },
  run(packet, _params, { kept }) {
    const option = packet.tcp.options.find(isMptcp);
    if (option === undefined) return;
    option.save(kept.option);
    if (!packet.insert(kept.option)) return cannot("no_room");
  },
});
export const elsewhere = actor({ name: "elsewhere", run(packet) { packet.redirect(12); } });
export const copied = actor({ name: "copied", run(packet) { packet.mirror(13); } });
export const dropped_elsewhere = actor({ name: "dropped_elsewhere", run(packet) { packet.redirect(12); packet.drop(); } });
export const repaint = actor({
  name: "repaint",
  run(packet) {
    packet.mark = 77;
    packet.ethernet.destination = packet.ethernet.source + 0x020000000099;
    packet.ip.ecn = 3;
    packet.ip.dscp = 46;
  },
});
`);

/** Policies that leave notes for those behind them, learn and tell. */
export const rememberers =
  policySource(`import { actor, emit, event, flows, perPacket, selector, u16, u32, u64 } from "emptcp/policy";
const notes = perPacket({ ports: u32, sum: u64, turns: u16 });
const seen = flows({ packets: u32 }, 8);
const big = event("big", { sum: u64, turns: u16 });
export const odd = selector({
  name: "odd",
  state: { notes, seen },
  observe({ flow }, { seen }) { const entry = seen.getOrCreate(flow); if (entry) entry.packets += 1; },
  run({ tcp }, _, { notes }) { notes.ports = tcp.sourcePort; notes.turns += 1; return (tcp.sourcePort & 1) === 1; },
});
export const grow = actor({
  name: "grow",
  state: { notes },
  run({ tcp }, _, { notes }) { notes.sum += notes.ports * 3 + tcp.window; notes.turns += 1; },
});
export const tell = actor({
  name: "tell",
  state: { notes },
  run(packet, _, { notes }) {
    emit(big, packet.flow, { sum: notes.sum, turns: notes.turns });
    packet.tcp.window = u16(notes.sum);
  },
});`);
