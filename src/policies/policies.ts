/**
 * The operator's policies as the lock service asks them: gathers a snapshot, asks
 * the rules, and leaves out what a group in warn mode or a skip annotation lets
 * pass. It decides nothing by itself and does no I/O but through its sources.
 *
 * @module
 */

import type { Group } from "../lock/identity.ts";
import type { DrainRule } from "../lock/node_keeper.ts";
import type { GrantPolicy, IgnoredReason, PolicyAnswer, PolicyQuestion, Reason, ReasonKind } from "../lock/policy.ts";
import { Calendar } from "./calendar.ts";
import { type GroupNodes, slotsOf } from "./nodes.ts";
import type { GroupOptions, PolicyOptions } from "./options.ts";
import { reasonsOf } from "./rules.ts";
import { passesOf as skipTest, type RuleName } from "./skips.ts";
import { type Gathered, type HealthFacts, knownOf, type NodeFacts, type Snapshot } from "./snapshot.ts";

/** Gathers what the rules need from outside. Its methods do not throw. */
export interface FactsSource {
  /** The drain's time, in milliseconds since the epoch. */
  now(): number;
  /** Whether that time was heard within the last minute. */
  isTimeFresh(): boolean;
  /** Hears the time anew, where it was not heard lately. */
  hearTime(): Promise<void>;
  /**
   * The nodes of a group, as the watch of the nodes shows them, where a rule of the group counts them. It makes no
   * calls, and returns the same nodes again while none has changed.
   */
  nodes(options: GroupOptions): Gathered<GroupNodes>;
  /**
   * The nodes on which a client may run, as the watch of the nodes shows them, or as they were read for the question.
   * It makes no calls.
   */
  asking(question: PolicyQuestion): Gathered<readonly NodeFacts[]>;
  /** The health of the fleet, as far as it was asked within the last seconds. It makes no calls. */
  knownHealth(options: GroupOptions, question: PolicyQuestion): HealthFacts;
  /**
   * Why the last questions to the monitors of a group failed; absent where there are no monitors. It makes no calls.
   */
  monitorFailures?(options: GroupOptions): MonitorFailures;
  /** The health of the fleet, asked now where it was not asked within the last seconds. */
  askHealth(options: GroupOptions, question: PolicyQuestion): Promise<HealthFacts>;
}

/** Why the last question to each monitor failed; undefined where it did not, and where there is no such monitor. */
export interface MonitorFailures {
  /** Prometheus. */
  readonly prometheus?: string;
  /** Alertmanager. */
  readonly alertmanager?: string;
}

/** What {@link Policies} works with. */
export interface PoliciesOptions {
  /** The policies in force. */
  readonly current: () => PolicyOptions;
  /** Where the facts come from. */
  readonly facts: FactsSource;
  /** The time limit of a drain where a group does not say, in milliseconds. */
  readonly drainTimeoutMs: number;
}

/** How often a judgement asks again because the policies have changed meanwhile. */
const MAX_RELOADS = 3;

/** The reasons that are orders of a person or results of the group's past, which warn mode does not let pass. */
const ALWAYS_ENFORCED: ReadonlySet<ReasonKind> = new Set(["unknown_group", "paused", "node_on_hold", "deferred"]);

/** See the module. */
export class Policies implements GrantPolicy {
  readonly #options: PoliciesOptions;
  /** The calendar of each group's options. Options that are no longer in force take theirs with them. */
  readonly #calendars = new WeakMap<GroupOptions, Calendar>();
  /** The reasons told last, by the group's options. The same list again makes the reply the same object again. */
  readonly #told = new WeakMap<GroupOptions, readonly Reason[]>();
  /** The noted returns that seem to lie ahead, and when this process first saw each, by the drain's time. */
  readonly #ahead = new Map<Group, { readonly returned: number; readonly seen: number }>();

  /** Makes policies that are in force at once. */
  constructor(options: PoliciesOptions) {
    this.#options = options;
  }

