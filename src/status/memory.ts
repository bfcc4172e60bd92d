/**
 * What this replica remembers for the account: who was refused lately, which
 * turns are over, and since when each hold has been in its stage. It is bounded,
 * gone after a restart, and decides nothing.
 *
 * @module
 */

import type { ClientId, Group } from "../lock/identity.ts";
import type { Refusal } from "../lock/outcomes.ts";
import type { GroupState, HeldNode, Holder } from "../lock/semaphore.ts";
import type { Stage } from "./account.ts";

/** A client that was refused lately. */
export interface LateRefusal {
  /** When it asked last, in milliseconds since the epoch. */
  readonly at: number;
  /** When it asked first in a row of refusals, in milliseconds since the epoch. */
  readonly since: number;
  /** Why it was refused last. */
  readonly refusal: Refusal;
}

/** A turn that is over. */
export interface Turn {
  /** The hold as it was at the end. */
  readonly holder: Holder;
  /** When the slot was free again, in milliseconds since the epoch. */
  readonly released: number;
  /**
   * Whether the host came back with the image that it had before; undefined where it did not reboot or that is unknown.
   */
  readonly isSameImage?: boolean;
  /** The image with which it came back; undefined where `isSameImage` is. */
  readonly image?: string;
}

/** What the watch of the nodes shows of a node's boot. */
export interface SeenBoot {
  /** Its boot; undefined where its kubelet has not reported it. */
  readonly bootId?: string;
  /** The names of its image and kernel; undefined where its kubelet has not reported them. */
  readonly image?: string;
}

/** Looks for the boot of the node that is noted with a hold. Undefined where the watch does not show the node. */
export type BootOf = (node: HeldNode) => SeenBoot | undefined;

/** Since when a hold has been in its stage. */
export interface SeenStage {
  /** In milliseconds since the epoch, for a person. */
  readonly since: number;
  /** By a clock that does not jump, in milliseconds. */
  readonly at: number;
}

/** A client that asked this replica. */
interface Client {
  readonly group: Group;
  readonly id: ClientId;
  /** When it asked last. */
  at: number;
  /** When it was refused first in a row. */
  since: number;
  /** Why it was refused last; undefined where it was not. */
  refusal: Refusal | undefined;
}

/** How many clients of all groups are remembered. */
const MAX_CLIENTS = 4_096;

/** How many turns of a group are remembered. */
const MAX_TURNS = 20;

/** How many groups are remembered. More than may exist by default, since an administrator may make some. */
const MAX_GROUPS = 256;

/** A host asks every 330 s at most. One that has not asked for longer than two such times has stopped. */
const LATE_MS = 12 * 60_000;

/** See the module. */
export class StatusMemory {
  /** The clients by group and id, those that are known longest first. */
  readonly #clients = new Map<string, Client>();
  #lastRefusal: Refusal | undefined;
  readonly #turns = new Map<Group, Turn[]>();
  /** The image of each holder's node at the grant, by group, id and grant. */
  readonly #images = new Map<string, string>();
  /** Since when each hold has been in its stage, by group, id and grant. */
  readonly #stages = new Map<string, SeenStage & { readonly stage: Stage }>();

