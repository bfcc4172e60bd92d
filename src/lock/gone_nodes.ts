/**
 * Frees the slots of hosts whose Nodes are gone for good, where the operator says so, so that a machine that was
 * removed does not stop its group for ever.
 *
 * A host that is rebooting may lose its Node too, and may have had its yes. So a slot is freed only after a grace
 * period in which this process has seen, without a break, neither a Node that may be the host's nor a sign of life of
 * the client: a request to this process, or a write for the hold, which a request to any replica makes. At the end,
 * fresh readings must prove it, and the conditional write takes effect only on the hold as it was all that time.
 *
 * What this process has seen is kept nowhere else: a restart begins the period again.
 *
 * @module
 */

import type { Clock } from "./clock.ts";
import { UnavailableError } from "./errors.ts";
import type { GroupView } from "./group_view.ts";
import type { Holds } from "./holds.ts";
import type { ClientId, Group } from "./identity.ts";
import type { GoneOutcome, Hold, NodeKeeper } from "./node_keeper.ts";
import { type Holder, isSameStage } from "./semaphore.ts";
import { WakeableSleep } from "./wakeable_sleep.ts";
import { PROOF_TTL_MS } from "./yes.ts";

/** What {@link GoneNodes} works with. */
export interface GoneNodesOptions {
  /** Sees the Nodes. Without one, nothing is freed. */
  readonly keeper?: NodeKeeper;
  /**
   * How long the Node of a hold must be gone until the hold is freed, in milliseconds; undefined where it never is.
   * Asked again each time, since a configuration may change.
   */
  readonly graceOf: (group: Group) => number | undefined;
  /** Measures the period by its monotonic time. */
  readonly clock: Clock;
}

/** When a hold is to be freed. */
export interface PlannedRelease {
  /** When the grace period is over, in milliseconds since the epoch. */
  readonly at: number;
  /** What the release waits for once that time has passed, a sentence for a person; undefined where for nothing. */
  readonly waitsFor?: string;
}

/** How often holds are looked at, in milliseconds. */
const LOOK_MS = 30_000;

/** The longest sleep while there are no holds, in milliseconds. A change of a group ends it. */
const IDLE_MS = 3_600_000;

/** What is remembered of a hold. */
interface Watched {
  readonly group: Group;
  /** The hold as this process saw it first at this stage. */
  readonly holder: Holder;
  /** Since when it has been at this stage and its client has been silent, by the monotonic clock. */
  silentSince: number;
  /** The beginning of the grace period that {@link at} was made from, by the monotonic clock. */
  began?: number;
  /** The same moment in milliseconds since the epoch. */
  beganAt?: number;
  /** Not looked at before this time, by the monotonic clock. */
  notBefore: number;
  /** Ends the proof and the release that run; undefined where none do. */
  proof?: AbortController;
  /** See {@link PlannedRelease.waitsFor}. */
  waitsFor?: string;
}

/** See the module. */
export class GoneNodes {
  readonly #holds: Holds;
  readonly #view: GroupView;
  readonly #options: GoneNodesOptions;
  readonly #sleep: WakeableSleep;
  /** The holds by their client, so that a request costs the same however many holds there are. */
  readonly #watched = new Map<ClientId, readonly Watched[]>();
  /** How many requests of each client run. */
  readonly #asking = new Map<ClientId, number>();

  /** Watches the holds in `view`. */
  constructor(holds: Holds, view: GroupView, options: GoneNodesOptions) {
    this.#holds = holds;
    this.#view = view;
    this.#options = options;
    this.#sleep = new WakeableSleep(options.clock);
  }

