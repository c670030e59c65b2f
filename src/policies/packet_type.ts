import { choice, kind, selector, subtype, type Packet } from "../policy/index.ts";

/** The bit in an MPTCP DSS option's flags that ends the data stream (RFC 8684, section 3.3). */
const DATA_FIN = 0x10;
const DATA_ACK_PRESENT = 0x01;

function carries({ tcp }: Packet, wanted: number): boolean {
  for (const option of tcp.options) {
    if (option.subtype === wanted) return true;
  }
  return false;
}

function carriesAny({ tcp }: Packet): boolean {
  for (const option of tcp.options) {
    if (option.kind === kind.mptcp) return true;
  }
  return false;
}

function dssHas({ tcp }: Packet, flag: number): boolean {
  for (const option of tcp.options) {
    if (option.subtype === subtype.dss && (option.u8(3) & flag) !== 0) return true;
  }
  return false;
}

/** Packets of one kind, by TCP flags and MPTCP options. */
export const packetType = selector({
  name: "packet_type",
  params: {
    type: choice(
      "mptcp_syn",
      "join_syn",
      "data",
      "pure_ack",
      "data_ack",
      "fin",
      "data_fin",
      "rst",
      "mptcp",
      "mp_capable",
      "mp_join",
      "dss",
      "add_addr",
      "remove_addr",
      "mp_prio",
      "mp_fail",
      "mp_fastclose",
      "mp_tcprst",
    ),
  },
  run(packet, { type }) {
    const { tcp } = packet;
    switch (type) {
      case "mptcp_syn":
        return tcp.syn && carries(packet, subtype.capable);
      case "join_syn":
        return tcp.syn && carries(packet, subtype.join);
      case "data":
        return tcp.payloadLength > 0;
      case "pure_ack":
        return tcp.ack && !tcp.syn && !tcp.fin && !tcp.rst && tcp.payloadLength === 0;
      case "data_ack":
        return dssHas(packet, DATA_ACK_PRESENT);
      case "fin":
        return tcp.fin;
      case "data_fin":
        return dssHas(packet, DATA_FIN);
      case "rst":
        return tcp.rst;
      case "mptcp":
        return carriesAny(packet);
      case "mp_capable":
        return carries(packet, subtype.capable);
      case "mp_join":
        return carries(packet, subtype.join);
      case "dss":
        return carries(packet, subtype.dss);
      case "add_addr":
        return carries(packet, subtype.addAddress);
      case "remove_addr":
        return carries(packet, subtype.removeAddress);
      case "mp_prio":
        return carries(packet, subtype.priority);
      case "mp_fail":
        return carries(packet, subtype.fail);
      case "mp_fastclose":
        return carries(packet, subtype.fastClose);
      case "mp_tcprst":
        return carries(packet, subtype.reset);
      default:
        return false;
    }
  },
});
