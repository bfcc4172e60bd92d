/**
 * Watches the API server and the hosts, and finds what breaks a promise of the
 * program: a yes that was not proven, two hosts of a group in their reboots at
 * once, a slot freed before its host is back, and an administrator's cordon that
 * somebody else lifts.
 *
 * @module
 */

import { watchApi } from "../../support/api_watch.ts";
import type { ControlPlane } from "../../support/control_plane.ts";
import { History, leaseFact, type NodeFact, nodeFact, podFact, type Version } from "./history.ts";
import { judgeYes, type Yes } from "./judge.ts";

/** A broken promise. */
export interface Violation {
  readonly kind: "exclusion" | "unproven yes" | "early release" | "cordon lifted" | "not at rest" | "no turn";
  readonly message: string;
  /** What happened before, a line each. */
  readonly timeline: readonly string[];
}

/** A host from its yes to its release. */
export interface Turn {
  readonly group: string;
  readonly id: string;
  readonly node: string;
  readonly yesAt: number;
  /** When its kubelet began to report after the reboot; undefined before. */
  backAt?: number;
  /** When it first reported after the reboot, which allows a release; undefined before. */
  reportedAt?: number;
}

/** A time in which a fault could keep a replica's proof from its host. */
interface Disturbance {
  /** Undefined: all replicas. */
  readonly replica?: string;
  readonly from: number;
  to: number;
}

/** How old a proof may be when the answer arrives, in milliseconds: a busy machine needs some time for an answer. */
const PROOF_AGE_MS = 4_000;

/** How long after an answer the watches have shown everything before it, in milliseconds. */
const SETTLE_MS = 2_000;

/** How much of the past a timeline shows, in milliseconds. */
const TIMELINE_MS = 30_000;

/** See the module. */
export class Observer implements AsyncDisposable {
  readonly history: History = new History();
  readonly violations: Violation[] = [];
  /** How many yeses were judged, and how many cordons of the program and releases were seen. */
  readonly counts: { yeses: number; drains: number; releases: number } = { yeses: 0, drains: 0, releases: 0 };
  readonly #plane: ControlPlane;
  readonly #namespace: string;
  readonly #watches: AsyncDisposableStack = new AsyncDisposableStack();
  #failure: unknown;
  readonly #disturbances: Disturbance[] = [];
  readonly #judging = new Set<Promise<void>>();
  readonly #notes: { at: number; about: readonly string[]; text: string }[] = [];
  readonly #turns = new Map<string, Turn>();
  /** What administrators freed: `group id` and when. */
  readonly #freed: { group: string; id: string; at: number }[] = [];
  /** Nodes that an administrator cordoned, and has not uncordoned, and the revisions of these cordons. */
  readonly #cordons = new Map<string, number>();

  private constructor(plane: ControlPlane, namespace: string) {
    this.#plane = plane;
    this.#namespace = namespace;
  }

  /** Starts to watch. */
  static async start(plane: ControlPlane, namespace: string): Promise<Observer> {
    const observer = new Observer(plane, namespace);
    await observer.#watch();
    return observer;
  }

