/**
 * When each hold began, by the Leases as they were written. A backup may bring back an earlier hold, and an
 * administrator may break the record that says when it began.
 *
 * @module
 */

import { type History, leaseFact, recordIn } from "../chaos/nodes/history.ts";
import type { Stored } from "./world/objects.ts";

/** A hold. */
export interface Grant {
  /** The moment at which it appeared. */
  readonly moment: number;
  /** When it was granted, in milliseconds since the epoch. */
  at: number;
  /** How often somebody has changed its record by hand. It may then count as another hold. */
  edits: number;
  /**
   * When its record says that it was granted, by the clock of who granted it; undefined where no record ever said so.
   */
  readonly since?: number;
  /** Whether an edit by hand has taken away what it noted of its Node. */
  isNoteLost?: boolean;
  /** Whether its client got a yes. */
  hadYes?: true;
}

/** See the module. */
export class Grants {
  readonly #history: History;
  readonly #grants = new Map<string, Grant>();
  /** The last hold of each client that was seen. */
  readonly #last = new Map<string, Grant>();

  /** Makes one that has seen nothing. */
  constructor(history: History) {
    this.#history = history;
  }

  /** The hold of a client; undefined where it has none. */
  of(group: string, id: string): Grant | undefined {
    return this.#grants.get(`${group}/${id}`);
  }

  /**
   * A hold appears.
   *
   * @param version The moment of that and its time, in milliseconds since the epoch.
   * @param isRestored Whether a backup has brought it back.
   */
  began(
    lease: Stored,
    group: string,
    id: string,
    { revision, at }: { readonly revision: number; readonly at: number },
    isRestored: boolean,
  ): void {
    const key = `${group}/${id}`;
    // The record may have been broken by hand before the backup. The program then knows the time from elsewhere.
    const last = isRestored ? this.#last.get(key) : undefined;
    const since = sinceOf(lease, id) ?? last?.since;
    const grant = { moment: revision, at: Math.min(since ?? Infinity, last?.at ?? at), edits: 0, since };
    this.#last.set(key, grant);
    this.#grants.set(key, grant);
  }

  /** Somebody has changed by hand what a Lease says of a hold. */
  edited(lease: Stored, group: string, id: string): void {
    const grant = this.of(group, id);
    if (grant === undefined) return;
    grant.edits++;
    // Where the record of the only holder is gone, the Lease still says when it was acquired.
    const isOnly = leaseFact(lease).holders.length === 1;
    const acquired = isOnly ? timeOf(lease.spec?.acquireTime) : undefined;
    grant.isNoteLost = !leaseFact(lease).noted.includes(id);
    grant.at = Math.min(grant.at, sinceOf(lease, id) ?? acquired ?? Infinity);
  }

  /** A hold has ended. @returns The hold. */
  ended(group: string, id: string): Grant | undefined {
    const grant = this.of(group, id);
    this.#grants.delete(`${group}/${id}`);
    return grant;
  }

  /** Notes that a backup forgets which holds had a yes. */
  forgetYes(): void {
    for (const grant of this.#grants.values()) delete grant.hadYes;
  }

  /**
   * The moment of the grant of a hold that a backup may have brought back: when a record with its time appeared first.
   */
  firstMomentOf(group: string, id: string): number | undefined {
    const { since } = this.of(group, id) ?? {};
    if (since === undefined) return undefined;
    return this.#history.leases.versions(group).find(({ fact }) => fact && sinceIn(fact.record, id) === since)
      ?.revision;
  }
}

function sinceOf(lease: Stored, id: string): number | undefined {
  return sinceIn(leaseFact(lease).record, id);
}

function sinceIn(records: string, id: string): number | undefined {
  return timeOf(recordIn(records, id)?.since);
}

function timeOf(text: string | undefined): number | undefined {
  const time = Date.parse(text ?? "");
  return Number.isNaN(time) ? undefined : time;
}
