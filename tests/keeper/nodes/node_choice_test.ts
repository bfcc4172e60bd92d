import { equal } from "node:assert/strict";
import { parseClientId } from "../../../src/lock/identity.ts";
import { viewNode } from "../../../src/keeper/nodes/node.ts";
import {
  chooseBeside,
  chooseNode,
  type NodeChoice,
  type Successor,
  successorOf,
} from "../../../src/keeper/nodes/node_choice.ts";

type State = "ready" | "not ready" | "ghost";

const node = (name: string, state: State) => {
  return { ...viewNode({ metadata: { name } }), ready: state === "ready" ? "True" : "Unknown", readyMessage: state };
};
const isGhost = ({ readyMessage }: { readyMessage?: string }) => readyMessage === "ghost";
const nodes = (states: readonly State[]) => states.map((state, index) => node("abc"[index]!, state));
const described = (choice: NodeChoice) => {
  if (choice.kind === "ambiguous" && choice.nodes.length < 2) return `ambiguous: ${choice.nodes}`;
  return choice.kind === "node" ? choice.node.name : choice.kind === "none" ? "none" : choice.nodes.join(" or ");
};

const CASES: [states: State[], expected: string][] = [
  [[], "none"],
  [["ready"], "a"],
  [["ghost"], "a"],
  [["ready", "ready"], "a or b"],
  [["ready", "not ready"], "a or b"],
  [["ready", "ghost"], "a"],
  [["ghost", "ready"], "b"],
  [["ghost", "not ready"], "a or b"],
  [["ghost", "ghost"], "a or b"],
  [["ghost", "ready", "ghost"], "b"],
  [["ghost", "ready", "ready"], "a or b or c"],
  [["not ready"], "a"],
  [["not ready", "ghost"], "a or b"],
];

for (const [states, expected] of CASES) {
  Deno.test(`a client with ${states.length} nodes (${states.join(", ")}) runs on: ${expected}`, () => {
    equal(described(chooseNode(nodes(states), isGhost)), expected);
  });
}

const BESIDE: [noted: State, hasId: boolean, others: State[], expected: string][] = [
  ["ready", true, [], "a"],
  ["ready", false, [], "a"],
  ["ghost", true, [], "a"],
  ["ready", true, ["ghost"], "a"],
  ["not ready", true, ["ghost"], "a or b"],
  ["ghost", true, ["ghost", "ghost"], "a or b or c"],
  ["ready", true, ["ready"], "a or b"],
  ["not ready", true, ["ready"], "a or b"],
  ["ghost", true, ["ready"], "b"],
  ["ready", false, ["ready"], "b"],
  ["ready", false, ["ready", "ready"], "b or c"],
  ["ghost", true, ["ready", "ready"], "b or c"],
  ["ready", true, ["ready", "ghost"], "a or b"],
  ["ghost", true, ["ready", "ghost"], "b"],
];

for (const [noted, hasId, others, expected] of BESIDE) {
  const what = `${noted}, ${hasId ? "with" : "without"} the id; others: ${others.join(", ") || "none"}`;
  Deno.test(`a client whose noted node is empty (${what}) runs on: ${expected}`, () => {
    const [first, ...rest] = nodes([noted, ...others]);
    equal(described(chooseBeside(first!, hasId, rest, isGhost)), expected);
  });
}

Deno.test("the nodes that a client may run on are named in the order of their names", () => {
  const unsorted = [node("c", "ready"), node("a", "ready"), node("b", "ghost")];
  equal(described(chooseNode(unsorted, isGhost)), "a or b or c");
  equal(described(chooseBeside(unsorted[0]!, true, unsorted.slice(1), isGhost)), "a or c");
});

const ID = "978a225b3d7b40e9acd7ce9b62f68444";
const MACHINE = "1c09ca98649c4c7abc779cd04c96812e";
const UUID = "1C09CA98-649C-4C7A-BC77-9CD04C96812E";

const SUCCESSORS: [
  what: string,
  id: string,
  notedMachine: string | undefined,
  node: { uid?: string; ids?: string[]; machineId?: string } | undefined,
  expected: Successor | undefined,
][] = [
  ["nobody's where there is none", ID, MACHINE, undefined, undefined],
  [
    "nobody's where it is the noted one, whatever its machine",
    ID,
    MACHINE,
    { uid: "noted", machineId: "m" },
    undefined,
  ],
  ["the same host's where it has the client's id", ID, MACHINE, { ids: ["x", ID], machineId: "m" }, "same_host"],
  ["the same host's where it has the id in another form", ID.toUpperCase(), undefined, { ids: [ID] }, "same_host"],
  ["the same host's where it has the noted machine-id", "web-1", MACHINE, { machineId: MACHINE }, "same_host"],
  ["the same host's where it has it in another form", "web-1", MACHINE, { machineId: UUID }, "same_host"],
  ["another machine's where it has another machine-id", ID, MACHINE, { machineId: "m" }, "other_machine"],
  ["unknown where its kubelet has not reported its machine-id", ID, MACHINE, { ids: ["x"] }, "unknown"],
  ["unknown where no machine-id was noted", ID, undefined, { machineId: MACHINE }, "unknown"],
];

for (const [what, id, machineId, change, expected] of SUCCESSORS) {
  Deno.test(`the Node that has the name of the one that is gone is ${what}`, () => {
    const found = change && { ...node("a", "ready"), uid: "new", ...change };
    equal(successorOf(parseClientId(id)!, { uid: "noted", machineId }, found), expected);
  });
}
