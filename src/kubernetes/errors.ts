/**
 * What can go wrong with the Kubernetes API, said once: turns an answer that is
 * no success into one of the project's errors. It makes no calls.
 *
 * @module
 */

import { UnavailableError } from "../lock/errors.ts";

/** The API server understood a call and said no, in a way that its caller may have an answer to. */
export class KubernetesError extends Error {
  /** The class's name. */
  override readonly name = "KubernetesError";

  /**
   * Makes one.
   *
   * @param status The HTTP status.
   * @param reason The `reason` of the API's Status object, such as "AlreadyExists"; empty where it gave none.
   * @param causes The `reason` of each of the Status's causes, such as "DisruptionBudget".
   * @param retryAfterMs When to try again, in milliseconds, where the server said so.
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

/** Our credentials do not allow the call. Names what a Role must add. */
export class ForbiddenError extends UnavailableError {
  /**
   * Makes one.
   *
   * @param message What the API server said.
   * @param permission What is missing.
   */
  constructor(message: string, readonly permission: Permission) {
    const sentence = `the server may not ${describePermission(permission)}`;
    const role = permission.namespace === undefined ? "ClusterRole" : "Role";
    super(`${sentence}: grant it in the ${role} (the API server said: ${message})`, { publicMessage: sentence });
  }
}

/** One thing that a Role can allow. */
export interface Permission {
  /** Such as "get" or "update". */
  readonly verb: string;
  /** The API group, such as "coordination.k8s.io"; empty for the core group. */
  readonly group: string;
  /** The plural, such as "leases". */
  readonly resource: string;
  /** Such as "eviction" of pods. */
  readonly subresource?: string;
  /** Undefined: cluster-wide. */
  readonly namespace?: string;
}

/**
 * Words for a permission.
 *
 * @returns For example `update leases in namespace "ops"`.
 */
export function describePermission(permission: Permission): string {
  const resource = permission.subresource ? `${permission.resource}/${permission.subresource}` : permission.resource;
  const scope = permission.namespace ? ` in namespace "${permission.namespace}"` : "";
  return `${permission.verb} ${resource}${scope}`;
}

/** The parts that we use of the API's Status object, none of them certain. */
export interface Status {
  /** A sentence. */
  message?: string;
  /** A word for programs. */
  reason?: string;
  /** The HTTP status. */
  code?: number;
  /** What some reasons have in addition. */
  details?: { retryAfterSeconds?: number; causes?: { reason?: string; message?: string }[] };
}

/** How the API server's authorizer words every refusal. */
const CANNOT = /cannot (\S+) resource "([^"/]+)(?:\/([^"]+))?" in API group "([^"]*)"(?: in the namespace "([^"]+)")?/;

/**
 * Makes the error of an answer that is no success.
 *
 * - 401, 429 (of the server itself, not of a disruption budget), 5xx and 3xx:
 *   {@link UnavailableError}, its cause a {@link KubernetesError};
 * - 403 of the authorizer: {@link ForbiddenError};
 * - anything else, 404, 409, 410 and 422 say: {@link KubernetesError}.
 *
 * @param status The HTTP status.
 * @param retryAfter The header of that name.
 * @param body The answer's text, a Status object in JSON as a rule.
 */
export function errorOf(
  status: number,
  retryAfter: string | null,
  body: string,
): UnavailableError | KubernetesError {
  return errorOfStatus(parseStatus(body), status, retryAfter);
}

/** Makes the error of a Status object, as a watch's ERROR event has one. See {@link errorOf}. */
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
    // No JSON: a proxy's page, say.
  }
  return { message: body.slice(0, 200) };
}
