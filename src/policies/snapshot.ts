/**
 * What the rules are shown: the group, its state, the nodes, the health, the time.
 * Whoever gathers it says also what could not be gathered. It makes no calls.
 *
 * @module
 */

import type { ClientId, Group } from "../lock/identity.ts";
import type { PolicyQuestion } from "../lock/policy.ts";
import type { CalendarAnswer } from "./calendar.ts";
import type { GroupNodes } from "./nodes.ts";
import type { GroupOptions } from "./options.ts";

/** A node, as the rules see it. */
export interface NodeFacts {
  /** Its name. */
  readonly name: string;
  /** Its UID. */
  readonly uid: string;
  /** Whether its Ready condition is "True". */
  readonly isReady: boolean;
  /** Whether it is cordoned. */
  readonly isCordoned: boolean;
  /** The holds for which this server has cordoned it, which may be over; undefined where it has not. */
  readonly cordonedFor?: readonly { readonly group: Group; readonly id: ClientId; readonly since: number }[];
  /** The annotation `fleetlock.internal/hold`: why the node must not reboot. */
  readonly hold?: string;
  /** The annotation `fleetlock.internal/skip`: the rules that it may pass once, or `all`. */
  readonly skip?: string;
}

/** Facts that were gathered, or why they were not. */
export type Gathered<T> =
  /** They are known. */
  | { readonly kind: "known"; readonly value: T }
  /** Nobody has asked for them yet. */
  | { readonly kind: "not_asked" }
  /** They could not be gathered, for `reason`, a sentence without a full stop. */
  | { readonly kind: "failed"; readonly reason: string };

/** The entries that are known, or none. */
export function knownOf<T>(facts: Gathered<readonly T[]>): readonly T[] {
  return facts.kind === "known" ? facts.value : [];
}

/** An alert, or a series of a query, that speaks against a grant. */
export interface Alarm {
  /** The name of the alert or of the query. */
  readonly name: string;
  /** Its value or labels, for a person. */
  readonly detail: string;
}

/** What the health of the fleet depends on. */
export interface HealthFacts {
  /** The series that the group's queries returned. */
  readonly prometheus: Gathered<readonly Alarm[]>;
  /** The group's alerts that are active. */
  readonly alertmanager: Gathered<readonly Alarm[]>;
  /** The running pods on the asking node that match `blockingPods`, as `namespace/name`. */
  readonly blockingPods: Gathered<readonly string[]>;
  /** Why dry-run evictions of the pods of the asking node were refused, one sentence a pod. */
  readonly budgets: Gathered<readonly string[]>;
}

/** Everything that a rule may look at. */
export interface Snapshot {
  /** Who asks, and the state of the group. */
  readonly question: PolicyQuestion;
  /** What the operator says about the group. */
  readonly options: GroupOptions;
  /** Whether the configuration file names the group. */
  readonly isNamed: boolean;
  /** Whether groups that the file does not name get slots. */
  readonly allowUnknownGroups: boolean;
  /** The IANA name of the time zone for the sentences. */
  readonly timeZone: string;
  /** The drain's time, in milliseconds since the epoch. */
  readonly now: number;
  /** Whether that time was heard within the last minute. */
  readonly isTimeFresh: boolean;
  /** What the windows and freezes say. */
  readonly calendar: CalendarAnswer;
  /**
   * When a holder of the group last came back from its reboot, in milliseconds since the epoch, never later than `now`.
   */
  readonly returned?: number;
  /** The nodes on which the client may run. */
  readonly asking: Gathered<readonly NodeFacts[]>;
  /** The nodes of the group, where its rules count nodes. */
  readonly nodes: Gathered<GroupNodes>;
  /** The health of the fleet. */
  readonly health: HealthFacts;
}