  /** See {@link GrantPolicy.slotsOf}. */
  slotsOf(group: Group): number {
    const options = optionsOf(this.#options.current(), group);
    return options.slots.kind === "number" ? options.slots.value : slotsOf(options, this.#options.facts.nodes(options));
  }

  /** See {@link GrantPolicy.drainOf}. */
  drainOf(group: Group): DrainRule {
    return optionsOf(this.#options.current(), group).drain;
  }

  /** See {@link GrantPolicy.goneAfter}. */
  goneAfter(group: Group): number | undefined {
    const { action, afterMs } = optionsOf(this.#options.current(), group).onNodeGone;
    return action === "release" ? afterMs : undefined;
  }

  /** See {@link GrantPolicy.peek}. */
  peek(question: PolicyQuestion): PolicyAnswer {
    // A peek says only no. That the time was not heard lately speaks against a grant alone, and a judgement hears it.
    return this.#answer(question, (options) => this.#options.facts.knownHealth(options, question), true);
  }

  /** See {@link GrantPolicy.judge}. */
  async judge(question: PolicyQuestion): Promise<PolicyAnswer> {
    const { facts, current } = this.#options;
    for (let tries = 0; tries < MAX_RELOADS; tries++) {
      const options = optionsOf(current(), question.group);
      if (!facts.isTimeFresh() && hasCalendar(options)) await facts.hearTime();
      const health = await facts.askHealth(options, question);
      // What was asked for other options says nothing about the rules that have come into force meanwhile.
      if (optionsOf(current(), question.group) === options) {
        return this.#answer(question, () => health, facts.isTimeFresh());
      }
    }
    const sentence = "the configuration file keeps changing during this request: try again";
    const reason: Reason = { kind: "policy_undecided", rule: "config", sentence };
    return { slots: this.slotsOf(question.group), reasons: [reason], ignored: [] };
  }

  /**
   * When the windows and freezes of a group next allow a grant, in milliseconds since the epoch: now, where they allow
   * one. Undefined where they do not within a year, and where the group has neither.
   */
  nextOpening(group: Group): number | undefined {
    const policies = this.#options.current();
    const options = optionsOf(policies, group);
    if (!hasCalendar(options)) return undefined;
    const now = this.#options.facts.now();
    const { isOpen, next } = this.#calendarOf(policies, options).at(now);
    return isOpen ? now : next;
  }

  /**
   * The rules of a group that let grants go on although their monitor could not be asked last, and why it could not. It
   * makes no calls.
   */
  passedOver(group: Group): { readonly rule: RuleName; readonly reason: string }[] {
    const options = optionsOf(this.#options.current(), group);
    const failures = this.#options.facts.monitorFailures?.(options) ?? {};
    return (["prometheus", "alertmanager"] as const).flatMap((name) => {
      const reason = failures[name];
      const isPassed = reason !== undefined && options.health[name]?.onError === "allow";
      return isPassed ? [{ rule: `health.${name}` as const, reason }] : [];
    });
  }

  #answer(
    question: PolicyQuestion,
    healthOf: (options: GroupOptions) => HealthFacts,
    isTimeFresh: boolean,
  ): PolicyAnswer {
    const { facts, current } = this.#options;
    const policies = current();
    const options = optionsOf(policies, question.group);
    const now = facts.now();
    const snapshot: Snapshot = {
      question,
      options,
      isNamed: policies.groups.has(question.group),
      allowUnknownGroups: policies.allowUnknownGroups,
      timeZone: policies.timeZone,
      now,
      isTimeFresh,
      calendar: this.#calendarOf(policies, options).at(now),
      returned: this.#returnOf(question, now),
      asking: facts.asking(question),
      nodes: facts.nodes(options),
      health: healthOf(options),
    };
    const skip = skipOf(snapshot);
    const passOf = passesOf(options, skip);
    const reasons: Reason[] = [];
    const ignored: IgnoredReason[] = [];
    for (const reason of reasonsOf(snapshot)) {
      const because = passOf(reason);
      if (because === undefined) reasons.push(reason);
      else ignored.push({ ...reason, because });
    }
    const slots = slotsLeft(snapshot, passOf);
    const isSkipNeeded = skip !== "" &&
      (ignored.some(({ because }) => because === "skip") || slots > slotsLeft(snapshot, passesOf(options, "")));
    return {
      slots,
      reasons: this.#shared(options, reasons),
      ignored,
      ...(question.skip === undefined && isSkipNeeded && { skip }),
    };
  }

  /**
   * When a holder last came back. A return that seems to lie ahead was noted by a clock that was wrong; it counts from
   * when this process first saw it, since the time that it names may be years away.
   */
  #returnOf({ group, state }: PolicyQuestion, now: number): number | undefined {
    const returned = state.notes?.returned;
    if (returned === undefined || returned <= now) {
      this.#ahead.delete(group);
      return returned;
    }
    let ahead = this.#ahead.get(group);
    if (ahead?.returned !== returned) this.#ahead.set(group, ahead = { returned, seen: now });
    return Math.min(ahead.seen, now);
  }

  /** Returns the list that was told last where it says the same. */
  #shared(options: GroupOptions, reasons: readonly Reason[]): readonly Reason[] {
    const told = this.#told.get(options);
    const isSame = told?.length === reasons.length && told.every(({ kind, sentence, until }, at) => {
      const now = reasons[at]!;
      return kind === now.kind && sentence === now.sentence && until === now.until;
    });
    if (isSame) return told;
    this.#told.set(options, reasons);
    return reasons;
  }

  #calendarOf({ timeZone }: PolicyOptions, options: GroupOptions): Calendar {
    let calendar = this.#calendars.get(options);
    if (calendar === undefined) {
      const cutoffMs = options.drain.timeoutMs ?? this.#options.drainTimeoutMs;
      calendar = new Calendar({ allow: options.allow, freeze: options.freeze, timeZone, cutoffMs });
      this.#calendars.set(options, calendar);
    }
    return calendar;
  }
}

/** What applies to a group. */
function optionsOf({ groups, defaults }: PolicyOptions, group: Group): GroupOptions {
  return groups.get(group) ?? defaults;
}

function hasCalendar({ allow, freeze }: GroupOptions): boolean {
  return allow.length > 0 || freeze.length > 0;
}

/** Tells of a reason why it does not count; undefined where it does. */
type Pass = (reason: Pick<Reason, "kind" | "rule">) => IgnoredReason["because"] | undefined;

/** The names of rules that the client's Node may pass once, joined by commas; empty where there are none. */
function skipOf({ question, asking: facts }: Snapshot): string {
  if (question.skip !== undefined) return question.skip;
  // Of several nodes with the client's id, nobody knows which one asks.
  const asking = knownOf(facts);
  return asking.length === 1 ? asking[0]!.skip ?? "" : "";
}

/** Which reasons do not count: the rules of a group in warn mode, and those that the client's Node may pass once. */
function passesOf({ mode }: GroupOptions, skip: string): Pass {
  const isSkipped = skipTest(skip);
  return ({ kind, rule }) => {
    if (mode === "warn" && !ALWAYS_ENFORCED.has(kind)) return "warn";
    return isSkipped(rule) ? "skip" : undefined;
  };
}

/** The slots that unavailable nodes leave. */
function slotsLeft({ options, nodes, asking, question }: Snapshot, passOf: Pass): number {
  const slots = slotsOf(options, nodes);
  if (options.unavailable !== "count" || nodes.kind !== "known") return slots;
  if (passOf({ kind: "fleet_unhealthy", rule: "unavailable" }) !== undefined) return slots;
  return Math.max(0, slots - nodes.value.unavailable(question, knownOf(asking)).count);
}
