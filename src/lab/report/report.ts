/** What an experiment found: tables and plots, with what was run and how to run it again. Data; `html.ts` makes a page of it. */
import type { Plot } from "./plot.ts";

export interface TableColumn {
  readonly title: string;
  /** Numbers stand to the right. */
  readonly number?: true;
}

export interface Table {
  readonly columns: readonly TableColumn[];
  readonly rows: readonly (readonly string[])[];
}

export interface Section {
  /** File name of the plot, e.g. `8a`. */
  readonly id: string;
  readonly title: string;
  /** Paragraphs: what is shown, and why it came out like this. */
  readonly text: readonly string[];
  readonly table: Table;
  readonly plot?: Plot;
}

export interface Report {
  readonly title: string;
  /** What was asked, in a sentence or two. */
  readonly question: string;
  /** What was run: topology, workload, rounds; one line each. */
  readonly setup: readonly string[];
  readonly sections: readonly Section[];
  /** The command that does it again. */
  readonly repeat: string;
  /** Kernel, processors, share of time that others took. */
  readonly machine: readonly string[];
  readonly startedAt: string;
  readonly elapsedSeconds: number;
  /** Properties that must hold whatever the machine's speed, e.g. that packets left by the other uplink. */
  readonly checks: readonly { readonly what: string; readonly ok: boolean; readonly seen: string }[];
  /** The numbers behind tables and plots. */
  readonly data: unknown;
}
