import { expect, test } from "vitest";
import { matchesFlow, parseFlow } from "./flow-filter.ts";

test.each([
  ["10.0.0.1", [{ address: "10.0.0.1" }]],
  ["10.0.0.1:80", [{ address: "10.0.0.1", port: 80 }]],
  [":80", [{ port: 80 }]],
  ["2001:DB8::1", [{ address: "2001:db8::1" }]],
  ["[2001:db8::1]:80, 10.0.0.1", [{ address: "2001:db8::1", port: 80 }, { address: "10.0.0.1" }]],
])("parseFlow() reads %s", (text, flow) => {
  expect(parseFlow(text)).toEqual(flow);
});

test.each([[""], ["a"], ["10.0.0.256"], ["10.0.0.1:70000"], ["[10.0.0.1"], ["1.1.1.1,2.2.2.2,3.3.3.3"], [","]])(
  "parseFlow() rejects %j",
  (text) => {
    expect(parseFlow(text)).toBeUndefined();
  },
);

test("matchesFlow() finds a flow by its ends, whichever of them sends", () => {
  const packet = { source: "10.0.0.1", sourcePort: 80, destination: "10.0.0.2", destinationPort: 5001 };
  const matches = (text: string) => matchesFlow(packet, parseFlow(text)!);
  expect(["10.0.0.2", ":80", "10.0.0.2:5001,10.0.0.1", ":80,:5001"].filter(matches)).toHaveLength(4);
  expect(["10.0.0.3", ":81", "10.0.0.2:80", "10.0.0.1,10.0.0.1"].filter(matches)).toEqual([]);
});
