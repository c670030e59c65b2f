/** Finding the packet's headers again where they are known to be, so that the verifier forgets how it came to know them. */
import { pointer, type Block } from "../ir/ir.ts";
import { blur, conceal } from "./conceal.ts";
import type { Lowering } from "./lowering.ts";
import { maximumIpOffset, maximumV6Headers, minimumTcp, minimumV4, packetFields } from "./parse.ts";
import type { ParsedPacket } from "./views/packet.ts";

/**
 * Takes new pointers to the packet. What was checked of the old ones differs with each way to here (by the options that were
 * looked at, and how many), and the verifier would follow all that comes behind once for each: this belongs before long
 * computations. What the policy still reads through the old ones stays valid.
 * @param other where to go when the headers are not there; they always are
 */
export function refreshPacket(lowering: Lowering, packet: ParsedPacket, other: Block): void {
  const { builder } = lowering;
  const readable = builder.read(packet.tcp);
  const ipOffset = conceal(
    lowering,
    builder.zeroExtend(builder.read(packet.ipOffset)),
    readable,
    maximumIpOffset,
    other,
  );
  const ipLength = conceal(
    lowering,
    builder.zeroExtend(builder.read(packet.ipLength)),
    readable,
    maximumV6Headers,
    other,
  );
  for (const variable of [packet.tcpLength, packet.totalLength])
    builder.write(variable, blur(lowering, builder.read(variable), readable));
  const [dataField, endField] = packet.hook === "xdp" ? packetFields.xdp : packetFields.tc;
  const data = builder.loadFresh(4, packet.context, dataField, pointer("packet"));
  const end = builder.loadFresh(4, packet.context, endField, pointer("packetEnd"));
  const ip = builder.pointerAdd(data, ipOffset);
  const tcp = builder.pointerAdd(ip, ipLength);
  const [hasIp, hasTcp] = builder.blocks(2);
  builder.check(ip, end, minimumV4 + minimumTcp, hasIp, other);
  lowering.enter(hasIp);
  builder.check(tcp, end, minimumTcp, hasTcp, other);
  lowering.enter(hasTcp);
  builder.write(packet.ipOffset, builder.truncate(ipOffset));
  builder.write(packet.ipLength, builder.truncate(ipLength));
  builder.write(packet.ip, ip);
  builder.write(packet.tcp, tcp);
  builder.write(packet.end, end);
  lowering.manyWays = false;
}
