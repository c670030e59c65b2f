/**
 * Every form an MPTCP option can take, as a table: the subtype, what is on the wire after kind and length, and what
 * a reader learns from the form itself. The length and the fixed bits tell the forms of a subtype apart, so that one
 * search serves parsing and one serves emitting.
 */
import { type FieldSpec, type Layout, layout } from "../layout.ts";
import { type MptcpKnownOption, MptcpSubtype, type MptcpVersion } from "./options.ts";

export interface MptcpForm {
  readonly kind: MptcpKnownOption["kind"];
  readonly subtype: number;
  /** Set where only this version has the form. */
  readonly version?: MptcpVersion;
  /** Fields of the option that are not in its bytes but follow from the form. */
  readonly implied: Readonly<Record<string, number | boolean>>;
  // The table holds layouts of many shapes; the names in it are checked by the tests that round-trip every form.
  readonly layout: Layout<Record<string, FieldSpec>>;
}

interface Draft {
  readonly version?: MptcpVersion;
  readonly implied?: Readonly<Record<string, number | boolean>>;
  readonly fields: Readonly<Record<string, FieldSpec>>;
}

const fixed = (bits: number, value: number): FieldSpec => ({ fixed: bits, value });
const reserved = (bits: number): FieldSpec => ({ reserved: bits });

function forms(kind: MptcpForm["kind"], subtype: number, drafts: readonly Draft[]): MptcpForm[] {
  return drafts.map(({ fields, implied = {}, version }) => ({
    kind,
    subtype,
    implied,
    ...(version === undefined ? {} : { version }),
    layout: layout("MPTCP option", { subtype: fixed(4, subtype), ...fields }),
  }));
}

/** Each longer packet of the handshake carries what the shorter ones do, and more. */
function mpCapable(version: MptcpVersion, ...tails: readonly Readonly<Record<string, FieldSpec>>[]): Draft[] {
  const head: Readonly<Record<string, FieldSpec>> = {
    version: fixed(4, version),
    checksumRequired: "flag",
    extensibility: "flag",
    denyJoinId0: "flag",
    spare: reserved(4),
    hmac: "flag",
  };
  return tails.map((tail) => ({ version, implied: { version }, fields: { ...head, ...tail } }));
}

/** Presence bits that say nothing without their partner are reserved: RFC 8684 §3.3. */
function* dss(): Generator<Draft> {
  const acks = [
    { present: 0, fields: {}, long: reserved(1) },
    { present: 1, fields: { dataAck32: 32 }, long: fixed(1, 0) },
    { present: 1, fields: { dataAck64: "u64" }, long: fixed(1, 1) },
  ] as const;
  const map = { subflowSequence: 32, dataLength: 16 } as const;
  const maps = [
    { present: 0, fields: {}, long: reserved(1) },
    ...([{}, { checksum: 16 }] as const).flatMap(
      (checksum) =>
        [
          { present: 1, fields: { dataSequence32: 32, ...map, ...checksum }, long: fixed(1, 0) },
          { present: 1, fields: { dataSequence64: "u64", ...map, ...checksum }, long: fixed(1, 1) },
        ] as const,
    ),
  ];
  for (const ack of acks) {
    for (const mapping of maps) {
      yield {
        fields: {
          spare: reserved(7),
          dataFin: "flag",
          longSequence: mapping.long,
          hasMapping: fixed(1, mapping.present),
          longAck: ack.long,
          hasAck: fixed(1, ack.present),
          ...ack.fields,
          ...mapping.fields,
        },
      };
    }
  }
}

function* addAddr(): Generator<Draft> {
  const ports: readonly Draft["fields"][] = [{}, { port: 16 }];
  for (const bytes of [4, 16]) {
    for (const port of ports) {
      const tail: Draft["fields"] = { addressId: 8, address: { bytes }, ...port };
      yield {
        version: 0,
        implied: { version: 0, echo: false },
        fields: { ipVersion: fixed(4, bytes === 4 ? 4 : 6), ...tail },
      };
      yield {
        version: 1,
        implied: { version: 1, echo: false },
        fields: { spare: reserved(3), echoFlag: fixed(1, 0), ...tail, hmac: "u64" },
      };
      yield {
        version: 1,
        implied: { version: 1, echo: true },
        fields: { spare: reserved(3), echoFlag: fixed(1, 1), ...tail },
      };
    }
  }
}

const keys = { senderKey: "u64", receiverKey: "u64" } as const;
/** 40 bytes of options, less kind, length and subtype. */
const maxAddressIds = 37;
const prio = { spare: reserved(3), backup: "flag" } as const;
const join = { ...prio, addressId: 8 } as const;

export const mptcpForms: readonly MptcpForm[] = [
  ...forms("mpCapable", MptcpSubtype.MP_CAPABLE, [
    ...mpCapable(0, { senderKey: "u64" }, keys),
    ...mpCapable(1, {}, { senderKey: "u64" }, keys, { ...keys, dataLength: 16 }),
    ...mpCapable(1, { ...keys, dataLength: 16, checksum: 16 }),
  ]),
  ...forms("mpJoinSyn", MptcpSubtype.MP_JOIN, [{ fields: { ...join, token: 32, nonce: 32 } }]),
  ...forms("mpJoinSynAck", MptcpSubtype.MP_JOIN, [{ fields: { ...join, hmac: "u64", nonce: 32 } }]),
  ...forms("mpJoinAck", MptcpSubtype.MP_JOIN, [{ fields: { spare: reserved(12), hmac: { bytes: 20 } } }]),
  ...forms("dss", MptcpSubtype.DSS, [...dss()]),
  ...forms("addAddr", MptcpSubtype.ADD_ADDR, [...addAddr()]),
  ...forms(
    "removeAddr",
    MptcpSubtype.REMOVE_ADDR,
    Array.from({ length: maxAddressIds }, (_, index) => ({
      fields: { spare: reserved(4), addressIds: { bytes: index + 1 } },
    })),
  ),
  ...forms("mpPrio", MptcpSubtype.MP_PRIO, [{ fields: prio }, { version: 0, fields: { ...prio, addressId: 8 } }]),
  ...forms("mpFail", MptcpSubtype.MP_FAIL, [{ fields: { spare: reserved(12), dataSequence: "u64" } }]),
  ...forms("mpFastclose", MptcpSubtype.MP_FASTCLOSE, [{ fields: { spare: reserved(12), receiverKey: "u64" } }]),
  ...forms("mpTcpRst", MptcpSubtype.MP_TCPRST, [
    { version: 1, fields: { spare: reserved(3), transient: "flag", reason: 8 } },
  ]),
];
