/**
 * The faults of the Kubernetes API: turns an error response into one of the
 * project's errors. It makes no calls.
 *
 * @module
 */

import { UnavailableError } from "../lock/errors.ts";

/** The API server refused a call with a status that its caller may handle, such as 404 or 409. */
export class KubernetesError extends Error {
  /** The class's name. */
  override readonly name = "KubernetesError";

  /**
   * Creates an error.
   *
   * @param message The API server's own sentence.
   * @param status The HTTP status.
   * @param reason The `reason` of the API's Status object, such as "AlreadyExists"; empty where it has none.
   * @param causes The `reason` of each of the Status's causes, such as "DisruptionBudget".
   * @param retryAfterMs When to try again, in milliseconds, if the server said so.
   * @param causeMessages The `message` of each of the Status's causes, such as the one that names a disruption budget.
   */
  constructor(
    message: string,
    readonly status: number,
    readonly reason: string,
    readonly causes: readonly string[] = [],
    readonly retryAfterMs?: number,
    readonly causeMessages: readonly string[] = [],
  ) {
    super(message);
  }
}

/** Our credentials do not allow the call. The message names the permission to grant. */
export class ForbiddenError extends UnavailableError {
  /**
   * Creates an error.
   *
   * @param message What the API server said.
   * @param permission The missing permission.
   */
  constructor(message: string, readonly permission: Permission) {
    const sentence = `the server may not ${describePermission(permission)}`;
    const role = permission.namespace === undefined ? "ClusterRole" : "Role";
    super(`${sentence}: grant it in the ${role} (the API server said: ${message})`, { publicMessage: sentence });
  }
}

/** One permission of a Role or ClusterRole. */
export interface Permission {
  /** The verb, such as "get" or "update". */
  readonly verb: string;
  /** The API group, such as "coordination.k8s.io"; empty for the core group. */
  readonly group: string;
  /** The plural, such as "leases". */
  readonly resource: string;
  /** The subresource, such as "eviction" of pods. */
  readonly subresource?: string;
  /** The namespace; undefined for the whole cluster. */
  readonly namespace?: string;
}

/**
 * Describes a permission.
 *
 * @returns For example `update leases in namespace "ops"`.
 */
export function describePermission(permission: Permission): string {
  const resource = permission.subresource ? `${permission.resource}/${permission.subresource}` : permission.resource;
  const scope = permission.namespace ? ` in namespace "${permission.namespace}"` : "";
  return `${permission.verb} ${resource}${scope}`;
}

/** The parts of the API's Status object that we use. Each may be missing. */
export interface Status {
  /** A sentence for people. */
  message?: string;
  /** A word for programs. */
  reason?: string;
  /** The HTTP status. */
  code?: number;
  /** Details that some reasons have. */
  details?: { retryAfterSeconds?: number; causes?: { reason?: string; message?: string }[] };
}

/** The wording of every refusal by the API server's authorizer. */
const CANNOT = /cannot (\S+) resource "([^"/]+)(?:\/([^"]+))?" in API group "([^"]*)"(?: in the namespace "([^"]+)")?/;

/**
 * Makes the error of an error response.
 *
 * - 401, 429 (unless a disruption budget caused it), 5xx and 3xx:
 *   {@link UnavailableError}, whose cause is a {@link KubernetesError};
 * - 403 of the authorizer: {@link ForbiddenError};
 * - any other status, such as 404, 409, 410 and 422: {@link KubernetesError}.
 *
 * @param status The HTTP status.
 * @param retryAfter The Retry-After header.
 * @param body The body, usually a Status object in JSON.
 */
export function errorOf(
  status: number,
  retryAfter: string | null,
  body: string,
): UnavailableError | KubernetesError {
  return errorOfStatus(parseStatus(body), status, retryAfter);
}

/** Makes the error of a Status object, such as that of a watch's ERROR event. See {@link errorOf}. */
export function errorOfStatus(
  said: Status,
  status: number = said.code ?? 500,
  retryAfter: string | null = null,
): UnavailableError | KubernetesError {
  const message = said.message || `HTTP status ${status}`;
  const seconds = Number(retryAfter || said.details?.retryAfterSeconds || NaN);
  const retryAfterMs = seconds >= 0 ? seconds * 1000 : undefined;
  const causes = (said.details?.causes ?? []).map((cause) => cause.reason ?? "");
  const causeMessages = (said.details?.causes ?? []).map((cause) => cause.message ?? "");
  const error = new KubernetesError(message, status, said.reason ?? "", causes, retryAfterMs, causeMessages);
  if (status === 401) {
    return new UnavailableError(
      "the API server does not accept our credentials: check the service account's token or the kubeconfig's user " +
        `(it said: ${message})`,
      { cause: error, publicMessage: "the Kubernetes API server does not accept the server's credentials" },
    );
  }
  if (status === 403) {
    const found = CANNOT.exec(message);
    if (found !== null) {
      const [, verb = "", resource = "", subresource, group = "", namespace] = found;
      return new ForbiddenError(message, { verb, resource, subresource, group, namespace });
    }
  }
  if (status === 429 && !causes.includes("DisruptionBudget")) {
    return new UnavailableError(`the API server is overloaded: ${message}`, { cause: error, retryAfterMs });
  }
  if (status >= 500) {
    return new UnavailableError(`the API server failed: ${message}`, { cause: error, retryAfterMs });
  }
  if (status < 400) {
    return new UnavailableError(`the API server answered with status ${status}: is its address right?`, {
      cause: error,
    });
  }
  return error;
}

function parseStatus(body: string): Status {
  try {
    const parsed = JSON.parse(body);
    if (typeof parsed === "object" && parsed !== null) return parsed;
  } catch {
    // Not JSON, but a proxy's page, for example.
  }
  return { message: body.slice(0, 200) };
}

/**
 * Finds the message of the innermost cause of an error. The outer messages of
 * `fetch` do not say what went wrong.
 */
export function innermostMessage(error: unknown): string {
  let innermost = error;
  while (innermost instanceof Error && innermost.cause !== undefined) innermost = innermost.cause;
  return innermost instanceof Error ? innermost.message : String(innermost);
}
