/**
 * Metrics of the locks. The gauges' values come from the store at each scrape, so
 * they are correct after a restart and after a manual change.
 *
 * @module
 */

import type { Counter, Gauge } from "prom-client";
import { pauseAt } from "../lock/group_notes.ts";
import type { YieldCause } from "../lock/hold_outcomes.ts";
import type { Group } from "../lock/identity.ts";
import { type IgnoredReason, REASON_KINDS, type ReasonKind } from "../lock/policy.ts";
import type { GroupState } from "../lock/semaphore.ts";
import type { MetricRegistry } from "./prometheus_metrics.ts";

/** The metrics of the groups and their holders. */
export class LockMetrics {
  readonly #state: Gauge<"group">;
  readonly #transitions: Gauge<"group">;
  readonly #holders: Gauge<"group">;
  readonly #slots: Gauge<"group">;
  readonly #heldSeconds: Gauge<"group">;
  readonly #paused: Gauge<"group">;
  readonly #deferred: Gauge<"group">;
  readonly #opening: Gauge<"group">;
  readonly #withoutNode: Counter<never>;
  readonly #refusals: Counter<"kind">;
  readonly #ignored: Counter<"kind" | "because">;
  readonly #monitorFailures: Counter<"monitor" | "on_error">;
  readonly #yields: Counter<"cause">;
  readonly #gone: Counter<never>;
  readonly #waiting: Gauge<"group">;

  /** Makes the metrics, without any group. */
  constructor(registry: MetricRegistry) {
    const gauge = (name: string, help: string) => registry.gauge(name, help, ["group"]);
    this.#state = gauge("fleetlock_lock_state", "Whether a client holds a reboot slot of the group (0 or 1)");
    this.#transitions = gauge("fleetlock_lock_transition_count", "Number of grants of the group's slots so far");
    this.#holders = gauge("fleetlock_lock_holders", "Number of clients that hold a slot of the group");
    this.#slots = gauge("fleetlock_lock_slots", "Number of clients of the group that may hold a slot at a time");
    this.#heldSeconds = gauge(
      "fleetlock_lock_held_seconds",
      "Age of the oldest hold of the group; 0 if no client holds a slot",
    );
    this.#paused = gauge("fleetlock_lock_paused", "Whether the group is paused (0 or 1)");
    this.#deferred = gauge("fleetlock_lock_deferred", "Number of hosts that have yielded their slot and wait");
    this.#opening = gauge(
      "fleetlock_next_opening_timestamp_seconds",
      "When the windows and freezes of the group next allow a grant, in seconds since the epoch; now if they allow one",
    );
    this.#withoutNode = registry.counter(
      "fleetlock_grants_without_node_total",
      "Number of slots that were granted, although draining is on, to a client whose id no Node has",
    );
    this.#withoutNode.inc(0);
    this.#refusals = registry.counter(
      "fleetlock_policy_refusals_total",
      "Number of requests that a policy's reason refused, by kind of reason; a request may have several reasons",
      ["kind"],
    );
    for (const kind of REASON_KINDS) this.#refusals.inc({ kind }, 0);
    this.#ignored = registry.counter(
      "fleetlock_policy_ignored_total",
      "Number of grants despite a policy's reason, by kind of reason, because of the group's warn mode or a Node's skip",
      ["kind", "because"],
    );
    this.#monitorFailures = registry.counter(
      "fleetlock_policy_monitor_failures_total",
      "Number of questions to a monitor of a health rule that failed, by monitor and by what the rule does then",
      ["monitor", "on_error"],
    );
    this.#yields = registry.counter("fleetlock_yields_total", "Number of slots that hosts yielded, by cause", [
      "cause",
    ]);
    for (const cause of ["timed_out", "paused"]) this.#yields.inc({ cause }, 0);
    this.#gone = registry.counter(
      "fleetlock_node_gone_releases_total",
      "Number of slots that this process freed because the Node of their host was gone for the grace period",
    );
    this.#gone.inc(0);
    this.#waiting = gauge(
      "fleetlock_lock_waiting",
      "Number of clients without a slot that this process refused one, and that asked it within the last 12 minutes",
    );
  }

  /** Counts a grant to a client whose id no Node has. */
  grantedWithoutNode(): void {
    this.#withoutNode.inc();
  }

  /** Counts a reason that refused a request. */
  policyRefused(kind: ReasonKind): void {
    this.#refusals.inc({ kind });
  }

  /** Counts a grant despite a reason. */
  policyIgnored(kind: ReasonKind, because: IgnoredReason["because"]): void {
    this.#ignored.inc({ kind, because });
  }

  /** Counts a question to a monitor that failed. */
  monitorFailed(monitor: "prometheus" | "alertmanager", onError: "refuse" | "allow"): void {
    this.#monitorFailures.inc({ monitor, on_error: onError });
  }

  /** Counts a slot that a host yielded. */
  yielded(cause: YieldCause["kind"]): void {
    this.#yields.inc({ cause });
  }

  /** Counts a slot that was freed because its host's Node is gone. */
  releasedGone(): void {
    this.#gone.inc();
  }

  /** Sets when a group's windows next allow a grant, in milliseconds since the epoch. */
  showOpening(group: Group, opening: number): void {
    this.#opening.set({ group }, opening / 1000);
  }

  /** Sets how many clients wait for a slot of a group. */
  showWaiting(group: Group, count: number): void {
    this.#waiting.set({ group }, count);
  }

  /** Removes the series of all groups. */
  reset(): void {
    this.#waiting.reset();
    const gauges = [this.#state, this.#transitions, this.#holders, this.#slots, this.#heldSeconds];
    for (const gauge of [...gauges, this.#paused, this.#deferred, this.#opening]) gauge.reset();
  }

  /**
   * Sets the series of one group.
   *
   * @param facts `slots` is how many clients of the group may hold a slot at a time, `now` the current time, in
   * milliseconds since the epoch, and `heldMs` the age of the oldest hold, 0 without one.
   */
  show(
    group: Group,
    { holders, transitions, notes }: GroupState,
    { slots, now, heldMs }: { readonly slots: number; readonly now: number; readonly heldMs: number },
  ): void {
    this.#state.set({ group }, holders.length > 0 ? 1 : 0);
    this.#transitions.set({ group }, finite(transitions));
    this.#holders.set({ group }, holders.length);
    this.#slots.set({ group }, slots);
    this.#paused.set({ group }, pauseAt(notes, now) === undefined ? 0 : 1);
    this.#deferred.set({ group }, (notes?.deferred ?? []).filter(({ until }) => now < until).length);
    this.#heldSeconds.set({ group }, finite(heldMs / 1000));
  }
}

/** An administrator can write a value into the store that is not a number. */
function finite(value: number): number {
  return Number.isFinite(value) ? value : 0;
}
