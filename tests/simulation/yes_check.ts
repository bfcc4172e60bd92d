/**
 * Judges one yes from what the store held between the request and the answer, by the reading of the definition in
 * `tests/chaos/nodes/judge.ts`, which shares nothing with the program. It knows the history and the request alone.
 *
 * @module
 */

import type { History, Version } from "../chaos/nodes/history.ts";
import { judgeYes, recordOf, type Yes } from "../chaos/nodes/judge.ts";

/** A request of a host. */
export interface Asked {
  readonly invokedAt: number;
  readonly node: string;
  readonly machineId?: string;
  arrivedAt?: number;
  respondedAt?: number;
  /** The last moment of the history that its answer may rest on. */
  respondedMoment: number;
  /** Whether it waits, or has waited, in the queue of a process that is paused. */
  isQueued?: boolean;
  /** Whether the replica has got it, or gets it when it goes on, so that it may take effect. */
  mayAct?: boolean;
  /** It begins to wait there. */
  queued(): void;
  /** It has reached the replica. */
  arrived(): void;
  /** The replica has answered it. */
  responded(isYes: boolean): void;
}

/**
 * How long before the answer the record must still show the hold and the Node be cordoned, in milliseconds. The program
 * reads both within its last second; the rest is what a call takes at times. A pause of the process needs no more,
 * since its clock goes on meanwhile and no answer leaves later than it was decided: all of that is one event of its
 * process.
 */
export const HOLD_MS = 1_500;

/**
 * How old the other facts of a yes may be when the replica answers, in milliseconds. The program gives a search among
 * very many Nodes 5 s.
 */
export const PROOF_MS = 5_500;

/** For how long a request waits at least that counts as one after a wait, in milliseconds. */
const WAIT_MS = 15_000;

/** How far a replica's idea of the API server's time may be ahead, in milliseconds. */
export const CLOCK_MS = 2_000;

/**
 * How long before the end of a drain's time a replica may act as after it, in milliseconds. Its idea of the API server's
 * time may be ahead by the duration of a call, which the fault "its calls arrive late" makes 25 s.
 */
export const EARLY_MS = 27_000;

/** Since when what a yes rests on counts. */
export interface ProofMoments {
  /** The first moment on which it may rest. */
  readonly from: number;
  /** The first moment that counts for what may change at any time: see {@link HOLD_MS}. */
  readonly heldFrom: number;
}

/** Since when what the answer to a request rests on counts. */
export function proofMomentsOf(history: History, { arrivedAt, respondedAt }: Asked): ProofMoments {
  const since = (ms: number) => history.revisionAt(Math.max(arrivedAt!, respondedAt! - ms));
  return { from: since(PROOF_MS), heldFrom: since(HOLD_MS) };
}

/**
 * Says what is wrong with a yes.
 *
 * @param more What else counts.
 * @returns Empty where it holds.
 */
export function wrongWith(
  history: History,
  asked: Asked,
  group: string,
  id: string,
  { from, heldFrom }: ProofMoments,
  { isNoteLost, ...more }: Pick<Yes, "restoredGrant" | "waivesPods"> & { readonly isNoteLost?: boolean },
): string[] {
  const { machineId, respondedMoment: to, respondedAt } = asked;
  const at = respondedAt! + CLOCK_MS;
  const judge = (node: string) => judgeYes(history, { group, id, node, machineId, from, heldFrom, to, at, ...more });
  const wrong = judge(asked.node);
  if (wrong.length === 0) return wrong;
  // Where the host's Node has lost the id, nobody can tell that it is the host's: then the one that the hold notes
  // counts.
  const noted = notedName(history, group, id, to);
  // And where somebody has taken away by hand what the hold noted, nobody can tell that it has a Node at all.
  if (noted === undefined && isNoteLost && !hadId(history, asked, id, from)) {
    return wrong.filter((text) => !text.includes(asked.node));
  }
  return noted === undefined || noted === asked.node || hadId(history, asked, id, from) ? wrong : judge(noted);
}

/** The versions that were there at some moment from one to another, both included. */
function within<T>(versions: readonly Version<T>[], from: number, to: number): readonly Version<T>[] {
  const first = versions.findLastIndex(({ revision }) => revision <= from);
  return versions.slice(Math.max(first, 0)).filter(({ revision }) => revision <= to);
}

/** The situations that a yes was given in. */
export function situationsOf(history: History, { node, respondedMoment, arrivedAt, respondedAt }: Asked): string[] {
  const fact = history.nodes.at(node, respondedMoment);
  const left = history.podsOn(node, respondedMoment).filter(({ controller }) => controller?.kind !== "DaemonSet");
  return [
    ...(fact === undefined ? ["yes: without a Node"] : []),
    ...(fact?.ready === "Unknown" ? ["yes: with a dead kubelet"] : []),
    ...(left.length > 0 ? ["yes: with pods that stay"] : []),
    ...(respondedAt! - arrivedAt! > WAIT_MS ? ["yes: after a wait"] : []),
  ];
}

/** The name of the Node that a hold notes. */
export function notedName(history: History, group: string, id: string, moment: number): string | undefined {
  const { node } = recordOf(history, { group, id }, moment);
  return typeof node === "string" ? node : undefined;
}

/** The holds of some groups that note a Node now. */
export function holdsNoting(
  { history, moment }: { readonly history: History; readonly moment: number },
  groups: Iterable<string>,
  node: string,
): { readonly group: string; readonly id: string }[] {
  return [...groups].flatMap((group) => {
    const { holders = [] } = history.leases.at(group, moment) ?? {};
    return holders.filter((id) => notedName(history, group, id, moment) === node).map((id) => ({ group, id }));
  });
}

/** Whether the Node of a host's name had its id all the time from a moment to the answer. */
function hadId(history: History, { node, machineId, respondedMoment }: Asked, id: string, from: number): boolean {
  return within(history.nodes.versions(node), from, respondedMoment).every(({ fact }) => {
    return fact !== undefined && (fact.namedId === id || (machineId !== undefined && fact.machineId === machineId));
  });
}
