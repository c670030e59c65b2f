import { expect, test } from "vitest";
import { currentVersion, decodeDescription, encodeDescription, type StackDescription } from "./description.ts";

const description: StackDescription = {
  version: currentVersion,
  name: "gentle",
  policy: "gentle",
  file: "/etc/gentle.ts",
  base: "cubic",
  operations: ["congAvoid"],
  layout: { parameters: [], counters: [], state: [], events: [], sets: [], memberParameters: [] },
  generation: 3,
  owner: { pid: 7, started: "123" },
  stays: true,
  moves: true,
  registered: "2026-01-01T00:00:00.000Z",
};

test("decodeDescription() reads what encodeDescription() wrote, also with zeros behind", () => {
  const bytes = encodeDescription(description);
  const padded = new Uint8Array(bytes.length + 8);
  padded.set(bytes);
  expect(decodeDescription(bytes, "gentle")).toEqual(description);
  expect(decodeDescription(padded, "gentle")).toEqual(description);
});

test("decodeDescription() says of a later version only that it cannot be changed", () => {
  const later = encodeDescription({ ...description, version: currentVersion + 1 });
  const { fixed, name, operations } = decodeDescription(later, "gentle");
  expect({ name, operations }).toEqual({ name: "gentle", operations: [] });
  expect(fixed).toMatch(/another version of emptcp/);
});

test.each([["{}"], ["null"], ["not JSON"]])("decodeDescription() rejects %s", (text) => {
  expect(() => decodeDescription(new TextEncoder().encode(text), "x")).toThrow(SyntaxError);
});
