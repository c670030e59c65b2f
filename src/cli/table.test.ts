import { describe, expect, test } from "vitest";
import { formatAge, formatBytes, formatCount, formatMbit, formatTable } from "./table.ts";

const colour = (text: string) => `${String.fromCharCode(27)}[31m${text}${String.fromCharCode(27)}[39m`;

describe("formatTable()", () => {
  const columns = [
    { title: "NAME", of: ([name]: readonly string[]) => name },
    { title: "N", of: ([, count]: readonly string[]) => count, align: "right" as const },
  ];

  test("aligns words to the left and numbers to the right", () => {
    const rows = [
      ["wifi", "7"],
      ["satellite", "1234"],
    ];
    expect(formatTable(columns, rows)).toBe(["NAME          N\n", "wifi          7\n", "satellite  1234\n"].join(""));
  });

  test("does not count colours as width", () => {
    const plain = formatTable(columns, [["ab", "1"]]);
    expect(formatTable(columns, [[colour("ab"), "1"]])).toBe(plain.replace("ab", colour("ab")));
  });

  test("ends no line in spaces", () => {
    const lines = formatTable(
      [columns[0], columns[0]],
      [
        ["long", "1"],
        ["", ""],
      ],
    ).split("\n");
    expect(lines.map((line) => line.trimEnd())).toEqual(lines);
  });
});

test("formatCount() groups digits by three", () => {
  expect([0, 999, 1000, 1_234_567].map(formatCount)).toEqual(["0", "999", "1 000", "1 234 567"]);
});

test("formatBytes() keeps three digits at most and changes the unit before a fourth", () => {
  expect([0, 999, 1000, 25_400, 99_960, 999_600, 145_000_000].map(formatBytes)).toEqual([
    "0 B",
    "999 B",
    "1 kB",
    "25.4 kB",
    "100 kB",
    "1 MB",
    "145 MB",
  ]);
});

test("formatMbit() has one decimal", () => {
  expect(formatMbit(37.649)).toBe("37.6 Mbit/s");
});

test("formatAge() counts minutes, hours, days", () => {
  const now = Date.parse("2026-01-10T12:00:00Z");
  const ages = ["2026-01-10T11:59:30Z", "2026-01-10T11:55:00Z", "2026-01-10T09:00:00Z", "2026-01-07T12:00:00Z"];
  expect(ages.map((iso) => formatAge(iso, now))).toEqual(["just now", "5 min ago", "3 h ago", "3 d ago"]);
});
