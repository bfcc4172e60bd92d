/**
 * A drain on a test's control plane: a node, its client's hold, and a keeper, so that a test says only what it is
 * about. Without controllers and kubelets, a pod with a grace period of 0 is gone once it is evicted, and any other pod
 * when the test ends it.
 *
 * @module
 */

import { CORDON_ANNOTATION } from "../../src/keeper/nodes/cordon.ts";
import type { KubernetesNodeKeeper, NodeKeeperOptions } from "../../src/keeper/node_keeper.ts";
import type { Permission } from "../../src/kubernetes/errors.ts";
import type { DrainOutcome, Hold, ReturnOutcome } from "../../src/lock/node_keeper.ts";
import type { HeldNode } from "../../src/lock/semaphore.ts";
import * as objects from "./cluster_objects.ts";
import { until } from "./condition.ts";
import type { ControlPlane } from "./control_plane.ts";
import { startKeeper, type TestKeeper, TestLocks } from "./keepers.ts";

/** How long to wait for an outcome by default, in milliseconds. */
const PATIENCE_MS = 30_000;

/** A signal that never aborts. */
export const never: AbortSignal = new AbortController().signal;

/** Options of a fixture's keepers. */
export interface DrainFixtureOptions extends Omit<Partial<NodeKeeperOptions>, "permissions"> {
  /** What the keeper is allowed. @default what it says that it needs */
  readonly permissions?: Permission[];
  /** The locks. @default locks of the fixture's own */
  readonly locks?: TestLocks;
}

/** The owner reference of a ReplicaSet, so that a pod counts as managed. */
export const replicaSet = (): NonNullable<objects.PodSpec["owner"]> => {
  return { apiVersion: "apps/v1", kind: "ReplicaSet", name: "web", uid: crypto.randomUUID() };
};

/** How a node is cordoned. */
export interface CordonOfNode {
  readonly unschedulable: boolean;
  /** The value of our annotation. */
  readonly cordon: string | undefined;
}

/** See the module. Dispose of it to stop its keepers. */
export class DrainFixture implements AsyncDisposable {
  readonly #plane: ControlPlane;
  readonly #options: DrainFixtureOptions;
  readonly #keepers: TestKeeper[] = [];
  #hold: Hold | undefined;

  private constructor(
    plane: ControlPlane,
    options: DrainFixtureOptions,
    /** The namespace of the pods. */
    readonly namespace: string,
    /** The node to drain, and its client. */
    readonly node: objects.TestNode,
    /** The locks that the keepers read. */
    readonly locks: TestLocks,
  ) {
    this.#plane = plane;
    this.#options = options;
  }

  /** Makes a namespace and a node, and starts a keeper. */
  static async create(plane: ControlPlane, options: DrainFixtureOptions = {}): Promise<DrainFixture> {
    const namespace = await plane.createNamespace();
    const node = await objects.createNode(plane);
    const fixture = new DrainFixture(plane, options, namespace, node, options.locks ?? new TestLocks());
    await fixture.replica();
    return fixture;
  }