  /**
   * Notes a request of a client, of whatever kind and group: it is alive.
   *
   * @returns To be disposed of when the request is answered.
   */
  asking(id: ClientId): Disposable {
    this.#count(id, 1);
    return { [Symbol.dispose]: () => this.#count(id, -1) };
  }

  /** Has {@link run} look at the groups again. */
  groupChanged(): void {
    this.#sleep.wake();
  }

  /** When a hold is to be freed because its Node is gone, as far as that is known now. It makes no calls. */
  releaseOf(group: Group, hold: Pick<Holder, "id" | "since">): PlannedRelease | undefined {
    const watched = this.#find(group, hold);
    if (watched === undefined) return undefined;
    const grace = this.#options.graceOf(group);
    const began = this.#beganOf(watched);
    if (grace === undefined || began === undefined) return undefined;
    const { clock } = this.#options;
    if (watched.began !== began) {
      watched.began = began;
      watched.beganAt = clock.now() - (clock.monotonic() - began);
    }
    const { beganAt, waitsFor } = watched;
    return { at: beganAt! + grace, ...(waitsFor !== undefined && { waitsFor }) };
  }

  /** Frees the slots, until the signal aborts. Does not throw. */
  async run(signal: AbortSignal): Promise<void> {
    const { keeper, clock } = this.#options;
    if (keeper === undefined) return;
    const running = new Map<AbortController, Promise<void>>();
    while (!signal.aborted) {
      const { due, nextInMs } = this.#due();
      for (const watched of due) {
        const proof = watched.proof = new AbortController();
        const ended = this.#proveAndFree(watched, keeper, proof.signal).finally(() => {
          watched.proof = undefined;
          watched.notBefore = clock.monotonic() + LOOK_MS;
          running.delete(proof);
          this.#sleep.wake();
        });
        running.set(proof, ended);
      }
      await this.#sleep.sleep(nextInMs, signal);
    }
    for (const proof of running.keys()) proof.abort(signal.reason);
    await Promise.all(running.values());
  }

  /** Finds the holds whose grace period is over, and when to look again. Forgets the holds that are over. */
  #due(): { due: Watched[]; nextInMs: number } {
    const { clock } = this.#options;
    const due: Watched[] = [];
    const current = new Set<Watched>();
    let nextInMs = IDLE_MS;
    for (const [group, { state }] of this.#view.groups) {
      for (const holder of state.holders) {
        // Of a hold that notes no Node, or none that can be read, nobody can see whether its Node is gone.
        if (holder.node === undefined || holder.isNodeUnreadable) continue;
        const watched = this.#watch(group, holder);
        current.add(watched);
        if (watched.proof !== undefined) continue;
        const leftMs = Math.max(this.#leftOf(watched), watched.notBefore - clock.monotonic());
        if (leftMs > 0) nextInMs = Math.min(nextInMs, leftMs, LOOK_MS);
        else due.push(watched);
      }
    }
    for (const [id, holds] of this.#watched) {
      // A proof may wait for minutes. Nobody needs that of a hold that is over.
      for (const watched of holds) if (!current.has(watched)) watched.proof?.abort();
      this.#keep(id, holds.filter((watched) => current.has(watched)));
    }
    return { due, nextInMs };
  }

  /** Proves that the Node of a hold is gone, and frees the hold. */
  async #proveAndFree(watched: Watched, keeper: NodeKeeper, signal: AbortSignal): Promise<void> {
    const { group, holder } = watched;
    const { clock } = this.#options;
    try {
      const proof = await keeper.proveGone(holdOf(watched), signal);
      watched.waitsFor = describeWait(proof);
      if (proof.kind !== "gone") return;
      // Asked right before each write, on the state that it replaces.
      const mayFree = () => this.#leftOf(watched) <= 0 && clock.monotonic() - proof.readAt <= PROOF_TTL_MS;
      const outcome = await this.#holds.releaseGone(holder, group, mayFree);
      // Of a Node that is gone, only this process's drain may be left.
      if (outcome.kind === "released") await keeper.uncordon(group, holder.id, holder.since);
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof UnavailableError)) throw error;
      watched.waitsFor = "the cluster or the store does not answer";
    }
  }

  #count(id: ClientId, change: number): void {
    const requests = (this.#asking.get(id) ?? 0) + change;
    if (requests > 0) this.#asking.set(id, requests);
    else this.#asking.delete(id);
    const now = this.#options.clock.monotonic();
    for (const watched of this.#watched.get(id) ?? []) watched.silentSince = now;
  }

  /** How long until a hold may be freed, in milliseconds; infinite while it may not be at all. */
  #leftOf(watched: Watched): number {
    const grace = this.#options.graceOf(watched.group);
    const began = this.#beganOf(watched);
    if (began === undefined) watched.waitsFor = undefined;
    if (grace === undefined || began === undefined) return Infinity;
    return began + grace - this.#options.clock.monotonic();
  }

  /**
   * When the grace period of a hold began, by the monotonic clock; undefined where its Node is not known to be gone.
   */
  #beganOf(watched: Watched): number | undefined {
    const absentSince = this.#options.keeper?.absentSince(holdOf(watched));
    if (absentSince === undefined || this.#asking.has(watched.holder.id)) return undefined;
    return Math.max(absentSince, watched.silentSince);
  }

  /** Remembers a hold. What is remembered of another stage of it no longer counts. */
  #watch(group: Group, holder: Holder): Watched {
    const known = this.#find(group, holder);
    if (known !== undefined && isSameStage(known.holder, holder)) return known;
    const silentSince = this.#options.clock.monotonic();
    const watched: Watched = { group, holder, silentSince, notBefore: -Infinity };
    known?.proof?.abort();
    const others = (this.#watched.get(holder.id) ?? []).filter((other) => other !== known);
    this.#keep(holder.id, [...others, watched]);
    return watched;
  }

  #find(group: Group, { id, since }: Pick<Holder, "id" | "since">): Watched | undefined {
    return this.#watched.get(id)?.find((watched) => watched.group === group && watched.holder.since === since);
  }

  #keep(id: ClientId, holds: readonly Watched[]): void {
    if (holds.length > 0) this.#watched.set(id, holds);
    else this.#watched.delete(id);
  }
}

/** What the keeper is asked about. */
function holdOf({ group, holder: { id, since, node } }: Watched): Hold {
  return { group, id, since, node };
}

/** Says what a release waits for. */
function describeWait(proof: GoneOutcome): string | undefined {
  switch (proof.kind) {
    case "gone":
      return undefined;
    case "there":
      return `the node "${proof.node}" may be the host's`;
    case "pods_left": {
      const [first, ...others] = proof.pods;
      const more = others.length === 0 ? "" : ` and ${others.length} more`;
      return `the pod ${first?.namespace}/${first?.name}${more} must go first`;
    }
    case "unseen":
      return "the watch of the nodes is behind";
  }
}
