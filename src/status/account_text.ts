/**
 * How an account shows ids, times and pauses. Pure.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { comparableId, isId128 } from "../lock/identity.ts";
import type { Pause } from "../lock/policy.ts";
import { printable, startOfId } from "../lock/wording.ts";
import type { ClientAccount, PauseAccount } from "./account.ts";

/** What the hash of a client begins with, so that it is no hash that is made elsewhere for another purpose. */
const HASH_DOMAIN = "fleetlock client 1";

/** How many hexadecimal digits of the hash tell hosts apart. */
const HASH_OF_HOST = 12;

/** How many digits tell other clients apart. */
const HASH_OF_OTHERS = 3;

/** How many hashes are kept, since each account needs the same ones again. */
const MAX_HASHES = 8_192;

const HASHES = new Map<string, string>();

/** A client as an account shows it. The group may be any text. */
export function clientAccount(group: string, id: string): ClientAccount {
  return { id: startOfId(id), hash: clientHash(group, id) };
}

/**
 * Hashes a client of a group: the first digits of the SHA-256 of a fixed text, the group and the id.
 *
 * The hash is public, and does not let a stranger free a slot. The id of a host has 122 random bits, as it is derived
 * from the machine-id. Whoever knows its first eight digits must still try 2^90 ids against the hash, and some 2^42 of
 * those fit it, each of which only a request could tell from the right one.
 *
 * An id that a person chose, such as `backup-job`, can be guessed, and a long hash would confirm each guess without a
 * request to the server. Nothing secret that all replicas share could key the hash. So it has only 12 bits where an id
 * does not have the form of a host's: a stranger learns from it no more than from three further digits, and one of
 * 4,096 pairs of such clients has the same hash.
 *
 * @returns 12 hexadecimal digits for an id with the form of a host's, and 3 for any other.
 */
export function clientHash(group: string, id: string): string {
  // Neither a group nor an id has a line feed.
  const key = `${group}\n${comparableId(id)}`;
  let hash = HASHES.get(key);
  if (hash === undefined) {
    const digits = isId128(id) ? HASH_OF_HOST : HASH_OF_OTHERS;
    hash = createHash("sha256").update(`${HASH_DOMAIN}\n${key}`).digest("hex").slice(0, digits);
    if (HASHES.size >= MAX_HASHES) HASHES.clear();
    HASHES.set(key, hash);
  }
  return hash;
}

/** Writes a time as RFC 3339. One that somebody wrote by hand may be outside the range of dates. */
export function timeText(ms: number): string {
  const most = 8.64e15;
  return new Date(Math.min(Math.max(ms, -most), most) || 0).toISOString();
}

/** A pause as the account shows it. */
export function pauseAccount({ reason, by, until }: Pause): PauseAccount {
  return {
    ...(reason !== undefined && { reason: printable(reason, 500) }),
    ...(by !== undefined && { by: printable(by, 100) }),
    ...(until !== undefined && { until: timeText(until) }),
  };
}
