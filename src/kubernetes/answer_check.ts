/**
 * Checks that an answer with a 2xx status holds what was asked for: the API
 * server may stand behind a proxy that answers for it. What is asked for follows
 * from the call's method and path. It makes no calls.
 *
 * @see https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-uris
 * @module
 */

import { parseJson } from "../lock/json.ts";
import { UnavailableError } from "../lock/errors.ts";

/** The kinds of the resources that the program uses. */
const KINDS: Readonly<Record<string, string>> = {
  events: "Event",
  leases: "Lease",
  namespaces: "Namespace",
  nodes: "Node",
  persistentvolumeclaims: "PersistentVolumeClaim",
  poddisruptionbudgets: "PodDisruptionBudget",
  pods: "Pod",
  services: "Service",
  selfsubjectaccessreviews: "SelfSubjectAccessReview",
  volumeattachments: "VolumeAttachment",
};

/** What a path of the API names. */
export interface ResourcePath {
  /** The API version, such as `v1` or `coordination.k8s.io/v1`. */
  readonly apiVersion: string;
  /** The kind of one object, such as "Lease". */
  readonly kind: string;
  /** The namespace; undefined for the whole cluster. */
  readonly namespace?: string;
  /** The object's name; undefined for the collection. */
  readonly name?: string;
  /** The subresource, such as "eviction". */
  readonly subresource?: string;
}

/** What {@link checkPage} checks a list for that was asked for objects' metadata alone, whatever their kind is. */
export const METADATA: ResourcePath = { apiVersion: "meta.k8s.io/v1", kind: "PartialObjectMetadata" };

/** The parts of an answer's object that are checked. */
interface Answered {
  readonly apiVersion?: unknown;
  readonly kind?: unknown;
  readonly metadata?: {
    readonly name?: unknown;
    readonly namespace?: unknown;
    readonly resourceVersion?: unknown;
    readonly continue?: unknown;
  };
  readonly status?: unknown;
  readonly items?: unknown;
}

/**
 * Reads a path of the API.
 *
 * @param url The path or the whole URL, with or without a query.
 * @returns Undefined for a path of none of the resources that the program uses.
 */
export function parseResourcePath(url: string): ResourcePath | undefined {
  const path = /\/(?:api\/(v1)|apis\/([^/]+\/[^/]+))\/(?:namespaces\/([^/]+)\/)?([^/]+)(?:\/([^/]+)(?:\/([^/]+))?)?$/;
  const found = path.exec(url.split("?", 1)[0]!);
  if (found === null) return undefined;
  const [, core, group, namespace, resource = "", name, subresource] = found;
  if (!Object.hasOwn(KINDS, resource)) return undefined;
  return {
    apiVersion: core ?? group!,
    kind: KINDS[resource]!,
    namespace: namespace && decodeURIComponent(namespace),
    name: name && decodeURIComponent(name),
    subresource,
  };
}

/**
 * Checks the answer to a call of a typed API.
 *
 * @param sent The body that was sent, if any. The answer to a create must have its name.
 * @param text The answer's body.
 * @throws {UnavailableError} The answer does not hold what was asked for.
 */
export function checkAnswer(method: string, url: string, sent: string | undefined, text: string): void {
  const path = parseResourcePath(url);
  if (path === undefined) throw new UnavailableError(`no check is known for answers to ${method} ${url}`);
  const answer = parse(text);
  if (path.subresource !== undefined) return checkSuccess(answer);
  // The answer to a delete is the object while it stops, and a Status where it is gone at once.
  if (method === "DELETE" && answer?.kind === "Status") return checkSuccess(answer);
  if (path.kind === "SelfSubjectAccessReview") return checkReview(path, answer);
  if (method === "GET" && path.name === undefined) return checkList(path, answer);
  checkObject(path, answer, path.name ?? nameOf(sent));
}

/**
 * Checks a list.
 *
 * @throws {UnavailableError} It is not a whole list of the objects of `path`.
 */
function checkList(path: ResourcePath, answer: unknown): void {
  if (checkPage(path, answer).next !== undefined) throw unexpected(`a whole list of ${path.kind} objects`);
}

/** Whether an answer calls itself a list of the objects of a path. */
export function isListOf({ apiVersion, kind }: ResourcePath, answer: unknown): boolean {
  const list = answer as Answered | null | undefined;
  return list?.apiVersion === apiVersion && list.kind === `${kind}List`;
}

/** A page of a list. */
export interface ListPage {
  /** Its objects. */
  readonly items: readonly unknown[];
  /** The version that it shows. */
  readonly version: string;
  /** The token that asks for the next page; undefined after the last one. */
  readonly next?: string;
}

/**
 * Checks a list, or a page of one.
 *
 * @throws {UnavailableError} It is not a list of the objects of `path`.
 */
export function checkPage(path: ResourcePath, answer: unknown): ListPage {
  const list = answer as Answered | null | undefined;
  const { resourceVersion, continue: next } = list?.metadata ?? {};
  // The API server writes an empty list of metadata as null.
  const items = list?.items === null && path.kind === METADATA.kind ? [] : list?.items;
  // It leaves the kind out of the items.
  const isList = isListOf(path, answer) && Array.isArray(items) && items.every((item) => isNamed(path, item));
  if (!isList || !isText(resourceVersion)) {
    throw unexpected(`a list of ${path.kind} objects`);
  }
  return { items, version: resourceVersion, next: isText(next) ? next : undefined };
}

/**
 * Checks an object.
 *
 * @param name The object's name. @default any
 * @throws {UnavailableError} It is not the object of `path`.
 */
export function checkObject(path: ResourcePath, answer: unknown, name: string | undefined = path.name): void {
  const object = answer as Answered | null | undefined;
  const isExpected = object?.apiVersion === path.apiVersion && object.kind === path.kind && isNamed(path, object) &&
    (name === undefined || object.metadata?.name === name);
  if (!isExpected) throw unexpected(name === undefined ? `a ${path.kind}` : `the ${path.kind} ${name}`);
}

function checkSuccess(answer: Answered | undefined): void {
  const isSuccess = answer?.apiVersion === "v1" && answer.kind === "Status" && answer.status === "Success";
  if (!isSuccess) throw unexpected("a Status that says Success");
}

function checkReview({ apiVersion, kind }: ResourcePath, answer: Answered | undefined): void {
  const status = answer?.status as { allowed?: unknown } | undefined;
  const isReview = answer?.apiVersion === apiVersion && answer.kind === kind && typeof status?.allowed === "boolean";
  if (!isReview) throw unexpected(`an answered ${kind}`);
}

function isNamed({ namespace }: ResourcePath, object: Answered | null | undefined): boolean {
  const { metadata } = object ?? {};
  return isText(metadata?.name) && isText(metadata.resourceVersion) &&
    (namespace === undefined || metadata.namespace === namespace);
}

function isText(value: unknown): value is string {
  return typeof value === "string" && value !== "";
}

function nameOf(sent: string | undefined): string | undefined {
  const name = sent === undefined ? undefined : parse(sent)?.metadata?.name;
  return isText(name) ? name : undefined;
}

function parse(text: string): Answered | undefined {
  return (parseJson(text) as Answered | null | undefined) ?? undefined;
}

function unexpected(what: string): UnavailableError {
  return new UnavailableError(`the answer is not ${what}: is the address that of the API server?`);
}
