/**
 * The schedules that found a fault of the program once. They are run again by every test run.
 *
 * @module
 */

import type { PlanOptions } from "./plan.ts";

/** A schedule that once failed. */
export interface KeptSeed {
  /** The seed. */
  readonly seed: number;
  /** What the caller of the exploration chose instead of the seed. */
  readonly options?: PlanOptions;
  /** The places of the incidents that are needed, in the plan of the seed; all where undefined. */
  readonly incidents?: readonly number[];
  /** What was wrong. */
  readonly about: string;
}

/** See the module. */
export const KEPT_SEEDS: readonly KeptSeed[] = [
  {
    seed: 43,
    incidents: [21, 25, 27, 36, 42, 49, 52, 53, 57, 61, 63, 80, 104, 111],
    about: "a yes while the host has registered another Node, which a watch that lags did not show",
  },
  {
    seed: 101,
    about: "evictions from a node that the watch had shown uncordoned before an older answer arrived",
  },
  {
    seed: 30001,
    options: { nodesChangeOften: true },
    about: "a yes while the host has registered another Node, where none of the two is ready",
  },
  {
    seed: 41187,
    incidents: [0, 1, 2, 3, 4, 6, 7, 8, 9, 17, 28, 33, 35, 38, 47, 48, 49, 54, 56, 57, 61, 62, 65, 79, 81],
    about: "an eviction that waited for its turn, and left after the watch had shown the node uncordoned",
  },
  {
    seed: 32391,
    about:
      "an eviction from a node that a search for another client's Nodes had shown uncordoned, while the watch was silent",
  },
  {
    seed: 32504,
    incidents: [0, 1, 2, 4],
    about:
      "a yes with pods left that came to a later Node of the host after others had been evicted from an earlier one",
  },
  {
    seed: 32616,
    incidents: [0, 10, 34, 35, 36, 55, 70, 71],
    about:
      "a release while the host's kubelet is not back, where the noted Node had shown the host's machine-id for a while",
  },
];
