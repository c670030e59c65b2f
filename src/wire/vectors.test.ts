/** Packets captured from the kernel (see vectors/README.md): what the RFC says must hold for them, and does. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { dssChecksum } from "./checksum.ts";
import { addAddrHmac, initialDataSequence, joinAckHmac, joinSynAckHmac, mptcpToken } from "./crypto.ts";
import { toHex } from "./bytes.ts";
import type { MpCapable, MptcpOption } from "./mptcp/options.ts";
import { emitPacket, type ParsedPacket, parsePacket } from "./packet.ts";
import { readPcapng, writePcapng } from "./pcapng.ts";
import { add32, add64, expandSequence } from "./sequence.ts";
import { TcpFlag } from "./tcp.ts";
import { isMptcpOption } from "./tcp-options.ts";

const names = ["ipv4", "ipv6", "checksum-fastclose", "refused-join"] as const;
const fileOf = (name: string): Uint8Array => readFileSync(new URL(`vectors/${name}.pcapng`, import.meta.url));

interface Step {
  readonly packet: ParsedPacket;
  readonly options: readonly MptcpOption[];
  /** Source and destination, addresses and ports; and the same turned round. */
  readonly flow: string;
  readonly reverse: string;
}

function stepsOf(name: string): Step[] {
  return readPcapng(fileOf(name)).packets.map(({ bytes }) => {
    const packet = parsePacket(bytes, { mptcpVersion: 1 });
    const { ip, tcp } = packet;
    if (ip === undefined || tcp === undefined) throw new Error(`${name} holds a packet that is not TCP`);
    const source = `${toHex(ip.source)}:${tcp.sourcePort}`;
    const destination = `${toHex(ip.destination)}:${tcp.destinationPort}`;
    return {
      packet,
      options: tcp.options.filter(isMptcpOption),
      flow: `${source} ${destination}`,
      reverse: `${destination} ${source}`,
    };
  });
}

type OptionOf<K extends MptcpOption["kind"]> = Extract<MptcpOption, { kind: K }>;

function optionsOf<K extends MptcpOption["kind"]>(steps: readonly Step[], kind: K): (Step & { option: OptionOf<K> })[] {
  return steps.flatMap((step) =>
    step.options.filter((option): option is OptionOf<K> => option.kind === kind).map((option) => ({ ...step, option })),
  );
}

/** The third ACK carries the client's key and the server's. */
function keysOf(steps: readonly Step[]): { readonly client: bigint; readonly server: bigint; readonly flow: string } {
  const ack = optionsOf(steps, "mpCapable").find(({ option }) => option.receiverKey !== undefined);
  const { senderKey, receiverKey } = ack?.option ?? ({} as Partial<MpCapable>);
  if (ack === undefined || senderKey === undefined || receiverKey === undefined)
    throw new Error("the capture holds no third ACK");
  return { client: senderKey, server: receiverKey, flow: ack.flow };
}

/** How far a data sequence number is from the initial one of the host with this key. */
const distance = (value: bigint, key: bigint): bigint => add64(value, -initialDataSequence(key, 1));

