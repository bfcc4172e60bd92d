/**
 * How an account shows ids, times and pauses. Pure.
 *
 * @module
 */

import type { Pause } from "../lock/policy.ts";
import { printable } from "../lock/wording.ts";
import type { PauseAccount } from "./account.ts";

/** How much of a client's id is shown, in characters. */
const ID_SHOWN = 8;

/** The start of an id. Whoever knows a whole one can free its slot. */
export function shortId(id: string): string {
  return printable(id, ID_SHOWN);
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
