/** The policy that knows only how many slots a group has. The rules are in tests/policies. @module */

import { deepEqual, equal } from "node:assert/strict";
import { parseClientId, parseGroup } from "../../src/lock/identity.ts";
import { slotsOnly } from "../../src/lock/policy.ts";
import { FREE } from "../../src/lock/semaphore.ts";

Deno.test("without rules, a group has its slots, nothing speaks against a grant, and no hold of a gone Node is freed", async () => {
  const [small, large] = [parseGroup("small")!, parseGroup("large")!];
  const policy = slotsOnly((group) => group === large ? 5 : 2);
  deepEqual([policy.slotsOf(small), policy.slotsOf(large)], [2, 5]);
  deepEqual(policy.drainOf(small), {});
  equal(policy.goneAfter(small), undefined);
  for (const [group, slots] of [[small, 2], [large, 5]] as const) {
    const question = { group, id: parseClientId("a")!, state: FREE };
    const answer = policy.peek(question);
    deepEqual(answer, { slots, reasons: [], ignored: [] });
    deepEqual(await policy.judge(question), answer);
    // Replies are kept by the list's identity.
    equal(policy.peek(question).reasons, answer.reasons);
  }
});
