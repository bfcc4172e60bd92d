/**
 * Facts and snapshots for the tests of the policies.
 *
 * @module
 */

import { type ClientId, type Group, parseClientId, parseGroup } from "../../src/lock/identity.ts";
import { FREE, type GroupState } from "../../src/lock/semaphore.ts";
import { DEFAULT_GROUP, type GroupOptions } from "../../src/policies/options.ts";
import { GroupNodes } from "../../src/policies/nodes.ts";
import {
  type Gathered,
  type HealthFacts,
  knownOf,
  type NodeFacts,
  type Snapshot,
} from "../../src/policies/snapshot.ts";

/** A group for tests. */
export const WORKERS: Group = parseGroup("workers")!;

/** The client that asks. */
export const HOST: ClientId = parseClientId("9a0c1f")!;

/** The time at which the client asks: a Thursday. */
export const NOW: number = Date.parse("2026-11-26T12:00:00Z");

/** Health of which nothing was asked. */
export const NOT_ASKED: HealthFacts = {
  prometheus: { kind: "not_asked" },
  alertmanager: { kind: "not_asked" },
  blockingPods: { kind: "not_asked" },
  budgets: { kind: "not_asked" },
};

/** A node, and what it has to do with the group and the client. */
export interface TestNode extends NodeFacts {
  /** Whether it is one of the group's. */
  readonly isInGroup: boolean;
  /** Whether the client that asks may run on it. */
  readonly isAsking: boolean;
}

/** The nodes of the group among some. */
export function groupNodes(all: readonly TestNode[]): GroupNodes {
  const members = all.filter(({ isInGroup }) => isInGroup);
  return new GroupNodes(members.length, members.filter(({ isReady, isCordoned }) => !isReady || isCordoned));
}

/** A node of the group that is well. */
export function node(name: string, more: Partial<TestNode> = {}): TestNode {
  return {
    name,
    uid: `uid-of-${name}`,
    isInGroup: true,
    isReady: true,
    isCordoned: false,
    isAsking: false,
    ...more,
  };
}

/** The options of a group, with some that differ from the defaults. */
export function options(more: Partial<GroupOptions> = {}): GroupOptions {
  return { ...DEFAULT_GROUP, ...more };
}

/** A state in which some nodes' hosts hold a slot. */
export function heldBy(...nodes: string[]): GroupState {
  const holders = nodes.map((name) => ({
    id: parseClientId(`id-of-${name}`)!,
    since: NOW - 60_000,
    node: { name, uid: `uid-of-${name}`, phase: "draining" as const },
  }));
  return { holders, transitions: nodes.length };
}

/** A snapshot in which nothing speaks against a grant, with some facts that differ. */
export function snapshot(
  { nodes = { kind: "known", value: [] }, ...more }:
    & Partial<Omit<Snapshot, "nodes">>
    & { readonly nodes?: Gathered<readonly TestNode[]> } = {},
  state: GroupState = FREE,
): Snapshot {
  const asking = knownOf(nodes).filter(({ isAsking }) => isAsking);
  return {
    returned: state.notes?.returned,
    asking: { kind: "known", value: asking },
    question: { group: WORKERS, id: HOST, state },
    options: options(),
    isNamed: true,
    allowUnknownGroups: true,
    timeZone: "Europe/Berlin",
    now: NOW,
    isTimeFresh: true,
    calendar: { during: { from: NOW, to: NOW + 1_000 }, isOpen: true },
    nodes: nodes.kind === "known" ? { kind: "known", value: groupNodes(nodes.value) } : nodes,
    health: NOT_ASKED,
    ...more,
  };
}