  /** Starts another keeper over the same locks. */
  async replica(options: DrainFixtureOptions & { namespace?: string } = {}): Promise<TestKeeper> {
    const { permissions, locks = this.locks, ...more } = { ...this.#options, ...options };
    const keeper = await startKeeper(this.#plane, locks, more, permissions);
    this.#keepers.push(keeper);
    return keeper;
  }

  /** The node's name. */
  get name(): string {
    return this.node.name;
  }

  /** The first keeper. */
  get keeper(): KubernetesNodeKeeper {
    return this.first.keeper;
  }

  /** The first keeper with its log and calls. */
  get first(): TestKeeper {
    return this.#keepers[0]!;
  }

  /** The hold of the node's client, granted when it is first asked for. */
  get hold(): Hold {
    return this.#hold ??= this.grant();
  }

  /** Grants the node's client a slot, which notes the node: it becomes {@link hold}. */
  grant(options: { group?: string; since?: number; node?: Partial<HeldNode> } = {}): Hold {
    const { node, ...more } = options;
    const { name, uid } = this.node;
    const held: HeldNode = { name, uid, bootId: "boot-1", phase: "draining", ...node };
    return this.#hold = this.locks.grant(this.node.id, { ...more, node: held });
  }

  /** Makes a pod on the node, without grace period unless `spec` says so. */
  async pod(name: string, spec: Partial<objects.PodSpec> = {}, phase?: string): Promise<{ metadata: { uid: string } }> {
    const all = { name, namespace: this.namespace, node: this.name, graceSeconds: 0, ...spec };
    return await objects.createPod(this.#plane, all, phase);
  }

  /** Makes a budget over the pods with the label `app=<app>`. */
  async budget(app: string, options: { name?: string; allowed?: number } = {}): Promise<void> {
    const { name = app, allowed = 0 } = options;
    await objects.createBudget(this.#plane, this.namespace, name, { app }, allowed);
  }

  /** Lets a budget allow disruptions: so many, or more than a test has pods. */
  async allow(budget: string, allowed?: number): Promise<void> {
    await objects.allowDisruptions(this.#plane, this.namespace, budget, allowed);
  }

  /** Drains the node for the client's hold, by the first keeper, and waits for an outcome. */
  async drain(waitMs: number = PATIENCE_MS, signal: AbortSignal = never): Promise<DrainOutcome> {
    return await this.keeper.drain(this.hold, waitMs, signal);
  }

  /** Waits for the node's return, as the first keeper sees it. */
  async awaitReturn(waitMs: number = PATIENCE_MS): Promise<ReturnOutcome> {
    return await this.keeper.awaitReturn(this.hold, waitMs, never);
  }

  /** Ends the client's hold by the first keeper, as a release does. */
  async uncordon(): Promise<void> {
    await this.keeper.uncordon(this.hold.group, this.hold.id, this.hold.since);
  }

  /** Waits until a pod is being deleted. */
  async terminating(name: string): Promise<void> {
    await until(async () => (await this.podObjects()).get(name)?.metadata.deletionTimestamp);
  }

  /** Ends a pod, as its kubelet does when its containers have terminated. */
  async endPod(name: string): Promise<void> {
    await objects.endPod(this.#plane, this.namespace, name);
  }

  /** The names of the pods on the node, sorted. */
  async pods(): Promise<string[]> {
    return [...(await this.podObjects()).keys()].sort();
  }

  /** The pods on the node, by name. */
  // deno-lint-ignore no-explicit-any
  async podObjects(): Promise<Map<string, any>> {
    return await objects.podsOn(this.#plane, this.name);
  }

  /** How a node is cordoned: the fixture's, or another one. */
  async cordonOf(node: string = this.name): Promise<CordonOfNode> {
    const { spec, metadata } = await this.#plane.request("GET", `/api/v1/nodes/${node}`);
    return { unschedulable: spec.unschedulable === true, cordon: metadata.annotations?.[CORDON_ANNOTATION] };
  }

  /** Cordons or uncordons the node, as kubectl does. */
  async cordonByHand(unschedulable: boolean): Promise<void> {
    const path = `/api/v1/nodes/${this.name}`;
    await this.#plane.request("PATCH", path, { spec: { unschedulable } }, "application/merge-patch+json");
  }

  /** The Events about the node, after the first keeper has sent them all. */
  async events(): Promise<{ reason: string; type: string; note: string }[]> {
    await this.first.events.settled();
    const { items } = await this.#plane.request("GET", "/apis/events.k8s.io/v1/namespaces/default/events");
    // deno-lint-ignore no-explicit-any
    return items.filter((one: any) => one.regarding.kind === "Node" && one.regarding.uid === this.name);
  }

  /** Stops the keepers. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const keeper of this.#keepers) await keeper.stop();
  }
}
