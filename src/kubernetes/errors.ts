/**
 * The faults of the Kubernetes API: turns an error response into one of the
 * project's errors. It believes only the API's own Status objects: a page of a
 * proxy says nothing about the cluster, whatever its status is. It makes no calls.
 *
 * @module
 */

import { UnavailableError } from "../lock/errors.ts";

/** A call was not made: while it waited for its turn, its caller's reason for it went away. */
export class WithdrawnError extends UnavailableError {
  /** Creates the error. */
  constructor() {
    super("what a call to the API server was for had changed before its turn came");
  }
}

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
    const described = describePermission(permission);
    // A person who runs a command has rights of their own. What the API server said names who lacks it.
    super(
      `the permission to ${described} is missing: grant it in ${roleFor(permission)} (the API server said: ${message})`,
      {
        publicMessage: `the server may not ${described}`,
      },
    );
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

/**
 * The resources that are used in single namespaces. All others are used in the whole cluster. Only an operator's
 * commands use pods/proxy and services, in the server's namespace.
 */
const NAMESPACED = new Set(["leases", "events", "pods/proxy", "services"]);

/** The namespace of the Leases of kubelets, which the server reads as it reads Nodes. */
const NODE_LEASES = "kube-node-lease";

/**
 * Names the object in which to grant a permission, as the examples do. A refused call about a pod names the pod's
 * namespace, but the server needs the permission in every namespace.
 *
 * @returns `the ClusterRole`, or for example `the Role of namespace "ops"`.
 */
export function roleFor({ resource, subresource, namespace }: Permission): string {
  const whole = subresource === undefined ? resource : `${resource}/${subresource}`;
  return namespace !== undefined && namespace !== NODE_LEASES && NAMESPACED.has(whole)
    ? `the Role of namespace "${namespace}"`
    : "the ClusterRole";
}

/** The parts of the API's Status object that we use. Each may be missing. */
interface Status {
  /** A sentence for people. */
  message?: string;
  /** A word for programs. */
  reason?: string;
  /** The HTTP status. */
  code?: number;
  /** Details that some reasons have. */
  details?: { retryAfterSeconds?: number; causes?: { reason?: string; message?: string; field?: string }[] };
}

