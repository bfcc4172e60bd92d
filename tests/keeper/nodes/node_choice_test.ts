import { equal } from "node:assert/strict";
import { viewNode } from "../../../src/keeper/nodes/node.ts";
import { chooseBeside, chooseNode, type NodeChoice } from "../../../src/keeper/nodes/node_choice.ts";

type State = "ready" | "not ready" | "ghost";

const node = (name: string, state: State) => {
  return { ...viewNode({ metadata: { name } }), ready: state === "ready" ? "True" : "Unknown", readyMessage: state };
};
const isGhost = ({ readyMessage }: { readyMessage?: string }) => readyMessage === "ghost";
const nodes = (states: readonly State[]) => states.map((state, index) => node("abc"[index]!, state));
const described = (choice: NodeChoice) => {
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
  ["ready", true, ["ready"], "a or b"],
  ["not ready", true, ["ready"], "a or b"],
  ["ghost", true, ["ready"], "b"],
  ["ready", false, ["ready"], "b"],
  ["ready", false, ["ready", "ready"], "b or c"],
  ["ghost", true, ["ready", "ghost"], "b"],
];

for (const [noted, hasId, others, expected] of BESIDE) {
  const what = `${noted}, ${hasId ? "with" : "without"} the id; others: ${others.join(", ") || "none"}`;
  Deno.test(`a client whose noted node is empty (${what}) runs on: ${expected}`, () => {
    const [first, ...rest] = nodes([noted, ...others]);
    equal(described(chooseBeside(first!, hasId, rest, isGhost)), expected);
  });
}
