/**
 * The policies of a simulated replica: the real rules over facts that are always known, for as many slots as the run
 * says at each moment.
 *
 * @module
 */

import type { GrantPolicy } from "../../../src/lock/policy.ts";
import { DEFAULT_GROUP, NO_POLICIES, type PolicyOptions } from "../../../src/policies/options.ts";
import { Policies } from "../../../src/policies/policies.ts";
import type { Gathered, HealthFacts } from "../../../src/policies/snapshot.ts";

const NONE: Gathered<readonly never[]> = { kind: "known", value: [] };
const HEALTH: HealthFacts = { prometheus: NONE, alertmanager: NONE, blockingPods: NONE, budgets: NONE };

/**
 * Makes policies.
 *
 * @param slots How many slots each group has now.
 * @param now The time, in milliseconds since the epoch.
 * @param goneAfterMs How long a Node must be gone until its hold is freed, in milliseconds; undefined where it never
 * is.
 */
export function policiesOf(slots: () => number, now: () => number, goneAfterMs?: number): GrantPolicy {
  const onNodeGone = goneAfterMs === undefined
    ? DEFAULT_GROUP.onNodeGone
    : { action: "release" as const, afterMs: goneAfterMs };
  const known = new Map<number, PolicyOptions>();
  return new Policies({
    current() {
      const value = slots();
      const options = known.get(value) ??
        { ...NO_POLICIES, defaults: { ...DEFAULT_GROUP, onNodeGone, slots: { kind: "number", value } } };
      known.set(value, options);
      return options;
    },
    drainTimeoutMs: 0,
    facts: {
      now,
      isTimeFresh: () => true,
      hearTime: () => Promise.resolve(),
      nodes: () => ({ kind: "not_asked" }),
      asking: () => NONE,
      knownHealth: () => HEALTH,
      askHealth: () => Promise.resolve(HEALTH),
    },
  });
}
