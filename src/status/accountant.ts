/**
 * Makes the account of this replica from what it knows already: the groups that
 * the watch shows, the nodes, the drains that run here, the policies and the
 * memory. It makes no calls.
 *
 * @module
 */

import type { ClientId, Group } from "../lock/identity.ts";
import type { PlannedRelease } from "../lock/gone_nodes.ts";
import type { Versioned } from "../lock/lock_store.ts";
import type { PodLeft } from "../lock/node_keeper.ts";
import { describeRefusal, type Refusal } from "../lock/outcomes.ts";
import type { GrantPolicy, Reason } from "../lock/policy.ts";
import { FREE, type GroupState, type Holder } from "../lock/semaphore.ts";
import { printable } from "../lock/wording.ts";
import {
  type Account,
  ACCOUNT_VERSION,
  type GroupAccount,
  type HolderAccount,
  type PassedOver,
  type ReasonAccount,
  type RefusedAccount,
  type UnaskedRule,
} from "./account.ts";
import { clientAccount, pauseAccount, timeText } from "./account_text.ts";
import type { LateRefusal, StatusMemory } from "./memory.ts";
import { type HeldNodeFacts, isStuck, stageOf, type Thresholds } from "./stage.ts";

/** A drain that this replica runs. */
export interface RunningDrain {
  /** The pods that it waits for. */
  readonly pods: readonly PodLeft[];
  /** How many of them a budget holds back. */
  readonly blocked: number;
}

/** Where an {@link Accountant} looks. None of it makes calls or throws. */
export interface AccountSources {
  /** What does not change while the replica runs. */
  readonly replica: Pick<Account, "replica" | "program" | "store" | "started">;
  /** The time of the locks, in milliseconds since the epoch. */
  readonly now: () => number;
  /** A time that does not jump, in milliseconds. */
  readonly monotonic: () => number;
  /** For how long this replica has seen a hold, in milliseconds. */
  readonly seenForMs: (group: Group, holder: Holder) => number;
  /** The groups as the watch shows them. */
  readonly groups: () => ReadonlyMap<Group, Versioned>;
  /** The groups that the configuration file names. */
  readonly named: () => Iterable<Group>;
  /** Whether they are in step with the store. */
  readonly isInStep: () => boolean;
  /** The policies. */
  readonly policy: GrantPolicy & {
    nextOpening(group: Group): number | undefined;
    /** Rules that let grants go on although their monitor could not be asked last. */
    passedOver?(group: Group): readonly PassedOver[];
  };
  /** What of a group's rules is asked only when a host asks. */
  readonly unasked: (group: Group) => readonly UnaskedRule[];
  /** What this replica remembers. */
  readonly memory: StatusMemory;
  /** How long a hold of a group may stay in each stage. */
  readonly thresholds: (group: Group) => Thresholds;
  /** When a hold is freed because its node is gone. */
  readonly releaseOf?: (group: Group, holder: Holder) => PlannedRelease | undefined;
  /** The nodes of the cluster; undefined where nodes are not drained. */
  readonly nodes?: {
    /** Whether the watch of the nodes is in step. */
    readonly isSynced: boolean;
    /** What the watch shows of the node that is noted with a hold. */
    factsOf(node: NonNullable<Holder["node"]>): HeldNodeFacts;
    /** The name of the node with a client's id, where the watch shows exactly one. */
    nameOf(id: ClientId): string | undefined;
    /** The drain that this replica runs for a hold. */
    drainOf(group: Group, holder: Holder): RunningDrain | undefined;
  };
  /** The configuration file; undefined where there is none. */
  readonly config?: () => NonNullable<Account["config"]>;
}

/** How many waiting clients of a group are listed. */
const WAITING_SHOWN = 50;

/**
 * How many groups are listed for nothing but the clients that wait for them. Whoever reaches the server can name any.
 */
const ASKED_SHOWN = 64;

/** Who asks, where the question is what speaks against a grant to anybody. */
const ANYBODY = "anybody" as ClientId;

