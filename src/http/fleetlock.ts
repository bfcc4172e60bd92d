/**
 * The wire format of the FleetLock protocol: a request's body to a client and
 * its group, an outcome to a status, a kind and a sentence. It owns the one
 * table of kinds; routes and limits are the handler's.
 *
 * @see https://coreos.github.io/zincati/development/fleetlock/protocol/
 * @module
 */

import {
  type ClientId,
  type Group,
  MAX_GROUP_LENGTH,
  MAX_ID_LENGTH,
  parseClientId,
  parseGroup,
} from "../lock/identity.ts";
import type { Refusal } from "../lock/lock_service.ts";
import type { PodLeft } from "../lock/node_keeper.ts";
import type { Holder } from "../lock/semaphore.ts";

/** What went wrong, or stands in the way: `kind` in the reply's JSON. */
export type ErrorKind =
  | "missing_header"
  | "decode_error"
  | "invalid_id"
  | "invalid_group"
  | "not_found"
  | "method_not_allowed"
  | "request_timeout"
  | "body_too_large"
  | "lock_held"
  | "contended"
  | "draining"
  | "drain_failed"
  | "node_not_ready"
  | "node_ambiguous"
  | "too_many_groups"
  | "internal_error"
  | "store_unavailable";

/** The kind of a success, for logs and metrics; on the wire it is only a line of text. */
export type SuccessKind = "granted" | "renewed" | "released" | "not_held";

/** Every kind of reply that is no success, with its HTTP status. None is 2xx or 3xx: Zincati reboots on any 2xx. */
export const ERROR_STATUS: Readonly<Record<ErrorKind, number>> = Object.freeze(
  {
    missing_header: 400,
    decode_error: 400,
    invalid_id: 400,
    invalid_group: 400,
    not_found: 404,
    method_not_allowed: 405,
    request_timeout: 408,
    body_too_large: 413,
    lock_held: 423,
    contended: 423,
    draining: 423,
    drain_failed: 423,
    node_not_ready: 423,
    node_ambiguous: 423,
    too_many_groups: 429,
    internal_error: 500,
    store_unavailable: 503,
  },
);

/** What a success answers, a line of plain text as the Go program's. */
export const SUCCESS_TEXT: Readonly<Record<SuccessKind, string>> = Object.freeze(
  {
    granted: "obtained reboot lease",
    renewed: "retained reboot lease",
    released: "steady-state confirmed",
    not_held: "steady-state confirmed",
  },
);

/** A request's body, understood or not. */
export type Decoded =
  | { readonly kind: "request"; readonly id: ClientId; readonly group: Group }
  | { readonly kind: "decode_error" | "invalid_id" | "invalid_group"; readonly value: string };

/** What a body that is no JSON is told, and one of another shape. */
export const EXPECTED_BODY = 'expected {"client_params": {"id": "…", "group": "…"}} in UTF-8';

/** What stands for bytes that are no UTF-8 in text that was read all the same. */
const REPLACEMENT = "\ufffd";

/**
 * Decodes a request's body. Unknown keys are passed over, and of a key that
 * stood there twice, the last counts, as in the Go program; U+FFFD is refused
 * anywhere. Never throws.
 *
 * @param body The body as `JSON.parse` makes it, with U+FFFD where its bytes are no UTF-8; the caller bounds its size.
 */
export function decodeRequest(body: unknown): Decoded {
  const params = ownProperty(body, "client_params");
  if (typeof params !== "object" || params === null || Array.isArray(params)) {
    return { kind: "decode_error", value: `the body has no object "client_params": ${EXPECTED_BODY}` };
  }
  const id = parseClientId(ownProperty(params, "id"));
  if (id === undefined) {
    return {
      kind: "invalid_id",
      value:
        `client_params.id must be a string of 1 to ${MAX_ID_LENGTH} printable ASCII characters without spaces and commas`,
    };
  }
  const group = parseGroup(ownProperty(params, "group"));
  if (group === undefined) {
    return {
      kind: "invalid_group",
      value:
        `client_params.group must be a string of 1 to ${MAX_GROUP_LENGTH} characters of a-z, A-Z, 0-9, "." and "-"`,
    };
  }
  // Id and group are ASCII; only keys that we do not know can hold anything else.
  if (!(hasKeys(body as object, 1) && hasKeys(params, 2)) && JSON.stringify(body).includes(REPLACEMENT)) {
    return { kind: "decode_error", value: `the body is no UTF-8: ${EXPECTED_BODY}` };
  }
  return { kind: "request", id, group };
}