/** The wording of every refusal by the API server's authorizer. */
const CANNOT = /cannot (\S+) resource "([^"/]+)(?:\/([^"]+))?" in API group "([^"]*)"(?: in the namespace "([^"]+)")?/;

/**
 * Makes the error of an error response.
 *
 * - A body that is not a Status object: {@link UnavailableError} without a cause;
 * - 401, 404 with another reason than NotFound, 429 (unless a disruption budget caused it), 5xx and 3xx:
 *   {@link UnavailableError}, whose cause is a {@link KubernetesError};
 * - 403 of the authorizer: {@link ForbiddenError};
 * - any other status, such as 404, 409, 410 and 422: {@link KubernetesError}. A 422 because the object has another UID
 *   or resourceVersion than the call requires is made a 409.
 *
 * @param status The HTTP status.
 * @param retryAfter The Retry-After header.
 * @param body The body. Text that is not the API server's is not repeated in errors: it may quote our credentials.
 */
export function errorOf(
  status: number,
  retryAfter: string | null,
  body: string,
): UnavailableError | KubernetesError {
  let said: unknown;
  try {
    said = JSON.parse(body);
  } catch {
    // The page of a proxy, for example.
  }
  return errorOfStatus(said, status, retryAfter);
}

/**
 * Makes the error of a Status object, such as that of a watch's ERROR event. See {@link errorOf}.
 *
 * @param said The object. What is not a Status object is not believed.
 * @param status The HTTP status. @default the one in the object
 */
export function errorOfStatus(
  said: unknown,
  status?: number,
  retryAfter: string | null = null,
): UnavailableError | KubernetesError {
  if (!isStatus(said)) return notTheApiServers(status, retryAfterMs(retryAfter));
  const code = status ?? said.code ?? 500;
  const text = said.message ? String(said.message) : `HTTP status ${code}`;
  const message = oneLine(text);
  const causes = Array.isArray(said.details?.causes) ? said.details.causes : [];
  const error = new KubernetesError(
    message,
    code === 422 && isPrecondition(causes) ? 409 : code,
    said.reason ?? "",
    causes.map((cause) => cause.reason ?? ""),
    retryAfterMs(retryAfter, said.details?.retryAfterSeconds),
    causes.map((cause) => cause.message ?? ""),
  );
  return code === 403 ? forbidden(text, message) ?? error : faultOf(error) ?? error;
}

/** What a client hears of a 429. The store may be fine: what was refused may be a list of pods. */
const OVERLOADED = "the Kubernetes API server is overloaded: try again";

/** Makes the fault of a status that no caller can handle; undefined for the other statuses. */
function faultOf(error: KubernetesError): UnavailableError | undefined {
  const { status, message, causes, retryAfterMs } = error;
  if (status === 401) {
    return new UnavailableError(
      "the API server does not accept our credentials: check the service account's token or the kubeconfig's user " +
        `(it said: ${message})`,
      { cause: error, publicMessage: "the Kubernetes API server does not accept the server's credentials" },
    );
  }
  if (status === 404 && error.reason !== "NotFound") {
    return new UnavailableError(`the API server does not know the path of the call: ${message}`, { cause: error });
  }
  if (status === 429 && !causes.includes("DisruptionBudget")) {
    return new UnavailableError(`the API server is overloaded: ${message}`, {
      cause: error,
      retryAfterMs,
      publicMessage: OVERLOADED,
    });
  }
  if (status >= 500) {
    return new UnavailableError(`the API server failed: ${message}`, { cause: error, retryAfterMs });
  }
  if (status < 400) {
    return new UnavailableError(`the API server answered with status ${status}: is its address right?`, {
      cause: error,
    });
  }
  return undefined;
}

function forbidden(text: string, message: string): ForbiddenError | undefined {
  const found = CANNOT.exec(text);
  if (found === null) return undefined;
  const [, verb = "", resource = "", subresource, group = "", namespace] = found;
  return new ForbiddenError(message, { verb, resource, subresource, group, namespace });
}

/**
 * Makes the error of an answer that did not come from the API server. The API server itself answers 429 in plain text
 * while it is overloaded, and what stands before it answers 5xx while it is down.
 */
function notTheApiServers(status: number | undefined, retryAfterMs?: number): UnavailableError {
  if (status === 429) {
    return new UnavailableError("the API server is overloaded, or a proxy before it", {
      retryAfterMs,
      publicMessage: OVERLOADED,
    });
  }
  if (status !== undefined && status >= 500) {
    return new UnavailableError(
      `the API server does not answer: something before it answered with status ${status}`,
      { retryAfterMs },
    );
  }
  const which = status === undefined ? "" : ` with status ${status}`;
  return new UnavailableError(`the answer${which} is not the API server's: is the address right?`);
}

/** Whether a parsed body is the API's Status object. */
function isStatus(said: unknown): said is Status {
  if (typeof said !== "object" || said === null) return false;
  const { kind, apiVersion } = said as { kind?: unknown; apiVersion?: unknown };
  return kind === "Status" && apiVersion === "v1";
}

/** Whether an object was found invalid only because it is another one, or another version, than the call requires. */
function isPrecondition(causes: readonly { field?: string }[]): boolean {
  return causes.length > 0 &&
    causes.every(({ field }) => field === "metadata.uid" || field === "metadata.resourceVersion");
}

function retryAfterMs(header: string | null, seconds?: number): number | undefined {
  const asked = Number(header || seconds || NaN);
  return asked >= 0 ? asked * 1000 : undefined;
}

/** The longest text of others that an error repeats, in characters. */
const MAX_TEXT = 500;

/**
 * Makes a line out of the text of others, for errors and replies: without control characters and marks that change the
 * direction of text, and at most 500 characters long.
 */
export function oneLine(text: string): string {
  const line = text.slice(0, 4 * MAX_TEXT).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\s]+/gu, " ").trim();
  return line.length <= MAX_TEXT ? line : `${line.slice(0, MAX_TEXT - 1).trimEnd()}…`;
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
