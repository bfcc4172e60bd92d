/**
 * What every typed call to the API server needs beside its parameters: the request options, and the values that some
 * statuses stand for. It makes no calls itself.
 *
 * @module
 */

import type { ConfigurationOptions } from "@kubernetes/client-node/dist/gen/configuration.js";
import { of } from "@kubernetes/client-node/dist/gen/rxjsStub.js";
import { CallRefusedError } from "../lock/errors.ts";
import { KubernetesError } from "./errors.ts";

/** The media type of a merge patch: it replaces the fields that it names and removes those that it sets to null. */
export const MERGE_PATCH = "application/merge-patch+json";

/** The media type of a JSON patch: a list of operations, among them tests of what the object must be like. */
export const JSON_PATCH = "application/json-patch+json";

/** What the callers of {@link callOptions} have set of `mayLeave`, by the request. */
const conditions = new WeakMap<object, () => boolean>();

/** Gets the condition of a request that has one: see {@link callOptions}. */
export function conditionOf(request: object): (() => boolean) | undefined {
  return conditions.get(request);
}

/**
 * Makes the options of one call of a typed API.
 *
 * @param signal Ends the call early, with the signal's reason.
 * @param contentType The media type of the request's body. @default the client library's choice
 * @param mayLeave See {@link "./transport.ts".Call.mayLeave}.
 * @returns The call's second argument; undefined where there is nothing to set.
 */
export function callOptions(
  signal: AbortSignal | undefined,
  contentType?: string,
  mayLeave?: () => boolean,
): ConfigurationOptions | undefined {
  if (signal === undefined && contentType === undefined && mayLeave === undefined) return undefined;
  return {
    middleware: [{
      pre(context) {
        if (signal !== undefined) context.setSignal(signal);
        if (contentType !== undefined) context.setHeaderParam("Content-Type", contentType);
        if (mayLeave !== undefined) conditions.set(context, mayLeave);
        return of(context);
      },
      post: (context) => of(context),
    }],
  };
}

/** How {@link valueOfStatus} words a refusal. */
export interface RefusalWording {
  /** What the API server refused, such as "the Lease". */
  readonly subject: string;
  /** What a person may check, by status, such as "does the namespace exist?". @default no hint */
  readonly hints?: Readonly<Record<number, string>>;
}

/**
 * Waits for a call and turns the statuses that its caller expects into values, so that an expected answer need not be
 * caught. For example, `valueOfStatus(call, { 404: undefined }, { subject: "the Node" })` reads an object that may be
 * absent.
 *
 * @param values The value of each expected status.
 * @returns What the call returns, or the value of its status.
 * @throws {CallRefusedError} The API server refused the call with another status, such as an admission policy's; the
 * cause is the {@link KubernetesError}.
 * @throws Whatever else the call throws, unchanged.
 */
export async function valueOfStatus<T, V = never>(
  call: Promise<T>,
  values: Readonly<Record<number, V>>,
  { subject, hints = {} }: RefusalWording,
): Promise<T | V> {
  try {
    return await call;
  } catch (error) {
    if (!(error instanceof KubernetesError)) throw error;
    if (error.status in values) return values[error.status] as V;
    const sentence = hints[error.status] === undefined ? error.message : `${error.message}: ${hints[error.status]}`;
    throw new CallRefusedError(`the API server refused ${subject}: ${sentence}`, sentence, { cause: error });
  }
}
