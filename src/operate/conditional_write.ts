/**
 * Changes a group's record for a person: reads it afresh, decides, and writes it
 * on the condition that nobody else has written in between. It decides nothing.
 *
 * @module
 */

import { UnavailableError } from "../lock/errors.ts";
import type { Group } from "../lock/identity.ts";
import type { LockStore, Versioned } from "../lock/lock_store.ts";
import type { GroupState } from "../lock/semaphore.ts";

/** How often a write is tried again after somebody else has written. */
const MAX_CONFLICTS = 10;

/**
 * Changes a group.
 *
 * @param decide Gets the group as just read. It returns the state to write, or what to return without a write.
 * @returns `written` with the new state, or what `decide` returned.
 * @throws {UnavailableError} The store does not answer. After a write that failed so, it is unknown whether it took
 * effect; a second try finds out.
 */
export async function changeGroup<T extends { readonly kind: string }>(
  store: LockStore,
  group: Group,
  decide: (found: Versioned) => { readonly kind: "write"; readonly next: GroupState } | T,
  signal?: AbortSignal,
): Promise<{ readonly kind: "written"; readonly before: GroupState; readonly state: GroupState } | T> {
  for (let conflicts = 0; conflicts <= MAX_CONFLICTS; conflicts++) {
    const found = await store.read(group, { signal });
    const decided = decide(found);
    if (decided.kind !== "write") return decided as T;
    const { next } = decided as { readonly next: GroupState };
    const written = await store.write(group, found, next, { signal });
    if (written !== "conflict") return { kind: "written", before: found.state, state: written.state };
  }
  throw new UnavailableError(`others change group "${group}" all the time: try again`);
}
