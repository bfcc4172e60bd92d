/**
 * What is noted of a node. How a yes is proven is in yes_flow_test.ts and drain_flow_test.ts; on facts that have
 * changed in stale_facts_test.ts and used_holds_test.ts, for hosts without a Node in hosts_without_nodes_test.ts, and
 * where drains yield in yields_test.ts.
 *
 * @module
 */

import { deepEqual } from "node:assert/strict";
import { heldNode } from "../../src/lock/prover.ts";

Deno.test("a node is noted with its machine and its boot where they are known, and without keys for them where not", () => {
  const known = { name: "n", uid: "u", machineId: "m", bootId: "b" };
  deepEqual(heldNode(known, "draining"), { ...known, phase: "draining" });
  const bare = heldNode({ name: "n", uid: "u", machineId: undefined, bootId: undefined }, "drained");
  deepEqual([bare, Object.keys(bare)], [{ name: "n", uid: "u", phase: "drained" }, ["name", "uid", "phase"]]);
});
