/**
 * The wire format of the FleetLock protocol: it decodes a request's body to a
 * client and its group, and knows the status and text of every kind of answer.
 * Refusals are described by the lock's table; this module adds the kinds of its
 * own. It decides nothing, and routes and limits belong to the handler.
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
import { type PreRebootOutcome, type RefusalKind, REFUSALS, type SteadyStateOutcome } from "../lock/outcomes.ts";
import type { Endpoint } from "../telemetry/metrics.ts";

/** An error that is not a refusal: the request is wrong, or something failed. */
export type FaultKind =
  | "missing_header"
  | "decode_error"
  | "invalid_id"
  | "invalid_group"
  | "not_found"
  | "method_not_allowed"
  | "request_timeout"
  | "body_too_large"
  | "api_refused"
  | "internal_error"
  | "too_many_streams"
  | "store_unavailable";

/** Every kind of error response: `kind` in its JSON. */
export type ErrorKind = FaultKind | RefusalKind;

/** Every kind of success, for logs, metrics and clients that read JSON. Others get only a line of text. */
export type SuccessKind = Exclude<PreRebootOutcome | SteadyStateOutcome, { kind: "refused" }>["kind"];

const PROTOCOL: readonly Endpoint[] = ["pre-reboot", "steady-state"];
const ALL: readonly Endpoint[] = [...PROTOCOL, "other"];

/** The kinds of error that are not refusals, with their HTTP status and the endpoints that can answer them. */
const FAULTS: { readonly [K in FaultKind]: { readonly status: number; readonly endpoints: readonly Endpoint[] } } = {
  missing_header: { status: 400, endpoints: PROTOCOL },
  decode_error: { status: 400, endpoints: ALL },
  invalid_id: { status: 400, endpoints: PROTOCOL },
  invalid_group: { status: 400, endpoints: PROTOCOL },
  not_found: { status: 404, endpoints: ["other"] },
  method_not_allowed: { status: 405, endpoints: ALL },
  request_timeout: { status: 408, endpoints: PROTOCOL },
  body_too_large: { status: 413, endpoints: PROTOCOL },
  // What the API server refuses is told like the server's own refusals: asking again helps once somebody changed
  // something.
  api_refused: { status: 423, endpoints: PROTOCOL },
  internal_error: { status: 500, endpoints: ALL },
  too_many_streams: { status: 503, endpoints: ["other"] },
  store_unavailable: { status: 503, endpoints: ALL },
};

/** Every kind of error response. */
const ERRORS: Readonly<Record<ErrorKind, { readonly status: number; readonly endpoints: readonly Endpoint[] }>> = {
  ...FAULTS,
  ...REFUSALS,
};

/** The successes, each with its line of plain text (the Go program's) and the endpoints that can answer it. */
const SUCCESSES: { readonly [K in SuccessKind]: { readonly text: string; readonly endpoints: readonly Endpoint[] } } = {
  granted: { text: "obtained reboot lease", endpoints: ["pre-reboot"] },
  renewed: { text: "retained reboot lease", endpoints: ["pre-reboot"] },
  released: { text: "steady-state confirmed", endpoints: ["steady-state"] },
  not_held: { text: "steady-state confirmed", endpoints: ["steady-state"] },
};

/** The HTTP status of every kind of error. None is 2xx or 3xx: Zincati reboots on any 2xx and follows redirects. */
export const ERROR_STATUS: Readonly<Record<ErrorKind, number>> = mapValues(ERRORS, (rule) => rule.status);

/** The line of plain text that each success answers. */
export const SUCCESS_TEXT: Readonly<Record<SuccessKind, string>> = mapValues(SUCCESSES, (rule) => rule.text);

/** The kinds of answer that an endpoint of the protocol, or any other path, can give. Pages answer "ok" besides. */
export function answerKinds(endpoint: Endpoint): (ErrorKind | SuccessKind)[] {
  const rules: Readonly<Record<ErrorKind | SuccessKind, { readonly endpoints: readonly Endpoint[] }>> = {
    ...ERRORS,
    ...SUCCESSES,
  };
  const kinds = Object.keys(rules) as (ErrorKind | SuccessKind)[];
  return kinds.filter((kind) => rules[kind].endpoints.includes(endpoint));
}

/** Makes a table with the same keys. */
function mapValues<K extends string, V, W>(
  table: Readonly<Record<K, V>>,
  map: (value: V) => W,
): Readonly<Record<K, W>> {
  const entries = Object.entries<V>(table).map(([key, value]) => [key, map(value)]);
  return Object.freeze(Object.fromEntries(entries));
}

/** What {@link decodeRequest} makes of a body. `value` is a sentence for a person. */
export type Decoded =
  | { readonly kind: "request"; readonly id: ClientId; readonly group: Group }
  | { readonly kind: "decode_error" | "invalid_id" | "invalid_group"; readonly value: string };

/** The part of an error's sentence that says what a body must look like. */
export const EXPECTED_BODY = 'expected {"client_params": {"id": "…", "group": "…"}} in UTF-8';

/** What a lenient decoder puts in place of bytes that are not UTF-8. */
const REPLACEMENT = "\ufffd";

/**
 * Decodes a request's body. It ignores unknown keys; if a key occurs twice, the
 * last one counts, as in the Go program. It refuses U+FFFD anywhere. Never throws.
 *
 * @param body The body as `JSON.parse` returns it, with U+FFFD for bytes that are not UTF-8. The caller bounds its
 * size.
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
  // Id and group are ASCII, so only unknown keys can contain U+FFFD.
  if (!(hasKeys(body as object, 1) && hasKeys(params, 2)) && JSON.stringify(body).includes(REPLACEMENT)) {
    return { kind: "decode_error", value: `the body is not UTF-8: ${EXPECTED_BODY}` };
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
 * Encodes the body of an error response, or of a success for a client that reads JSON.
 *
 * @param value A sentence for a person. Zincati writes that of an error to the host's journal.
 * @returns One line of JSON, `{"kind", "value"}`.
 */
export function encodeJson(kind: ErrorKind | SuccessKind, value: string): string {
  return `{"kind":"${kind}","value":${JSON.stringify(value)}}\n`;
}
