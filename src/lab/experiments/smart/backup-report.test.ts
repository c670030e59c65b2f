import { expect, test } from "vitest";
import type { SeenSegment } from "../../measure/segments.ts";
import { carriedBytes, summarize } from "./backup-report.ts";
import { first, second } from "./place.ts";

const segment = (link: string, timeMs: number, offset?: number): SeenSegment => ({
  link,
  direction: "egress",
  timeMs,
  bytes: 1500,
  ...(offset !== undefined && { data: { offset, length: 1000 } }),
});

test("summarize() tells what arrived, the longest silence, when the backup came in, and what it cost before", () => {
  const segments = [
    segment(second, 100),
    segment(first, 900, 0),
    segment(first, 1200, 1000),
    segment(second, 3000),
    segment(second, 3100, 1000),
    segment(first, 3500, 2000),
    segment(first, 4200, 1000),
    segment(second, 4300, 3000),
  ];
  const arrivals = [
    [950, 1000],
    [3150, 2000],
    [4350, 3000],
    [9000, 4000],
  ].map(([atMs, bytes]) => ({ atMs, bytes }));
  const run = { lossAtMs: 1000, segments, arrivals, sentBytes: 4000, ok: true };
  expect(summarize({ afterMs: 4000 }, run)).toEqual({
    deliveredBytes: 2000,
    stallMs: 2150,
    toBackupMs: 2100,
    early: { segments: 2, bytes: 3000 },
    // What was queued leaves soon after the move, what is sent again may come later.
    freshSegments: 0,
    ok: true,
  });
  const late = { ...run, segments: [...segments, segment(first, 4400, 4000)] };
  expect(summarize({ afterMs: 4000 }, late).freshSegments).toBe(1);
});

test("carriedBytes() ends at the first hole", () => {
  expect(carriedBytes([segment(second, 2, 1000), segment(first, 1, 0), segment(first, 3, 500)])).toBe(2000);
  expect(carriedBytes([segment(first, 1, 0), segment(first, 2, 1001)])).toBe(1000);
});
