/** Which Nodes a name may mean, and what stands on them. @module */

import { deepEqual, equal, match } from "node:assert/strict";
import { type NodeView, viewNode } from "../../src/keeper/nodes/node.ts";
import { zincatiId } from "../../src/keeper/nodes/zincati_id.ts";
import { findNodes } from "../../src/operate/client_facts.ts";

const MACHINE = "1c09ca98649c4c7abc779cd04c96812e";
const OTHER = "ad432f2cb0c28bbcd1f87a20199237f9";
const ID = zincatiId(MACHINE)!;

/** A Node, ready unless told otherwise. */
function node(name: string, machineId: string | undefined, more: Partial<NodeView> = {}): NodeView {
  const metadata = { name, uid: `uid of ${name}`, resourceVersion: "1" };
  const view = viewNode({ metadata, status: { nodeInfo: { machineID: machineId ?? "" } } } as never);
  return { ...view, ready: "True", ...more };
}

const A = node("node-a", MACHINE, { skip: "allow" });
const B = node("node-b", OTHER);

for (const name of ["node-a", ID, ID.toUpperCase(), ID.slice(0, 8)]) {
  Deno.test(`${name} is the client of its one node`, () => {
    const { client, reasons, unknown, notes, skips } = findNodes([A, B], name);
    deepEqual({ ...client, reasons, unknown, notes, skips }, {
      name,
      node: "node-a",
      ids: A.ids,
      reasons: [],
      unknown: [],
      notes: [],
      skips: "allow",
    });
  });
}

Deno.test("a name that no node has is noted, since it may be a client without a node", () => {
  const found = findNodes([A, B], "backup-job");
  deepEqual([found.client, found.unknown, found.reasons], [{ name: "backup-job", ids: [] }, [], []]);
  match(found.notes.join(), /no node has the name or the id backup-job/);
});

Deno.test("a start that the ids of several nodes have is nobody's", () => {
  const like = node("node-c", undefined, { ids: [`${ID.slice(0, 8)}${"0".repeat(24)}`] });
  const { client, unknown } = findNodes([A, like], ID.slice(0, 8));
  deepEqual([client.node, client.ids], [undefined, []]);
  match(unknown.join(), /ids of several nodes begin so \("node-a", "node-c"\)/);
});

Deno.test("a hold is a reason on whichever node of the id it stands, and no rule is passed over for several", () => {
  const twin = node("node-t", MACHINE, { hold: "disk" });
  for (const name of ["node-a", ID]) {
    const { reasons, skips } = findNodes([A, twin], name);
    deepEqual(reasons.map(({ kind, rule }) => [kind, rule]), [["node_ambiguous", undefined], ["node_on_hold", "hold"]]);
    match(reasons[1]!.sentence, /node "node-t" is on hold: disk/);
    equal(skips, undefined);
  }
});

Deno.test("whether a node that is not ready counts beside one that is ready is unknown", () => {
  const { reasons, unknown } = findNodes([A, node("node-old", MACHINE, { ready: "Unknown" })], ID);
  deepEqual(reasons, []);
  match(unknown.join(), /stands for node "node-a" alone: "node-old" also has it/);
  equal(findNodes([A, node("node-old", MACHINE)], ID).reasons.length, 1);
});

Deno.test("a client is told apart whose node rules that count nodes may leave out", () => {
  const cases = [{}, { ready: "False" }, { ready: "Unknown" }, { unschedulable: true }];
  deepEqual(
    cases.map((more) => findNodes([node("n", OTHER, more)], "n").isUnavailable),
    [false, true, true, true],
  );
});

Deno.test("a node without an id, or with a malformed machine-id, is found by its name, and its id is unknown", () => {
  match(findNodes([node("n", undefined)], "n").unknown.join(), /which id the host has: .*no machine-id yet/);
  match(findNodes([node("n", "garbage")], "n").unknown.join(), /which id the host has: .*malformed/);
});
