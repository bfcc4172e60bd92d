/**
 * The seeds that ever failed: where the program was at fault, and where the observer or the model was. They are run
 * again by every test run. A change of the world or of the program can make another run of an old seed, so that it says
 * less than it once did. Which seeds find a fault today is noted with its mutant (`mutants/mutants.ts`).
 *
 * @module
 */

import type { PlanOptions } from "./plan.ts";

/** A seed that once failed. */
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
    seed: 20,
    about: "an observer's false alarm: a deletion from a Node that its host had left for another one",
  },
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
    seed: 521,
    about:
      "a yes for a host whose Node joined while the answer to the search was on its way, as a watch had shown by then",
  },
  {
    seed: 629,
    about: "a yes for a slot that was freed while its replica was paused after the write that showed it",
  },
  {
    seed: 1040,
    about: "an observer's false alarm: a Node that is not the noted one and shows another id",
  },
  {
    seed: 10069,
    about: "an observer's false alarm: a slot that its grantor gives back at once",
  },
  {
    seed: 10087,
    about: "an observer's false alarm: a restore that brings back an earlier hold of a client that has one",
  },
  {
    seed: 10088,
    about: "a yes for a Node that was read too long before",
  },
  {
    seed: 20372,
    about: "a yes while the host has registered another Node, of which none is ready",
  },
  {
    seed: 30001,
    options: { nodesChangeOften: true },
    about: "a yes while the host has registered another Node, where none of the two is ready",
  },
  {
    seed: 30428,
    about: "an observer's false alarm: a yield where Nodes that are gone free slots",
  },
  {
    seed: 30824,
    about: "an observer's false alarm: a request that waits in the queue of a process when its client gives up",
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
    seed: 32543,
    about: "an observer's false alarm: a deletion by a replica that may not have heard yet of the hold's end",
  },
  {
    seed: 32616,
    incidents: [0, 10, 34, 35, 36, 55, 70, 71],
    about:
      "a release while the host's kubelet is not back, where the noted Node had shown the host's machine-id for a while",
  },
  {
    seed: 40404,
    about: "an observer's false alarm: a request that waits in the queue of a process when its client gives up",
  },
  {
    seed: 40896,
    about: "an observer's false alarm: a Node that is neither the noted one nor shows the host's id",
  },
  {
    seed: 40966,
    about: "an observer's false alarm: evictions from a Node that was registered again, counted with those before",
  },
  {
    seed: 41187,
    incidents: [0, 1, 2, 3, 4, 6, 7, 8, 9, 17, 28, 33, 35, 38, 47, 48, 49, 54, 56, 57, 61, 62, 65, 79, 81],
    about: "an eviction that waited for its turn, and left after the watch had shown the node uncordoned",
  },
  {
    seed: 43048,
    about: "an observer's false alarm: a grant that is noted with the time at which its write began",
  },
  {
    seed: 70061,
    options: { nodesChangeOften: true },
    about: "an observer's false alarm: a hold that a restore brought back, and that was freed as its Node was gone",
  },
  {
    seed: 70078,
    options: { nodesChangeOften: true },
    about: "an observer's false alarm: a hold that a restore brought back, and that yielded",
  },
  {
    seed: 81019,
    options: { nodesChangeOften: true },
    about: "a yes for a host whose Node joined between the search and the grant",
  },
  {
    seed: 100280,
    about: "an observer's false alarm: the edited annotation of a Node that is not cordoned",
  },
  {
    seed: 100593,
    about: "a fault of the model: after a restore, nobody detached the volumes of pods that the backup does not know",
  },
  {
    seed: 200043,
    about:
      "an administrator's cordon lifted, since a restore of etcd brought the version back that a late watch had seen",
  },
  {
    seed: 300256,
    about: "an observer's false alarm: a release while another Node that shows the host's machine-id is ready",
  },
  {
    seed: 300558,
    about: "a yes for a host without a Node on a proof that came before its grant",
  },
  {
    seed: 400021,
    about: "a further drain for a hold that had ended while its request waited",
  },
  {
    seed: 40091,
    about: "a false alarm: the check that replicas are idle began before the end of the faults",
  },
  {
    seed: 30457,
    about: "a false alarm: a deletion of an earlier pod was taken for one of the pod that has its name",
  },
  {
    seed: 40303,
    about: "a false alarm: a holder that an administrator added was judged by the slots of earlier grants",
  },
  {
    seed: 41910,
    incidents: [3, 68, 69, 70],
    about: "a false alarm: a release while the hold's note is broken by hand and no Node shows the host's id",
  },
  {
    seed: 32111,
    incidents: [9, 14, 15],
    about: "a fault of the model: a Lease that a backup had brought back counted as deleted",
  },
  {
    seed: 42702,
    incidents: [1, 9, 10, 11, 14, 16, 59, 65, 66, 67, 68],
    about:
      "a pod deleted too early: where somebody takes the records out of a Lease of several holders, each counted as old as the oldest",
  },
  {
    seed: 1047,
    incidents: [0, 1, 3, 4, 6, 7, 8],
    about: "a false alarm: the grant of a hold that a backup had brought back, by a replica whose clock is ahead",
  },
  {
    seed: 43184,
    incidents: [0, 5, 19, 21, 25, 32, 57, 87, 96, 97, 132, 133],
    about: "a false alarm: a late answer showed a Node as it was before a restore of etcd",
  },
  {
    seed: 33325,
    incidents: [7, 12, 13, 14, 15, 16, 20, 37, 38, 42],
    about: "a proof that a Node is gone which went on for two minutes after its hold was over",
  },
  {
    seed: 33325,
    incidents: [0, 7, 21, 29, 32, 42],
    about: "a false alarm: a hold that a backup had brought back was there at the first check that replicas are idle",
  },
  {
    seed: 2154,
    about: "a slot freed at the first report after a boot, before the kubelet had registered the host's Node again",
  },
  {
    seed: 30096,
    incidents: [15],
    about: "a false alarm: the grace period of a Node that is gone ended on a replica that had not heard of the report",
  },
  {
    seed: 183,
    incidents: [9, 19, 24, 25],
    about: "a false alarm: a watch that was denied right before the end of the faults begins again after 70 s",
  },
  {
    seed: 32851,
    incidents: [11, 246],
    about:
      "a false alarm: a watch that went on had shown a Node, but was not read until its versions had been compared",
  },
  {
    seed: 1330,
    incidents: [25, 26, 88],
    about:
      "pods passed over at a time-out right after their first eviction, since the right to set the cordon was missing before",
  },
  {
    seed: 1029,
    incidents: [6, 17, 185],
    about: "a pod deleted at a time-out by a replica that was paused while its hold ended",
  },
  {
    seed: 1845,
    about: "a false alarm: a drain that went on although a backup brought back an earlier Node of its hold",
  },
  {
    seed: 3604,
    incidents: [10, 79, 96],
    about: "a false alarm: a yes for a Node without the host's id, where somebody had removed what the hold noted",
  },
  {
    seed: 70361,
    incidents: [1, 3, 16, 19, 20, 27, 34, 36, 127, 129, 130],
    about: "pods evicted that were put back after three evictions, since the answer to a fourth had been lost",
  },
  {
    seed: 70593,
    incidents: [0, 1, 2, 5, 6, 10, 11, 15, 20, 24, 25, 26, 31],
    about: "a false alarm: a Node that its host left after the faults stayed for ever, and a budget counted its pods",
  },
  {
    seed: 70234,
    incidents: [9, 35, 160, 171],
    about:
      "a false alarm: a refusal by a replica that had been stopped for a quarter of an hour, as it saw the slot before",
  },
  {
    seed: 80439,
    incidents: [21],
    about:
      "a false alarm: evictions that were counted anew, since a broken record had made another hold of the same slot",
  },
  {
    seed: 268,
    about:
      "two hosts with a yes: the slot of one without a Node was freed between its write and the answer to the search, which were begun together",
  },
  {
    seed: 412,
    about:
      "a false alarm: a watch that went on had shown an uncordon, but was not read until its versions were compared",
  },
  {
    seed: 30069,
    about: "a false alarm: a deletion six seconds early, by a replica whose calls took nine seconds",
  },
  {
    seed: 30623,
    about: "a false alarm: a cordon that a watch had shown right after its beginning did not count",
  },
  {
    seed: 30734,
    about: "a fault of the program: 500 for a host whose drain was stopped while the call of an eviction was under way",
  },
  {
    seed: 31454,
    about:
      "a yes without a drain for a host that joined between the search for its Node and its grant, which came after it",
  },
  {
    seed: 40252,
    about: "a false alarm: an uncordon of a Node that only a search had shown, since the watch had gone silent before",
  },
  {
    seed: 31271,
    about:
      "a false alarm: an uncordon that a watch had shown, which went on but was not read, since the list came late",
  },
];
