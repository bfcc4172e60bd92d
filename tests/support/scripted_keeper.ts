/**
 * A node keeper that a test scripts, and evidence as a real one collects it.
 *
 * @module
 */

import { deepEqual, equal } from "node:assert/strict";
import type { ClientId, Group } from "../../src/lock/identity.ts";
import type {
  DrainOutcome,
  GoneOutcome,
  Hold,
  LookOutcome,
  NodeIdentity,
  NodeKeeper,
  ReturnOutcome,
} from "../../src/lock/node_keeper.ts";
import type { HeldNode, Holder } from "../../src/lock/semaphore.ts";
import type { NodeEvidence } from "../../src/lock/yes.ts";

/** A Node. */
export const worker: NodeIdentity = { name: "worker-1", uid: "uid-1", bootId: "boot-1" };

/** What is noted of a Node. */
export const noted = (phase: HeldNode["phase"], node: NodeIdentity = worker): HeldNode => ({ ...node, phase });

/** That a node has been seen cordoned and empty. */
export function drained(
  node: NodeIdentity = worker,
  change: Partial<NodeEvidence> = {},
): Extract<DrainOutcome, { kind: "drained" }> {
  const seen = { uid: node.uid, unschedulable: true, deleting: false, ready: "True" };
  const evidence = { noted: node, node: seen, pods: [], grantedAt: 0, exhausted: new Map(), ...change };
  return { kind: "drained", node, host: { kind: "node", evidence } };
}

/** That the drain of a node has timed out with a pod left, and that the operator waives it. */
export function timedOut(node?: NodeIdentity, change: Partial<NodeEvidence> = {}): DrainOutcome {
  const pod = { namespace: "web", name: "web-0", toleratesCordon: false };
  return drained(node, { pods: [pod], isTimedOut: true, ...change });
}

/** That no Node has the client's id. */
export const NO_NODE: DrainOutcome = { kind: "drained", host: { kind: "no_node" } };

/** A keeper that answers what the test says, and notes what it was asked to do. */
export class ScriptedKeeper implements NodeKeeper {
  looks: LookOutcome | (() => Promise<LookOutcome>) = { kind: "clear", node: worker };
  drains: DrainOutcome | ((hold: Hold, waitMs: number) => Promise<DrainOutcome>) = drained();
  returns: ReturnOutcome | (() => Promise<ReturnOutcome>) = { kind: "ready" };
  /** Whether the watch shows a Node of a client. */
  shows: (id: ClientId) => boolean = () => false;
  /** Since when the host has had no Node. */
  absent: (hold: Hold) => number | undefined = () => undefined;
  proves: (hold: Hold, signal: AbortSignal) => Promise<GoneOutcome> = () => Promise.resolve({ kind: "unseen" });
  readonly proven: Hold[] = [];
  /** What is left of the skip annotation of {@link worker}. */
  skip: string | undefined;
  /** Runs before a skip is removed. */
  beforeSkip: () => Promise<void> = () => Promise.resolve();
  readonly skipsAsked: string[] = [];
  readonly drained: Hold[] = [];
  readonly uncordoned: { group: string; id: string; since?: number }[] = [];
  readonly ended: { group: Group; id: ClientId }[] = [];
  held: () => Holder | undefined;

  /** @param held Looks into the store. */
  constructor(held: () => Holder | undefined) {
    this.held = held;
  }

  async look(): Promise<LookOutcome> {
    equal(this.held(), undefined, "the look comes before the grant");
    return typeof this.looks === "function" ? await this.looks() : this.looks;
  }

  showsNode(id: ClientId): boolean {
    return this.shows(id);
  }

  async takeSkip(node: NodeIdentity, skip: string): Promise<boolean> {
    equal(this.held(), undefined, "a skip is removed before the grant");
    deepEqual(node, worker);
    this.skipsAsked.push(skip);
    await this.beforeSkip();
    if (this.skip !== skip) return false;
    this.skip = undefined;
    return true;
  }

  async drain(hold: Hold, waitMs: number): Promise<DrainOutcome> {
    equal(this.held()?.id, hold.id, "a node is drained only for a holder");
    this.drained.push(hold);
    return typeof this.drains === "function" ? await this.drains(hold, waitMs) : this.drains;
  }

  async awaitReturn(_hold: Hold): Promise<ReturnOutcome> {
    return typeof this.returns === "function" ? await this.returns() : this.returns;
  }

  absentSince(hold: Hold): number | undefined {
    return this.absent(hold);
  }

  async proveGone(hold: Hold, signal: AbortSignal): Promise<GoneOutcome> {
    this.proven.push(hold);
    return await this.proves(hold, signal);
  }

  uncordon(of: string, id: string, since?: number): Promise<void> {
    this.uncordoned.push({ group: of, id, since });
    return Promise.resolve();
  }

  holdEnded(of: Group, id: ClientId): void {
    this.ended.push({ group: of, id });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}
