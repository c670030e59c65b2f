/** Policies that use what a packet can do besides being changed in place, for tests in the VM and in the kernel. */
import { policySource } from "./policy-source.ts";

const making = (method: string, rest = ""): string => `
export const ${method}_priority = actor({
  name: "${method}_priority",
  run(packet) {
    if (!packet.${method}([kind.mptcp, 4, (subtype.priority << 4) | 1, 7]${rest})) return cannot("no_room");
  },
});`;

export const segmentMakers = policySource(`import { actor, cannot, kind, subtype, u8, u16, u32 } from "emptcp/policy";
${making("insert")}
${making("duplicate")}
${making("answer", ", 500")}
export const insert_wide = actor({
  name: "insert_wide",
  run(packet) {
    packet.insert([253, 9, u16(0x1234), u32(0x01020304), 5]);
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
