/** What of a group's rules is asked only when a host asks. @module */

import { deepEqual } from "node:assert/strict";
import { type GroupOptions, NO_POLICIES } from "../../src/policies/options.ts";
import { unaskedRules } from "../../src/status/unasked.ts";

const SOURCE = { url: "http://x", onError: "refuse" as const };
const HEALTH: GroupOptions["health"] = {
  notReady: { kind: "number", value: 1 },
  blockingPods: "a=b",
  budgets: "refuse",
  prometheus: { ...SOURCE, queries: [] },
  alertmanager: { ...SOURCE, alerts: ".*" },
};

function rules(more: Partial<GroupOptions>, unmanaged = "evict", emptyDir = "evict") {
  return unaskedRules({ ...NO_POLICIES.defaults, ...more }, { unmanaged, emptyDir });
}

Deno.test("rules that need calls or the host's node are asked only when a host asks, and warn mode lets them pass", () => {
  const all = ["health.prometheus", "health.alertmanager", "health.blockingPods", "health.budgets"];
  deepEqual(rules({ health: HEALTH }), all);
  deepEqual(rules({ health: { budgets: "refuse" } }), ["health.budgets"]);
  deepEqual(rules({ health: HEALTH, mode: "warn" }), []);
  deepEqual(rules({}), []);
});

Deno.test("whether a drain refuses pods is asked only when a host asks, in warn mode too, where it refuses any", () => {
  deepEqual(rules({ mode: "warn" }, "refuse"), ["drain"]);
  deepEqual(rules({}, "evict", "refuse"), ["drain"]);
  deepEqual(unaskedRules(NO_POLICIES.defaults, undefined), []);
});
