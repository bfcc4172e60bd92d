/**
 * The refusals of the modelled API server, worded as the real one words them.
 *
 * @module
 */

import type { Kind } from "./objects.ts";

/** A refusal, thrown where the server finds it. */
export class ApiStatus extends Error {
  /** The class's name. */
  override readonly name = "ApiStatus";

  /** Makes one. `details` are the Status object's. Some have no reason, which is an empty one here. */
  constructor(
    readonly status: number,
    readonly reason: string,
    message: string,
    readonly details?: {
      readonly causes?: readonly { readonly reason?: string; readonly message?: string; readonly field?: string }[];
      readonly retryAfterSeconds?: number;
    },
    readonly retryAfter?: number,
  ) {
    super(message);
  }

  /** The Status object. */
  get body(): unknown {
    const { status: code, reason, message, details } = this;
    const common = { apiVersion: "v1", kind: "Status", metadata: {}, status: "Failure", message };
    return { ...common, ...(reason !== "" && { reason }), details, code };
  }
}

function resource({ plural, group }: Pick<Kind, "plural" | "group">): string {
  return group === "" ? plural : `${plural}.${group}`;
}

/** There is no object of a name. */
export function notFound(kind: Pick<Kind, "plural" | "group">, key: string): ApiStatus {
  return new ApiStatus(404, "NotFound", `${resource(kind)} "${key.replace(/.*\//, "")}" not found`);
}

/** There is one of that name already. */
export function exists(kind: Pick<Kind, "plural" | "group">, name: string): ApiStatus {
  return new ApiStatus(409, "AlreadyExists", `${resource(kind)} "${name}" already exists`);
}

/** A precondition does not hold. */
export function conflict(
  kind: Kind,
  key: string,
  why = "the object has been modified; please apply your changes to the latest version and try again",
): ApiStatus {
  const name = key.replace(/.*\//, "");
  return new ApiStatus(409, "Conflict", `Operation cannot be fulfilled on ${resource(kind)} "${name}": ${why}`);
}

/** A version is no longer known. */
export function expired(version: string, current: number): ApiStatus {
  return new ApiStatus(410, "Expired", `too old resource version: ${version} (${current})`);
}

/** A version has not come yet. */
export function tooLarge(version: number, current: number): ApiStatus {
  return new ApiStatus(504, "Timeout", `Timeout: Too large resource version: ${version}, current: ${current}`, {
    causes: [{ reason: "ResourceVersionTooLarge", message: "Too large resource version" }],
    retryAfterSeconds: 1,
  }, 1);
}

/** A call is not valid. */
export function invalid(message: string, field: string): ApiStatus {
  return new ApiStatus(422, "Invalid", message, { causes: [{ reason: "FieldValueForbidden", message, field }] });
}

/** What the authorizer denies. */
export interface Denied {
  readonly verb: string;
  readonly kind: Pick<Kind, "plural" | "group">;
  readonly subresource?: string;
  readonly namespace?: string;
  readonly name?: string;
}

/** The authorizer denies a call. */
export function forbidden({ verb, kind, subresource, namespace, name }: Denied): ApiStatus {
  const { plural, group } = kind;
  const what = subresource === undefined ? plural : `${plural}/${subresource}`;
  const subject = name === undefined ? resource(kind) : `${resource(kind)} "${name}"`;
  const where = namespace === undefined ? "at the cluster scope" : `in the namespace "${namespace}"`;
  return new ApiStatus(
    403,
    "Forbidden",
    `${subject} is forbidden: User "system:serviceaccount:ops:fleetlock" cannot ${verb} resource "${what}" ` +
      `in API group "${group}" ${where}`,
  );
}
