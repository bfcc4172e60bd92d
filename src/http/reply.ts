/**
 * Builds replies: status, headers and body for each kind of answer. It does not
 * know routes and decides nothing.
 *
 * @module
 */

import type { Group } from "../lock/identity.ts";
import { describeRefusal, type PolicyRefusal, type Refusal } from "../lock/outcomes.ts";
import type { Holder } from "../lock/semaphore.ts";
import { encodeJson, ERROR_STATUS, type ErrorKind, SUCCESS_TEXT, type SuccessKind } from "./fleetlock.ts";

const SECURITY_HEADERS = {
  "cache-control": "no-store",
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
  "x-content-type-options": "nosniff",
} as const;

/**
 * Builds a page of text, with status 200.
 *
 * @param contentType Its media type.
 */
export function textReply(text: string, contentType = "text/plain; charset=utf-8"): Response {
  return new Response(text, { headers: { "content-type": contentType, ...SECURITY_HEADERS } });
}

/**
 * Builds an error response, with the status of its kind.
 *
 * @param value A sentence for a person.
 * @param headers Added to those that every error response has.
 */
export function errorReply(kind: ErrorKind, value: string, headers?: Readonly<Record<string, string>>): Response {
  return new Response(encodeJson(kind, value), {
    status: ERROR_STATUS[kind],
    headers: { "content-type": "application/json", ...SECURITY_HEADERS, ...headers },
  });
}

// Cloning a response is much cheaper than building one, most of which is its headers.
const SUCCESSES = mapSuccesses((_kind, text) => textReply(`${text}\n`));
const JSON_SUCCESSES = mapSuccesses((kind, text) => textReply(encodeJson(kind, text), "application/json"));

function mapSuccesses(build: (kind: SuccessKind, text: string) => Response): Readonly<Record<SuccessKind, Response>> {
  const entries = Object.entries(SUCCESS_TEXT).map(([kind, text]) => [kind, build(kind as SuccessKind, text)]);
  return Object.fromEntries(entries);
}

/**
 * Builds the reply to a request that succeeded.
 *
 * @param asJson Whether the text is in JSON, as in an error, instead of plain.
 */
export function successReply(kind: SuccessKind, asJson = false): Response {
  return (asJson ? JSON_SUCCESSES : SUCCESSES)[kind].clone();
}

/** The last reply for each list of holders, since every waiting host of a fleet gets the same one. */
const HELD = new WeakMap<
  readonly Holder[],
  { readonly second: number; readonly slots: number; readonly reply: Response }
>();

/**
 * Builds the reply to a refused request.
 *
 * @param now Milliseconds since the epoch. The age of a hold is correct to the second.
 */
export function refusalReply(refusal: Refusal, group: Group, now: number): Response {
  if ("reasons" in refusal) return policyReply(refusal, group, now);
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

/** The reply to each refusal by policies. All hosts that wait for the same thing share the refusal. */
const BY_POLICY = new WeakMap<PolicyRefusal, Response>();

function policyReply(refusal: PolicyRefusal, group: Group, now: number): Response {
  let reply = BY_POLICY.get(refusal);
  if (reply === undefined) {
    reply = errorReply(refusal.kind, describeRefusal(refusal, group, now));
    BY_POLICY.set(refusal, reply);
  }
  return reply.clone();
}
