/**
 * What replies look like: their status, headers and body, by what they say. It
 * knows no routes and decides nothing.
 *
 * @module
 */

import type { Group } from "../lock/identity.ts";
import type { Refusal } from "../lock/lock_service.ts";
import type { Holder } from "../lock/semaphore.ts";
import {
  describeRefusal,
  encodeError,
  ERROR_STATUS,
  type ErrorKind,
  SUCCESS_TEXT,
  type SuccessKind,
} from "./fleetlock.ts";

const SECURITY_HEADERS = {
  "cache-control": "no-store",
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
  "x-content-type-options": "nosniff",
} as const;

/**
 * Makes a page of text.
 *
 * @param contentType Its media type.
 */
export function textReply(text: string, contentType = "text/plain; charset=utf-8"): Response {
  return new Response(text, { headers: { "content-type": contentType, ...SECURITY_HEADERS } });
}

/**
 * Makes a reply that is no success, with the status of its kind.
 *
 * @param value A sentence for a person.
 * @param headers Beside those that every such reply has.
 */
export function errorReply(kind: ErrorKind, value: string, headers?: Readonly<Record<string, string>>): Response {
  return new Response(encodeError(kind, value), {
    status: ERROR_STATUS[kind],
    headers: { "content-type": "application/json", ...SECURITY_HEADERS, ...headers },
  });
}

// To clone a reply is much cheaper than to make it, most of which is its headers.
const SUCCESSES = Object.fromEntries(
  Object.entries(SUCCESS_TEXT).map(([kind, text]) => [kind, textReply(`${text}\n`)]),
) as Record<SuccessKind, Response>;

/** Makes the reply of a success. */
export function successReply(kind: SuccessKind): Response {
  return SUCCESSES[kind].clone();
}

/** The last reply about each group's holders: a fleet that waits asks the same thing again and again. */
const HELD = new WeakMap<
  readonly Holder[],
  { readonly second: number; readonly slots: number; readonly reply: Response }
>();

/**
 * Makes the reply of a refusal.
 *
 * @param now Milliseconds since the epoch; ages of holders are told as of the last full second.
 */
export function refusalReply(refusal: Refusal, group: Group, now: number): Response {
  if (refusal.kind !== "lock_held") return errorReply(refusal.kind, describeRefusal(refusal, group, now));
  const { holders, slots } = refusal;
  const second = Math.floor(now / 1000);
  let held = HELD.get(holders);
  if (held?.second !== second || held.slots !== slots) {
    held = { second, slots, reply: errorReply(refusal.kind, describeRefusal(refusal, group, now)) };
    HELD.set(holders, held);
  }
  return held.reply.clone();
}