  /** A client was refused a slot. */
  refused(group: Group, id: ClientId, refusal: Refusal, at: number): void {
    const client = this.#asked(group, id, at);
    if (client.refusal === undefined) client.since = at;
    // Many clients that wait for the same holders keep one refusal, so that a poll leaves nothing new behind.
    if (!isSame(client.refusal, refusal)) {
      client.refusal = isSame(this.#lastRefusal, refusal) ? this.#lastRefusal : refusal;
    }
    this.#lastRefusal = client.refusal;
  }

  /** A client got a yes, or gave its slot back, so it no longer waits. */
  served(group: Group, id: ClientId, at: number): void {
    this.#asked(group, id, at).refusal = undefined;
  }

  /**
   * A group changed, whoever changed it.
   *
   * @param bootOf Shows the nodes at this moment.
   * @returns The turns that are over with this change.
   */
  changed(
    group: Group,
    before: GroupState | undefined,
    after: GroupState,
    at: number,
    bootOf: BootOf = () => undefined,
  ): readonly Turn[] {
    for (const holder of after.holders) this.#noteImage(group, holder, bootOf);
    const held = new Map(after.holders.map((holder) => [holder.id, holder.since]));
    const over = (before?.holders ?? []).filter((holder) => held.get(holder.id) !== holder.since);
    if (over.length === 0) return [];
    const turns: Turn[] = over.map((holder) => ({
      holder,
      released: Math.max(at, holder.since),
      ...this.#imageAtEnd(group, holder, bootOf),
    }));
    for (const { holder } of turns) {
      const key = keyOf(group, holder.id, holder.since);
      this.#stages.delete(key);
      this.#images.delete(key);
    }
    const known = this.#turns.get(group) ?? [];
    this.#turns.delete(group);
    this.#turns.set(group, [...turns, ...known].slice(0, MAX_TURNS));
    forgetOldest(this.#turns, MAX_GROUPS);
    return turns;
  }

  /** Notes the image of a holder's node, as long as the node runs with the boot of the grant. */
  #noteImage(group: Group, { id, since, node }: Holder, bootOf: BootOf): void {
    if (node?.bootId === undefined) return;
    const key = keyOf(group, id, since);
    if (this.#images.has(key)) return;
    const seen = bootOf(node);
    if (seen?.image === undefined || seen.bootId !== node.bootId) return;
    this.#images.set(key, seen.image);
    forgetOldest(this.#images, MAX_CLIENTS);
  }

  #imageAtEnd(group: Group, { id, since, node }: Holder, bootOf: BootOf): Pick<Turn, "isSameImage" | "image"> {
    const before = this.#images.get(keyOf(group, id, since));
    const { bootId, image } = (node && before !== undefined ? bootOf(node) : undefined) ?? {};
    if (image === undefined || bootId === undefined || bootId === node?.bootId) return {};
    return { isSameImage: image === before, image };
  }

  /** The last turns of hosts that came back with the image that they had before, and have it still. */
  *rolledBack(bootOf: BootOf): Generator<{ readonly group: Group; readonly turn: Turn }> {
    for (const [group, turns] of this.#turns) {
      const later = new Set<ClientId>();
      for (const turn of turns) {
        const { holder, isSameImage, image } = turn;
        const isLast = !later.has(holder.id);
        later.add(holder.id);
        if (isLast && isSameImage && bootOf(holder.node!)?.image === image) yield { group, turn };
      }
    }
  }

  /** The clients of a group that were refused lately, the longest waiting first. */
  waiting(group: Group, now: number): (LateRefusal & { readonly id: ClientId })[] {
    const waiting: (LateRefusal & { readonly id: ClientId })[] = [];
    for (const client of this.#clients.values()) {
      const { refusal, at, since, id } = client;
      if (client.group !== group || refusal === undefined || now - at > LATE_MS) continue;
      waiting.push({ id, at, since, refusal });
    }
    return waiting.sort((one, other) => one.since - other.since);
  }

  /** The clients of all groups that were refused lately, in no particular order. It makes no copies. */
  *allWaiting(now: number): Generator<{ readonly group: Group; readonly id: ClientId }> {
    for (const client of this.#clients.values()) {
      if (client.refusal !== undefined && now - client.at <= LATE_MS) yield client;
    }
  }

  /** When a client asked last, in milliseconds since the epoch; undefined where it has not asked this replica. */
  lastPoll(group: Group, id: ClientId): number | undefined {
    return this.#clients.get(keyOf(group, id))?.at;
  }

  /** The last turns of a group, newest first. */
  turns(group: Group): readonly Turn[] {
    return this.#turns.get(group) ?? [];
  }

  /** The last turns of all groups. */
  *allTurns(): Generator<Turn> {
    for (const turns of this.#turns.values()) yield* turns;
  }

  /** Notes the stage of a hold. @returns Since when this replica has seen it there. `now` is that of this moment. */
  stage(group: Group, { id, since }: Pick<Holder, "id" | "since">, stage: Stage, now: SeenStage): SeenStage {
    const key = keyOf(group, id, since);
    const known = this.#stages.get(key);
    if (known?.stage === stage) return known;
    this.#stages.delete(key);
    this.#stages.set(key, { stage, ...now });
    forgetOldest(this.#stages, MAX_CLIENTS);
    return now;
  }

  /** Notes when a client asked. Most requests come from clients that are known, and change them in place. */
  #asked(group: Group, id: ClientId, at: number): Client {
    const key = keyOf(group, id);
    let client = this.#clients.get(key);
    if (client === undefined) {
      client = { group, id, at, since: at, refusal: undefined };
      this.#clients.set(key, client);
      forgetOldest(this.#clients, MAX_CLIENTS);
    }
    client.at = at;
    return client;
  }
}

/** Whether two refusals say the same. Where that is not seen at once, they do not. */
function isSame(one: Refusal | undefined, other: Refusal): boolean {
  if (one === other) return true;
  return one?.kind === "lock_held" && other.kind === "lock_held" && one.holders === other.holders &&
    one.slots === other.slots;
}

function keyOf(group: Group, id: ClientId, since?: number): string {
  return since === undefined ? `${group} ${id}` : `${group} ${id} ${since}`;
}

/** Forgets what was set first, beyond a number of entries. */
function forgetOldest(entries: Map<unknown, unknown>, most: number): void {
  for (const key of entries.keys()) {
    if (entries.size <= most) return;
    entries.delete(key);
  }
}
