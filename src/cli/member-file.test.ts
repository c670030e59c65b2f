import { describe, expect, test } from "vitest";
import { UsageError } from "./errors.ts";
import { parseObjects, parseTable, readMembers } from "./member-file.ts";

describe("parseTable()", () => {
  test("reads a line per member, with comments, empty lines, quotes and either kind of line end", () => {
    const text = '\ufeffprefix, rate\r\n# ours\r\n10.0.0.1 , 5mbit\n\n"10.0.0.2", "a ""b"", c"\n';
    expect(parseTable(text, "x.csv")).toEqual([
      { prefix: "10.0.0.1", rate: "5mbit" },
      { prefix: "10.0.0.2", rate: 'a "b", c' },
    ]);
  });

  test.each<[string, string, RegExp]>([
    ["no line of fields", "# nothing\n", /first line has to name the fields/],
    ["a field named twice", "a,b,a\n", /names a twice/],
    ["a line too short", "a,b\n1,2\n3\n", /line 3 has 1 values, the first line names 2/],
    ["a quote inside", 'a,b\n1"2,"x\n', /line 2 has a quote/],
    ["a quote that does not end", 'a,b\n1,"x\n', /line 2 has a quote/],
  ])("rejects %s", (_, text, message) => {
    expect(() => parseTable(text, "x.csv")).toThrow(UsageError);
    expect(() => parseTable(text, "x.csv")).toThrow(message);
  });
});

describe("parseObjects()", () => {
  test("reads an array of objects", () => {
    expect(parseObjects('[{ "port": 80, "on": true }]', "x.json")).toEqual([{ port: 80, on: true }]);
  });

  test.each<[string, string, RegExp]>([
    ["what is no JSON", "[", /x\.json: /],
    ["what is no array", "{}", /array of objects/],
    ["an element that is no object", '[{}, "a"]', /element 2 is no object/],
    ["a value that is no parameter", '[{ "a": [1] }]', /a of element 1 is neither/],
  ])("rejects %s", (_, text, message) => {
    expect(() => parseObjects(text, "x.json")).toThrow(message);
  });
});

test("readMembers() says what is wrong with the file", () => {
  expect(() => readMembers("/nowhere/members.csv")).toThrow(/members\.csv: ENOENT/);
  expect(() => readMembers(new URL(import.meta.url).pathname)).toThrow(/end in \.csv or \.json/);
});