function hasKeys(object: object, count: number): boolean {
  return Object.keys(object).length === count;
}

function ownProperty(object: unknown, name: string): unknown {
  return typeof object === "object" && object !== null && Object.hasOwn(object, name)
    ? (object as Record<string, unknown>)[name]
    : undefined;
}

/**
 * Writes the body of a reply that is no success.
 *
 * @param value A sentence for a person: Zincati writes it to the host's journal.
 * @returns One line of JSON, `{"kind", "value"}`.
 */
export function encodeError(kind: ErrorKind, value: string): string {
  return `{"kind":"${kind}","value":${JSON.stringify(value)}}\n`;
}

/** How many holders a sentence names. */
const HOLDERS_NAMED = 3;

/** How many pods a sentence names. */
const PODS_NAMED = 5;

/**
 * Says why the answer is "not now".
 *
 * @param now Milliseconds since the epoch, for the age of the holders.
 */
export function describeRefusal(refusal: Refusal, group: Group, now: number): string {
  switch (refusal.kind) {
    case "lock_held": {
      const { holders, slots } = refusal;
      const whose = slots === 1 && holders.length === 1
        ? `reboot slot of group "${group}" is`
        : `all ${slots} reboot slots of group "${group}" are`;
      return `${whose} held by ${list(holders, HOLDERS_NAMED, (holder) => describeHolder(holder, now))}`;
    }
    case "contended":
      return `the reboot slots of group "${group}" changed again and again meanwhile: try again`;
    case "too_many_groups":
      return `group "${group}" is new, and there are ${refusal.limit} groups already, which is as many as may be`;
    case "node_ambiguous":
      return `several nodes have this client's id: ${list(refusal.nodes, PODS_NAMED, (name) => `"${name}"`)}`;
    case "draining":
      return `node "${refusal.node}" is being drained${describePods(refusal.pods)}`;
    case "drain_failed":
      return `node "${refusal.node}" could not be drained${describePods(refusal.pods)}`;
    case "node_not_ready":
      return `node "${refusal.node}" is not ready yet: ${refusal.reason}`;
    default:
      return refusal satisfies never;
  }
}

function describeHolder(holder: Holder, now: number): string {
  // A holder written by hand, or by a clock gone mad, may have a time that is no date.
  if (!(Math.abs(holder.since) <= 8.64e15)) return holder.id;
  const since = new Date(holder.since).toISOString().slice(0, -5);
  return `${holder.id} since ${since}Z (${describeDuration(now - holder.since)})`;
}

function describePods(pods: readonly PodLeft[]): string {
  if (pods.length === 0) return "";
  const named = list(pods, PODS_NAMED, (pod) => `${pod.namespace}/${pod.name} (${pod.reason})`);
  return `: ${pods.length === 1 ? "1 pod is" : `${pods.length} pods are`} left: ${named}`;
}

/**
 * Says how long something has lasted, roughly.
 *
 * @param ms Milliseconds; less than 0, by clocks that disagree, counts as 0.
 * @returns Such as `40 s`, `12 min`, `3 h` or `5 d`.
 */
export function describeDuration(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

/** Names the first few, and how many the others are. */
function list<T>(items: readonly T[], most: number, describe: (item: T) => string): string {
  const named = items.slice(0, most).map(describe);
  const others = items.length - named.length;
  if (others > 0) named.push(others === 1 ? "1 other" : `${others} others`);
  const last = named.pop() ?? "nobody";
  return named.length === 0 ? last : `${named.join(", ")} and ${last}`;
}
