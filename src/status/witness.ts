/**
 * Notices nodes that have rebooted although their host held no slot: somebody or
 * something does not ask, or a yes was given that should not have been. It compares
 * what this replica sees, so it misses what happens while it does not run.
 *
 * @module
 */

import type { Group } from "../lock/identity.ts";
import type { Holder } from "../lock/semaphore.ts";

/** A node, as far as the witness needs it. */
export interface WitnessedNode {
  /** Its name. */
  readonly name: string;
  /** Its UID. */
  readonly uid: string;
  /** The ids of the clients that may run on it, without dashes and in lower case where they are UUIDs. */
  readonly ids: readonly string[];
  /** Its boot; undefined where its kubelet has not reported it. */
  readonly bootId?: string;
}

/** Options of {@link Witness}. */
export interface WitnessOptions {
  /** The holds of all groups. */
  readonly holders: () => Iterable<Holder>;
  /** The turns that are over, of all groups. */
  readonly turns: () => Iterable<{ readonly holder: Holder; readonly released: number }>;
  /** The time of the locks, in milliseconds since the epoch. */
  readonly now: () => number;
  /** Whether what the replica knows of the locks is complete. */
  readonly isInStep: () => boolean;
  /** Is told of a reboot without a slot. Must not throw. */
  readonly rebooted: (node: WitnessedNode) => void;
}

/** How many nodes are remembered. */
const MAX_NODES = 10_000;

/** How long after the end of a turn the node may still show its reboot for the first time, in milliseconds. */
const LATE_MS = 10 * 60_000;

/** See the module. */
export class Witness {
  readonly #options: WitnessOptions;
  /** The last boot of each node, by UID. */
  readonly #boots = new Map<string, string>();

  /** Makes one that has seen nothing yet. */
  constructor(options: WitnessOptions) {
    this.#options = options;
  }

  /** A node is new or has changed. */
  nodeChanged(node: WitnessedNode): void {
    const { uid, bootId } = node;
    if (bootId === undefined) return;
    const before = this.#boots.get(uid);
    if (before === bootId) return;
    this.#boots.set(uid, bootId);
    if (this.#boots.size > MAX_NODES) this.#boots.delete(this.#boots.keys().next().value!);
    const { isInStep, rebooted } = this.#options;
    if (before === undefined || !isInStep() || this.#isExplained(node, before)) return;
    rebooted(node);
  }

  /** Whether the host of a node holds a slot, or held one for the reboot that ended the boot `before`. */
  #isExplained(node: WitnessedNode, before: string): boolean {
    const { holders, turns, now } = this.#options;
    for (const holder of holders()) if (isOn(holder, node)) return true;
    for (const { holder, released } of turns()) {
      if (!isOn(holder, node)) continue;
      if (holder.node?.bootId === before || now() - released < LATE_MS) return true;
    }
    return false;
  }
}

/** Whether a hold is about a node. */
function isOn({ id, node }: Pick<Holder, "id" | "node">, { uid, ids }: WitnessedNode): boolean {
  return node?.uid === uid || ids.includes(id) || ids.includes(id.replaceAll("-", "").toLowerCase());
}

/** All holders of some groups. */
export function* holdersOf(
  groups: ReadonlyMap<Group, { readonly state: { readonly holders: readonly Holder[] } }>,
): Generator<Holder> {
  for (const { state } of groups.values()) yield* state.holders;
}