/** See the module. */
export class Accountant {
  readonly #sources: AccountSources;

  /** Makes one that looks at `sources` whenever it is asked. */
  constructor(sources: AccountSources) {
    this.#sources = sources;
  }

  /** Makes the account of this moment. */
  account(): Account {
    const { replica, now, groups, isInStep, nodes, config } = this.#sources;
    const at = now();
    const states = [...groups()].map(([name, { state }]) => [name, state] as const);
    const all = [...states, ...this.#withoutState(at).map((name) => [name, FREE] as const)];
    const byName = all.toSorted(([one], [other]) => one < other ? -1 : 1);
    return {
      version: ACCOUNT_VERSION,
      ...replica,
      at: timeText(at),
      isInStep: isInStep(),
      ...(nodes && { areNodesInStep: nodes.isSynced }),
      ...(config && { config: config() }),
      groups: byName.map(([name, state]) => this.#group(name, state, at)),
    };
  }

  /**
   * The groups that the store does not know yet, since no client has had a slot of them: those that the file names, and
   * those that clients wait for. Where the store may know more than the watch shows, there are none.
   */
  #withoutState(now: number): Group[] {
    const { groups, named, isInStep, memory } = this.#sources;
    if (!isInStep()) return [];
    const known = groups();
    const ofFile = new Set(named());
    const asked = new Set<Group>();
    for (const { group } of memory.allWaiting(now)) {
      if (asked.size >= ASKED_SHOWN) break;
      if (!known.has(group) && !ofFile.has(group)) asked.add(group);
    }
    return [...ofFile, ...asked].filter((group) => !known.has(group));
  }

  /** The holds of all groups, as in the account of this moment. It is cheaper than the whole account. */
  holds(): { readonly group: Group; readonly since: number; readonly holder: HolderAccount }[] {
    const { now, groups } = this.#sources;
    const at = now();
    return [...groups()].flatMap(([group, { state }]) => {
      return state.holders.map((one) => ({ group, since: one.since, holder: this.#holder(group, one, at) }));
    });
  }

  /**
   * How many clients wait for a slot of each group: of those that `stored` names, also where none waits, and of those
   * without a lock that clients wait for and that the account of this moment lists.
   *
   * @param stored The groups of the store, as far as the caller knows them.
   */
  waiting(stored: Iterable<Group>): Map<Group, number> {
    const { now, groups, memory } = this.#sources;
    const at = now();
    const known = groups();
    const counts = new Map<Group, number>([...stored].map((group) => [group, 0]));
    const withoutLock = new Set(this.#withoutState(at));
    for (const { group, id } of memory.allWaiting(at)) {
      // A holder that is refused waits for its own drain or return, not for a slot.
      if (known.get(group)?.state.holders.some((holder) => holder.id === id)) continue;
      if (counts.has(group) || withoutLock.has(group)) counts.set(group, (counts.get(group) ?? 0) + 1);
    }
    return counts;
  }

  #group(name: Group, state: GroupState, now: number): GroupAccount {
    const { policy, memory } = this.#sources;
    const answer = policy.peek({ group: name, id: ANYBODY, state, groups: this.#sources.groups() });
    const slots = policy.slotsOf(name);
    const passedOver = (policy.passedOver?.(name) ?? []).map((one) => ({ ...one, reason: printable(one.reason, 500) }));
    const opens = policy.nextOpening(name);
    // A holder that is refused waits for its own drain or return, not for a slot.
    const holds = new Set(state.holders.map(({ id }) => id));
    const waiting = memory.waiting(name, now).filter(({ id }) => !holds.has(id));
    const { pause, deferred = [] } = state.notes ?? {};
    return {
      name,
      slots,
      transitions: state.transitions,
      holders: state.holders.map((holder) => this.#holder(name, holder, now)),
      blocks: blocksOf(name, state, slots, answer.reasons, now),
      unasked: this.#sources.unasked(name),
      ...(passedOver.length > 0 && { passedOver }),
      ...(opens !== undefined && { nextOpening: timeText(opens) }),
      ...(pause && { pause: pauseAccount(pause) }),
      deferred: deferred.map(({ id, node, until, pods }) => ({
        ...clientAccount(name, id),
        node: printable(node, 253),
        until: timeText(until),
        pods: pods.map((pod) => printable(pod, 500)),
      })),
      waiting: waiting.slice(0, WAITING_SHOWN).map((one) => this.#waiting(name, one)),
      waitingMore: Math.max(0, waiting.length - WAITING_SHOWN),
      turns: memory.turns(name).map(({ holder, released, isSameImage }) => ({
        ...clientAccount(name, holder.id),
        ...(holder.node && { node: printable(holder.node.name, 253) }),
        granted: timeText(holder.since),
        released: timeText(released),
        ...(isSameImage !== undefined && { isSameImage }),
      })),
    };
  }

  #holder(group: Group, holder: Holder, now: number): HolderAccount {
    const { nodes, memory, thresholds, releaseOf, monotonic, seenForMs } = this.#sources;
    const { id, node, since } = holder;
    const facts = node === undefined || nodes === undefined || !nodes.isSynced
      ? { kind: "unknown" as const }
      : nodes.factsOf(node);
    const drain = nodes?.drainOf(group, holder);
    const stage = stageOf(holder, facts, drain && { left: drain.pods.length, blocked: drain.blocked });
    // A drain began with the grant; of any other stage, this replica knows only since when it has seen it.
    const seen = memory.stage(group, holder, stage, { since: now, at: monotonic() });
    const stageSince = stage === "draining" ? since : seen.since;
    // The clock of the grant may have been ahead.
    const inStageMs = stage === "draining" ? Math.max(now - since, seenForMs(group, holder)) : monotonic() - seen.at;
    const lastPoll = memory.lastPoll(group, id);
    const release = stage === "node-gone" ? releaseOf?.(group, holder) : undefined;
    return {
      ...clientAccount(group, id),
      ...(node && { node: printable(node.name, 253) }),
      since: timeText(since),
      stage,
      stageSince: timeText(stageSince),
      isStuck: isStuck(stage, inStageMs, thresholds(group)),
      ...(release && { release: releaseAccount(release) }),
      ...(drain && { pods: drain.pods.map(podAccount) }),
      ...(lastPoll !== undefined && { lastPoll: timeText(lastPoll) }),
    };
  }

  #waiting(group: Group, { id, at, since, refusal }: LateRefusal & { id: ClientId }): RefusedAccount {
    const node = this.#sources.nodes?.nameOf(id);
    return {
      ...clientAccount(group, id),
      ...(node !== undefined && { node }),
      at: timeText(at),
      since: timeText(since),
      kind: refusal.kind,
      // As of the reply, so that the ages in it do not change the account each second.
      sentence: describeRefusal(refusal, group, at),
    };
  }
}

/** What speaks against a grant to anybody: the slots, and the policies. */
function blocksOf(
  group: Group,
  { holders }: GroupState,
  slots: number,
  reasons: readonly Reason[],
  now: number,
): ReasonAccount[] {
  const held: Refusal = { kind: "lock_held", holders, slots };
  const full = holders.length < slots ? [] : [{ kind: held.kind, sentence: describeRefusal(held, group, now) }];
  const spoken = reasons.map(({ kind, rule, sentence, until }) => ({
    kind,
    rule,
    sentence,
    ...(until !== undefined && { until: timeText(until) }),
  }));
  return [...full, ...spoken];
}

function releaseAccount({ at, waitsFor }: PlannedRelease): NonNullable<HolderAccount["release"]> {
  return { at: timeText(at), ...(waitsFor !== undefined && { waitsFor: printable(waitsFor, 500) }) };
}

function podAccount({ namespace, name, reason }: PodLeft): { pod: string; reason: string } {
  return { pod: printable(`${namespace}/${name}`, 507), reason: printable(reason, 500) };
}