describe.each(names)("captured %s", (name) => {
  const steps = stepsOf(name);
  const keys = keysOf(steps);

  test("emitPacket() gives back every packet, byte by byte", () => {
    for (const { bytes } of readPcapng(fileOf(name)).packets) expect(emitPacket(parsePacket(bytes))).toEqual(bytes);
  });

  test("every IPv4 and TCP checksum is right, and no option is malformed or unknown", () => {
    expect(steps.length).toBeGreaterThan(10);
    for (const { packet } of steps) {
      expect(packet.ip).not.toHaveProperty("checksum");
      expect(packet.tcp).not.toHaveProperty("checksum");
      const kinds = packet.tcp?.options.map(({ kind }) => kind);
      expect(kinds).not.toContain("malformed");
      expect(kinds).not.toContain("unknown");
      expect(kinds).not.toContain("mptcpUnknown");
    }
  });

  test("writePcapng() keeps the capture as readPcapng() read it", () => {
    const capture = readPcapng(fileOf(name));
    expect(capture.interfaces.map((one) => one.name)).toEqual(["wifi", "lte"]);
    expect(readPcapng(writePcapng(capture))).toEqual(capture);
  });

  test("mptcpToken() gives the token that joins name", () => {
    const joins = optionsOf(steps, "mpJoinSyn");
    expect(joins.length).toBeGreaterThan(0);
    for (const { option } of joins) expect(option.token).toBe(mptcpToken(keys.server, 1));
  });

  test("joinSynAckHmac() and joinAckHmac() give the HMACs of every join", () => {
    for (const syn of optionsOf(steps, "mpJoinSyn")) {
      const synAck = optionsOf(steps, "mpJoinSynAck").find(({ flow }) => flow === syn.reverse);
      const ack = optionsOf(steps, "mpJoinAck").find(({ flow }) => flow === syn.flow);
      const client = { key: keys.client, nonce: syn.option.nonce };
      const server = { key: keys.server, nonce: synAck?.option.nonce ?? 0 };
      expect(synAck?.option.hmac).toBe(joinSynAckHmac(server, client, 1));
      expect(ack?.option.hmac).toEqual(joinAckHmac(client, server, 1));
    }
  });

  test("initialDataSequence() is where the data sequence numbers of both sides start", () => {
    for (const { option, packet } of optionsOf(steps, "dss")) {
      const [own, other] = packet.ip?.source.at(-1) === 1 ? [keys.client, keys.server] : [keys.server, keys.client];
      // The first byte has the number after the initial one, and these connections carry little.
      if (option.dataSequence64 !== undefined) expect(distance(option.dataSequence64, own)).toBeLessThan(500n);
      if (option.dataAck64 !== undefined) expect(distance(option.dataAck64, other)).toBeLessThan(500n);
      if (option.dataAck32 !== undefined) {
        const expanded = expandSequence(option.dataAck32, initialDataSequence(other, 1));
        expect(distance(expanded, other)).toBeLessThan(500n);
      }
    }
  });

  test("addAddrHmac() gives the HMAC of every announced address, and every announcement is echoed", () => {
    const announced = optionsOf(steps, "addAddr");
    for (const { option, reverse } of announced.filter(({ option }) => !option.echo)) {
      expect(option.hmac).toBe(addAddrHmac({ sender: keys.server, receiver: keys.client }, option));
      const { hmac: _, ...rest } = option;
      expect(announced.find(({ option, flow }) => option.echo && flow === reverse)?.option).toEqual({
        ...rest,
        echo: true,
      });
    }
  });
});

describe("together, the captures", () => {
  test("hold every kind of option that a kernel of today sends unasked", () => {
    const kinds = new Set(
      names.flatMap((name) => stepsOf(name).flatMap(({ options }) => options.map(({ kind }) => kind))),
    );
    expect([...kinds].sort()).toEqual([
      "addAddr",
      "dss",
      "mpCapable",
      "mpFastclose",
      "mpJoinAck",
      "mpJoinSyn",
      "mpJoinSynAck",
      "mpPrio",
      "mpTcpRst",
      "removeAddr",
    ]);
  });

  test("end with a DATA_FIN of both sides, mapped as one byte", () => {
    const fins = optionsOf(stepsOf("ipv4"), "dss").filter(({ option }) => option.dataFin);
    expect(new Set(fins.map(({ flow }) => flow)).size).toBe(2);
    for (const { option } of fins) expect(option).toMatchObject({ subflowSequence: 0, dataLength: 1 });
  });

  test("dssChecksum() gives the checksum of every mapping, that in MP_CAPABLE too", () => {
    const steps = stepsOf("checksum-fastclose");
    const keys = keysOf(steps);
    const mapped = optionsOf(steps, "dss").filter(({ option }) => option.checksum !== undefined);
    expect(mapped.length).toBeGreaterThan(1);
    for (const { option, packet } of mapped) {
      const { dataSequence64 = 0n, subflowSequence = 0, dataLength = 0 } = option;
      expect(option.checksum).toBe(dssChecksum(dataSequence64, subflowSequence, dataLength, packet.payload));
    }
    const first = optionsOf(steps, "mpCapable").find(({ option }) => option.dataLength !== undefined);
    const start = add64(initialDataSequence(keys.client, 1), 1n);
    expect(first?.option.checksum).toBe(
      dssChecksum(start, 1, first?.option.dataLength ?? 0, first?.packet.payload ?? new Uint8Array(0)),
    );
  });

  test("acknowledge the data of a packet by its TCP sequence number plus its length", () => {
    const steps = stepsOf("ipv4");
    const { packet, reverse } = steps.find((step) => step.packet.payload.length > 0) as Step;
    const next = add32(packet.tcp?.sequence ?? 0, packet.payload.length);
    const answer = steps.find((step) => step.flow === reverse && step.packet.tcp?.acknowledgment === next);
    expect(answer?.packet.tcp?.flags).toBe(TcpFlag.ack);
  });

  test("abort with the peer's key in MP_FASTCLOSE and a reason in MP_TCPRST", () => {
    const steps = stepsOf("checksum-fastclose");
    const aborts = optionsOf(steps, "mpFastclose");
    expect(aborts.length).toBeGreaterThan(0);
    for (const { option, packet } of aborts) {
      expect(option.receiverKey).toBe(keysOf(steps).server);
      expect((packet.tcp?.flags ?? 0) & TcpFlag.rst).toBe(TcpFlag.rst);
    }
    expect(optionsOf(stepsOf("refused-join"), "mpTcpRst").length).toBeGreaterThan(0);
  });
});
