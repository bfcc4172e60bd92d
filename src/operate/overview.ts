/**
 * The state of a fleet as a command knows it: the accounts of several replicas
 * merged into one, or what a store alone tells. The freshest fact wins, and what
 * nobody knows is undefined, never guessed. Pure.
 *
 * @module
 */

import type {
  Account,
  ClientAccount,
  GroupAccount,
  HolderAccount,
  PassedOver,
  ReasonAccount,
  RefusedAccount,
  TurnAccount,
  UnaskedRule,
} from "../status/account.ts";
import type { ReplicaAnswer } from "./accounts.ts";

/** One group. Its optional lists are undefined where nobody knows them. */
export interface GroupOverview extends Pick<GroupAccount, "name" | "transitions" | "holders" | "pause" | "deferred"> {
  /** How many clients may hold a slot; undefined where only a server could tell. */
  readonly slots?: number;
  /** What speaks against the next grant now. */
  readonly blocks?: readonly ReasonAccount[];
  /** The rules that are asked only when a host asks, so that `blocks` does not have their reasons. */
  readonly unasked?: readonly UnaskedRule[];
  /** The rules that let grants go on because a replica could not ask their monitor. */
  readonly passedOver?: readonly PassedOver[];
  /** When windows and freezes next allow a grant, RFC 3339. */
  readonly nextOpening?: string;
  /** Who was refused lately, the longest waiting first. */
  readonly waiting?: readonly RefusedAccount[];
  /** How many more were refused lately. */
  readonly waitingMore?: number;
  /** The last turns, newest first. */
  readonly turns?: readonly TurnAccount[];
}

/** The state of a fleet. All of it is JSON. */
export interface Overview {
  /** The time of the freshest fact, RFC 3339. */
  readonly at: string;
  /** Where it comes from, such as `2 of 2 replicas` or `the file locks.db`. */
  readonly source: string;
  /** What is not known, and why, one sentence each. */
  readonly unknown: readonly string[];
  /** Whether the servers drain nodes, and so obey what stands on them; undefined where no server tells. */
  readonly drains?: boolean;
  /** Whether the namespace has no pod of a server. */
  readonly isWithoutServer?: boolean;
  /** Every group, by name. */
  readonly groups: readonly GroupOverview[];
}

/** How many turns of a group are kept. */
const MAX_TURNS = 20;

/** Whether something in the fleet is stuck. */
export function isStuck({ groups }: Overview): boolean {
  return groups.some(({ holders }) => holders.some((holder) => holder.isStuck));
}

/**
 * Merges what the replicas answered.
 *
 * @returns Undefined where none gave its account.
 */
export function mergeAnswers(answers: readonly ReplicaAnswer[]): Overview | undefined {
  const accounts = answers.flatMap(({ account }) => account ?? []).toSorted(byFreshness);
  const [freshest] = accounts;
  if (freshest === undefined) return undefined;
  const unknown = answers.flatMap(({ replica, problem }) =>
    problem === undefined ? [] : [`${replica} did not tell what it alone knows, such as who asked it: ${problem}`]
  );
  if (!freshest.isInStep) unknown.push("no replica is in step with the store: the groups may have changed since");
  if (accounts.every(({ areNodesInStep }) => areNodesInStep === false)) {
    unknown.push("no replica is in step with the nodes: stages of holds are unknown");
  }
  for (const { replica, config } of accounts) {
    if (config?.error !== undefined) unknown.push(`${replica} does not use its newest configuration: ${config.error}`);
  }
  const hashes = new Set(accounts.flatMap(({ config }) => config?.hash ?? []));
  if (hashes.size > 1) unknown.push("the replicas have different configuration files: what they say of rules differs");
  return {
    at: freshest.at,
    source: sourceOf(answers, accounts),
    unknown,
    drains: accounts.some(({ areNodesInStep }) => areNodesInStep !== undefined),
    groups: allGroups(freshest, accounts).map((group) => mergeGroup(group, accounts)),
  };
}

/** The groups of the freshest account, and those that only clients of other replicas wait for. */
function allGroups({ groups }: Account, accounts: readonly Account[]): GroupAccount[] {
  const byName = new Map(groups.map((group) => [group.name, group]));
  for (const group of accounts.flatMap((account) => account.groups)) {
    // A group that has had holders is in the store: where the freshest account lacks it, it has been deleted.
    const isNew = group.transitions === 0 && group.holders.length === 0 && group.waiting.length > 0;
    if (isNew && !byName.has(group.name)) byName.set(group.name, group);
  }
  return [...byName.values()].toSorted((one, other) => one.name < other.name ? -1 : 1);
}

/** In step with the store first, then the latest. */
function byFreshness(one: Account, other: Account): number {
  return Number(other.isInStep) - Number(one.isInStep) || Date.parse(other.at) - Date.parse(one.at) || 0;
}

