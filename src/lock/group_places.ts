/**
 * Keeps the number of groups within a limit, also while several new ones are about to be created. It reads and writes
 * no group itself.
 *
 * @module
 */

import type { GroupView } from "./group_view.ts";
import type { Group } from "./identity.ts";
import { ABSENT, type Versioned } from "./lock_store.ts";

/** See the module. */
export class GroupPlaces {
  /** How many groups may exist. */
  readonly limit: number;
  readonly #view: Pick<GroupView, "get">;
  readonly #list: () => Promise<ReadonlyMap<Group, Versioned>>;
  /** How many requests are about to create a group that the store does not have yet. */
  readonly #coming = new Map<Group, number>();

  /**
   * Reserves no place yet.
   *
   * @param view Tells which groups exist, as far as this process has seen.
   * @param list Lists all groups.
   */
  constructor(
    limit: number,
    view: Pick<GroupView, "get">,
    list: () => Promise<ReadonlyMap<Group, Versioned>>,
  ) {
    this.limit = limit;
    this.#view = view;
    this.#list = list;
  }

  /**
   * Reserves a place for a group. A new group counts from then on, although the
   * store gets it only later, so that a burst of new groups stays within the limit.
   *
   * @returns To be disposed of when the group is in the store, or will not be; undefined where the limit is reached.
   */
  async reserve(group: Group): Promise<Disposable | undefined> {
    if ((this.#view.get(group)?.version ?? ABSENT.version) !== ABSENT.version) return { [Symbol.dispose]() {} };
    const groups = await this.#list();
    const coming = [...this.#coming.keys()].filter((each) => !groups.has(each));
    const isNew = !groups.has(group) && !this.#coming.has(group);
    if (isNew && groups.size + coming.length >= this.limit) return undefined;
    const count = (change: number) => {
      const requests = (this.#coming.get(group) ?? 0) + change;
      if (requests > 0) this.#coming.set(group, requests);
      else this.#coming.delete(group);
    };
    count(1);
    return { [Symbol.dispose]: () => count(-1) };
  }
}