  /** The host of a group in its turn. */
  turnsOf(group: string): Turn[] {
    return [...this.#turns.values()].filter((turn) => turn.group === group);
  }

  /** Adds a line to the timelines of a host, node or group; without names, to all of them. */
  note(text: string, ...about: string[]): void {
    this.#notes.push({ at: Date.now(), about, text });
  }

  /**
   * Notes a fault that can delay answers until the returned function is called.
   *
   * @param replica Whose answers; undefined for all.
   * @param lastsMs How long it works on after its end, in milliseconds.
   */
  disturb(text: string, replica?: string, lastsMs = 0): () => void {
    this.note(text);
    const disturbance: Disturbance = { replica, from: Date.now(), to: Infinity };
    this.#disturbances.push(disturbance);
    return () => {
      disturbance.to = Date.now() + lastsMs;
      this.note(`end of: ${text}`);
    };
  }

  /** Notes that an administrator is about to free a slot. The function that it returns says that it did not happen. */
  freeing(group: string, id: string): () => void {
    const freed = { group, id, at: Date.now() };
    this.#freed.push(freed);
    this.note(`an administrator frees the slot of ${group} that ${id} holds`, group, id);
    return () => {
      this.#freed.splice(this.#freed.indexOf(freed), 1);
      this.note("the administrator did not free it", group, id);
    };
  }

  /** Notes that an administrator's write has cordoned a Node that was not cordoned. Nobody else may lift that. */
  cordoned(node: string, revision: number): void {
    this.#cordons.set(node, revision);
    this.note(`an administrator has cordoned it at ${revision}`, node);
    for (const version of this.history.nodes.versions(node)) this.#checkCordon(node, version);
  }

  /** Notes that an administrator is about to uncordon a Node, or to delete it. */
  uncordoning(node: string): void {
    this.#cordons.delete(node);
    this.note("an administrator uncordons or deletes it", node);
  }

  /** Whether an administrator's cordon is on the Node. */
  isCordoned(node: string): boolean {
    return this.#cordons.has(node);
  }

  /**
   * Takes a yes. Call it when the answer has arrived, before its host does anything.
   *
   * @param asked When the request was sent, in milliseconds since the epoch.
   */
  async yes(turn: Turn, asked: number, replica: string, machineId?: string): Promise<void> {
    const at = Date.now();
    this.counts.yeses++;
    this.note(`${turn.id} has a yes from ${replica}`, turn.group, turn.id, turn.node);
    this.#checkExclusion(turn, asked);
    if (!this.#turns.has(turn.id)) this.#turns.set(turn.id, turn);
    const from = this.history.revisionAt(Math.max(asked, this.#proofBegins(at, replica)));
    const to = await this.#revision();
    const { group, id, node } = turn;
    const judging = this.#judge({ group, id, node, machineId, from, to, at }).finally(() =>
      this.#judging.delete(judging)
    );
    this.#judging.add(judging);
  }

  /** Notes that a host's turn is over: it was released, or refused before it rebooted. */
  over(id: string): void {
    this.#turns.delete(id);
  }

  /** Waits until every yes so far is judged. */
  async settle(): Promise<void> {
    while (this.#judging.size > 0) await Promise.all(this.#judging);
  }

  /** Adds a violation, with the timeline of what it is about. */
  violate(kind: Violation["kind"], message: string, ...about: string[]): void {
    this.violations.push({ kind, message, timeline: this.timeline(Date.now(), about) });
  }

  /** What happened to hosts, nodes and groups up to a time, a line each. */
  timeline(until: number, about: readonly string[]): string[] {
    return this.#notes
      .filter((each) => each.at <= until && each.at >= until - TIMELINE_MS)
      .filter((each) => each.about.length === 0 || each.about.some((name) => about.includes(name)))
      .map((each) => `${new Date(each.at).toISOString().slice(11, 23)} ${each.about.at(-1) ?? "-"}: ${each.text}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#watches.disposeAsync();
  }

  /** Throws if a watch has missed changes, so that no run holds because it saw nothing. */
  check(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  async #watch(): Promise<void> {
    const leases = `/apis/coordination.k8s.io/v1/namespaces/${this.#namespace}/leases`;
    const watch = async (path: string, changed: Parameters<typeof watchApi>[2]) => {
      const watching = this.#watches.use(watchApi(this.#plane, path, changed));
      watching.ended.catch((error) => this.#failure ??= error);
      await watching.listed;
    };
    const version = <T>(type: string, object: { metadata: { resourceVersion: string } }, fact: T): Version<T> => {
      const [at, revision] = [Date.now(), Number(object.metadata.resourceVersion)];
      this.history.arrived(at, revision);
      return { at, revision, fact: type === "DELETED" ? undefined : fact };
    };
    await watch("/api/v1/nodes", (type, node) => this.#nodeChanged(node, version(type, node, nodeFact(node))));
    await watch("/api/v1/pods", (type, pod) => this.#podChanged(pod, version(type, pod, podFact(pod))));
    await watch(leases, (type, lease) => this.#leaseChanged(lease, version(type, lease, leaseFact(lease))));
  }

  // deno-lint-ignore no-explicit-any
  #nodeChanged(node: any, version: Version<NodeFact>): void {
    const { name } = node.metadata;
    const before = this.history.nodes.now(name);
    this.history.nodes.add(name, version);
    const { fact } = version;
    if (fact?.cordonedFor !== undefined && before?.cordonedFor === undefined) this.counts.drains++;
    const text = fact === undefined
      ? "deleted"
      : `${fact.unschedulable ? "cordoned" : "schedulable"} for ${
        fact.cordonedFor ?? "nobody"
      }, ready ${fact.ready}, ` +
        `boot ${fact.bootId.slice(0, 8)}, uid ${fact.uid.slice(0, 8)}`;
    this.note(`Node at ${version.revision}: ${text}`, name);
    this.#checkCordon(name, version);
  }

  /** Only the administrator lifts an administrator's cordon, and says so before. */
  #checkCordon(name: string, { revision, fact }: Version<NodeFact>): void {
    const cordoned = this.#cordons.get(name);
    if (cordoned === undefined || revision <= cordoned || fact?.unschedulable !== false) return;
    this.#cordons.delete(name);
    this.violate("cordon lifted", `an administrator's cordon of ${name} was lifted at ${revision}`, name);
  }

  // deno-lint-ignore no-explicit-any
  #podChanged(pod: any, version: Version<ReturnType<typeof podFact>>): void {
    const { uid, name } = pod.metadata;
    const before = this.history.pods.now(uid);
    this.history.addPod(uid, version);
    const node = version.fact?.node ?? before?.node;
    if (node === undefined) return;
    const text = version.fact === undefined
      ? "gone"
      : version.fact.deletionAt !== undefined
      ? "ending"
      : before?.node === undefined
      ? "bound"
      : undefined;
    if (text !== undefined) this.note(`pod ${name} at ${version.revision}: ${text}`, node);
  }

  // deno-lint-ignore no-explicit-any
  #leaseChanged(lease: any, version: Version<ReturnType<typeof leaseFact>>): void {
    const group = lease.metadata.name.replace(/^fleetlock-/, "");
    const before = this.history.leases.now(group);
    this.history.leases.add(group, version);
    const { fact } = version;
    this.note(`Lease at ${version.revision}: ${fact?.record ?? "deleted"} held by ${fact?.holders ?? "nobody"}`, group);
    for (const id of before?.holders ?? []) {
      if (!fact?.holders.includes(id)) this.#released(group, id, before!.noted.includes(id));
    }
  }

  /** A slot may be freed only by an administrator, or once its host has reported after its reboot. */
  #released(group: string, id: string, isNoted: boolean): void {
    this.counts.releases++;
    const turn = this.#turns.get(id);
    if (turn === undefined || this.#wasFreed(group, id, turn.yesAt - SETTLE_MS)) return;
    if (turn.reportedAt === undefined) {
      this.violate("early release", `the slot of ${id} was freed before it reported`, group, id, turn.node);
    } else if (turn.backAt === undefined && isNoted && this.#isNotedNodeThere(turn)) {
      this.violate("early release", `the slot of ${id} was freed before its kubelet was back`, group, id, turn.node);
    }
  }

  /** Whether the Node has been the same one since before the yes. A release need not wait for one that is gone. */
  #isNotedNodeThere({ node, yesAt }: Turn): boolean {
    const versions = this.history.nodes.versions(node).filter((version) => version.at >= yesAt - SETTLE_MS);
    const uid = this.history.nodes.now(node)?.uid;
    return uid !== undefined && versions.every((version) => version.fact?.uid === uid);
  }

  #checkExclusion({ group, id, node }: Turn, asked: number): void {
    for (const other of this.turnsOf(group)) {
      if (
        other.id === id || other.reportedAt !== undefined || this.#wasFreed(group, other.id, other.yesAt - SETTLE_MS)
      ) {
        continue;
      }
      const message = `${id} (${node}, asked ${new Date(asked).toISOString()}) has a yes while ${other.id} ` +
        `(${other.node}, yes ${new Date(other.yesAt).toISOString()}) reboots`;
      this.violate("exclusion", message, group, id, other.id, node, other.node);
    }
  }

  #wasFreed(group: string, id: string, since: number): boolean {
    return this.#freed.some((each) => each.group === group && each.id === id && each.at >= since);
  }

  /** The time before which a proof is too old for an answer that arrives now. */
  #proofBegins(at: number, replica: string): number {
    let begins = at - PROOF_AGE_MS;
    for (const each of this.#disturbances.toReversed()) {
      if (each.replica !== undefined && each.replica !== replica) continue;
      if (each.from <= at && each.to >= begins) begins = Math.min(begins, each.from - PROOF_AGE_MS);
    }
    return begins;
  }

  /** The revision that is stored now, by a fresh read. */
  async #revision(): Promise<number> {
    return Number((await this.#plane.request("GET", "/api/v1/nodes?limit=1")).metadata.resourceVersion);
  }

  async #judge(yes: Yes): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
    while (this.#disturbances.some((each) => each.replica === undefined && each.to === Infinity)) {
      await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
    }
    const wrong = judgeYes(this.history, yes);
    if (wrong.length === 0) return;
    const message = `${yes.id} got a yes that was not proven (revisions ${yes.from} to ${yes.to}): ${wrong.join("; ")}`;
    this.violations.push({
      kind: "unproven yes",
      message,
      timeline: this.timeline(yes.at + 200, [yes.group, yes.id, yes.node]),
    });
  }
}