function sourceOf(answers: readonly ReplicaAnswer[], accounts: readonly Account[]): string {
  const programs = [...new Set(accounts.map(({ program }) => program))].join(" and ");
  if (answers.length === 1) return `${answers[0]!.replica} (fleetlock ${programs})`;
  return `${accounts.length} of ${answers.length} replicas (fleetlock ${programs})`;
}

/** @param accounts The freshest first. */
function mergeGroup(freshest: GroupAccount, accounts: readonly Account[]): GroupOverview {
  const all = accounts.flatMap(({ groups, areNodesInStep }) => {
    const group = groups.find(({ name }) => name === freshest.name);
    return group === undefined ? [] : [{ group, areNodesInStep }];
  });
  const passedOver = [
    ...new Map(all.flatMap(({ group }) => group.passedOver ?? []).map((one) => [`${one.rule} ${one.reason}`, one]))
      .values(),
  ];
  return {
    ...freshest,
    // The replicas may have different files.
    unasked: [...new Set(all.flatMap(({ group }) => group.unasked))],
    ...(passedOver.length > 0 && { passedOver }),
    holders: freshest.holders.map((holder) => {
      const views = all.flatMap(({ group, areNodesInStep }) => {
        const same = group.holders.find((one) => clientKey(one) === clientKey(holder) && one.since === holder.since);
        return same === undefined ? [] : [{ holder: same, areNodesInStep }];
      });
      return mergeHolder(views);
    }),
    waiting: mergeWaiting(freshest, all.flatMap(({ group }) => group.waiting)),
    waitingMore: Math.max(...all.map(({ group }) => group.waitingMore ?? 0)),
    turns: mergeTurns(all.flatMap(({ group }) => group.turns)),
  };
}

/** @param views The same hold as several replicas see it, the freshest first; not empty. */
function mergeHolder(views: readonly { holder: HolderAccount; areNodesInStep?: boolean }[]): HolderAccount {
  const runsDrain = views.find(({ holder }) => holder.pods !== undefined);
  const known = views.filter(({ holder }) => holder.stage !== "unknown");
  const best = runsDrain ?? known.find(({ areNodesInStep }) => areNodesInStep === true) ?? known[0] ?? views[0]!;
  const { stage } = best.holder;
  // Each replica knows only since when it has seen the stage.
  const same = views.filter(({ holder }) => holder.stage === stage);
  const stageSince = earliest(same.map(({ holder }) => holder.stageSince));
  const lastPoll = latest(views.map(({ holder }) => holder.lastPoll));
  // The replica whose grace period ends first frees the slot.
  const releases = same.flatMap(({ holder }) => holder.release === undefined ? [] : [holder.release]);
  const release = releases.toSorted((one, other) => Date.parse(one.at) - Date.parse(other.at))[0];
  return {
    ...best.holder,
    ...(stageSince !== undefined && { stageSince }),
    ...(lastPoll !== undefined && { lastPoll }),
    ...(release !== undefined && { release }),
    isStuck: same.some(({ holder }) => holder.isStuck),
  };
}

function mergeWaiting({ holders }: GroupAccount, all: readonly RefusedAccount[]): RefusedAccount[] {
  const byClient = new Map<string, RefusedAccount>();
  for (const one of all) {
    const key = clientKey(one);
    const known = byClient.get(key);
    if (known === undefined) {
      byClient.set(key, one);
      continue;
    }
    const newer = Date.parse(one.at) > Date.parse(known.at) ? one : known;
    byClient.set(key, { ...newer, since: earliest([one.since, known.since]) ?? newer.since });
  }
  // A replica that refused a client does not know that another one has granted it a slot since.
  const isWaiting = (one: RefusedAccount) =>
    !holders.some((holder) => clientKey(holder) === clientKey(one) && Date.parse(holder.since) >= Date.parse(one.at));
  return [...byClient.values()].filter(isWaiting).toSorted((one, other) => one.since < other.since ? -1 : 1);
}

/** What tells a client from the others of its group. Hashes of ids that people chose are short. */
function clientKey({ id, hash }: ClientAccount): string {
  return `${hash} ${id}`;
}

function mergeTurns(all: readonly TurnAccount[]): TurnAccount[] {
  const byTurn = new Map<string, TurnAccount>();
  for (const turn of all) {
    const key = `${clientKey(turn)} ${turn.granted}`;
    const known = byTurn.get(key);
    // The first replica that saw the slot free is the closest to the moment.
    const released = earliest([turn.released, known?.released]) ?? turn.released;
    byTurn.set(key, { ...turn, ...(known?.isSameImage !== undefined && { isSameImage: known.isSameImage }), released });
  }
  return [...byTurn.values()].toSorted((one, other) => one.released > other.released ? -1 : 1).slice(0, MAX_TURNS);
}

function earliest(times: readonly (string | undefined)[]): string | undefined {
  return times.filter((time) => time !== undefined).toSorted((one, other) => Date.parse(one) - Date.parse(other))[0];
}

function latest(times: readonly (string | undefined)[]): string | undefined {
  return times.filter((time) => time !== undefined).toSorted((one, other) => Date.parse(other) - Date.parse(one))[0];
}
