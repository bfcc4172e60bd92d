/**
 * The modelled API server: it answers calls on its {@link Store}, one at a time, at the moment they arrive. It knows
 * HTTP paths and bodies, and nothing of connections, latency and faults.
 *
 * @module
 */

import type { Random } from "../../../src/simulator/random.ts";
import { PodDisruptions } from "./budgets.ts";
import { page, type Pages } from "./lists.ts";
import { keyOf, type Kind, KINDS, type Stored } from "./objects.ts";
import { jsonPatch, mergePatch, ownFields } from "./patch.ts";
import { ApiStatus, conflict, exists, forbidden, invalid, notFound } from "./status.ts";
import { Store } from "./store.ts";
import { type WatchRequest, watchRequest } from "./watches.ts";

/** A call as it arrives. */
export interface ApiCall {
  readonly method: string;
  /** The path and query. */
  readonly path: string;
  readonly accept: string;
  readonly body?: string;
  /** Who calls: a replica's name, or "kubectl". */
  readonly user: string;
}

/** An answer. */
export type ApiAnswer =
  | { readonly kind: "body"; readonly status: number; readonly body: string; readonly retryAfter?: number }
  | { readonly kind: "watch"; readonly watch: WatchRequest };

/** How the server is set up. */
export interface ApiOptions {
  /** The time, in milliseconds since the epoch. */
  now(): number;
  readonly random: Random;
  /** Whether it streams lists. */
  readonly hasWatchList: boolean;
  /** How many objects a page of a list has at most, whatever the call asks for. @default {Infinity} */
  readonly pageSize?: number;
  /** When a node's kubelet last renewed its Lease, in milliseconds since the epoch. */
  renewal(node: string): number | undefined;
}

const PATH = /^\/(?:api\/v1|apis\/([^/]+)\/v1)\/(?:namespaces\/([^/]+)\/)?([a-z]+)(?:\/([^/]+)(?:\/([a-z]+))?)?$/;

/** Events are not kept as other objects are: nothing in the simulation reads them. */
const EVENTS = { plural: "events", group: "events.k8s.io" };

/** The kinds whose status is a subresource. */
const HAS_STATUS: readonly string[] = ["nodes", "pods"];

/** See the module. */
export class ApiServer {
  readonly store: Store;
  readonly disruptions: PodDisruptions;
  /** What replicas may not do, such as "list pods". */
  readonly denied: Set<string> = new Set();
  /** Called for each eviction and deletion of a pod by a replica, before it takes effect. */
  onPodCall: (call: ApiCall, verb: "evict" | "delete", key: string, answer: "accepted" | ApiStatus) => void = () => {};
  /** Whose call is being answered; undefined between calls. */
  caller: string | undefined;
  /** Whether the next call for a further page of a list finds that etcd has forgotten its version. */
  expiresNextPage = false;
  /** Called when that happens. */
  onExpiredPage: () => void = () => {};
  readonly #options: ApiOptions;
  readonly #pages: Pages = new Map();
  readonly #events = new Map<string, Stored>();
  #serial = 0;

  /** Makes one over an empty store. */
  constructor(options: ApiOptions) {
    this.#options = options;
    this.store = new Store(options.now, options.random.fork());
    this.disruptions = new PodDisruptions(this.store);
  }

  /** Answers a call. Does not throw. */
  handle(call: ApiCall): ApiAnswer {
    this.caller = call.user;
    try {
      return this.#handle(call);
    } catch (error) {
      if (!(error instanceof ApiStatus)) throw error;
      return { kind: "body", status: error.status, body: JSON.stringify(error.body), retryAfter: error.retryAfter };
    } finally {
      this.caller = undefined;
    }
  }

  #handle(call: ApiCall): ApiAnswer {
    const [path, query = ""] = call.path.split("?", 2) as [string, string?];
    const found = PATH.exec(path);
    if (found === null) throw new ApiStatus(404, "", "the server could not find the requested resource");
    const [, group = "", namespace, plural = "", rawName, subresource] = found;
    const name = rawName && decodeURIComponent(rawName);
    const body = call.body === undefined ? undefined : JSON.parse(call.body);
    if (plural === "selfsubjectaccessreviews") return this.#review(body);
    if (plural === "events") {
      this.#authorize(call, EVENTS, name, subresource, false, namespace);
      return this.#event(call, namespace!, body, name);
    }
    const kind = KINDS[plural];
    if (kind === undefined || kind.group !== group) {
      throw new ApiStatus(404, "", "the server could not find the requested resource");
    }
    const parameters = new URLSearchParams(query);
    const isWatch = ["1", "true"].includes(parameters.get("watch") ?? "");
    this.#authorize(call, kind, name, subresource, isWatch, namespace);
    if (name === undefined && call.method === "GET") {
      if (isWatch) {
        const watch = watchRequest(this.store, kind, namespace, parameters, call.accept, this.#options.hasWatchList);
        return { kind: "watch", watch };
      }
      if (this.expiresNextPage && parameters.has("continue")) {
        this.expiresNextPage = false;
        this.onExpiredPage();
        for (const token of this.#pages.keys()) this.#pages.set(token, { after: "", revision: 0 });
      }
      const { pageSize = Infinity } = this.#options;
      return ok(page(this.store, this.#pages, kind, namespace, parameters, call.accept, pageSize));
    }
    const key = keyOf(kind, namespace, name ?? body?.metadata?.name);
    switch (`${call.method} ${subresource ?? ""}`) {
      case "GET ":
        return ok(this.#read(kind, key, namespace, name!));
      case "POST ":
        return ok(this.#create(call, kind, namespace, body), 201);
      case "PUT ":
        return ok(this.#replace(call, kind, key, body));
      case "GET status":
        if (!HAS_STATUS.includes(plural)) break;
        return ok(this.#read(kind, key, namespace, name!));
      case "PATCH status":
        if (!HAS_STATUS.includes(plural)) break;
        return ok(this.#patch(kind, key, { status: body.status }, parameters.get("fieldManager") ?? "unknown"));
      case "PATCH ":
        return ok(this.#patch(kind, key, body, parameters.get("fieldManager") ?? "unknown"));
      case "DELETE ":
        return ok(this.#delete(call, kind, key, body));
      case "POST eviction":
        return ok(this.#evict(call, key, body), 201);
    }
    if (subresource !== undefined) {
      throw new ApiStatus(404, "NotFound", "the server could not find the requested resource");
    }
    throw new ApiStatus(405, "MethodNotAllowed", "the server does not allow this method on the requested resource");
  }

  #authorize(
    call: ApiCall,
    kind: Pick<Kind, "plural" | "group">,
    name: string | undefined,
    subresource: string | undefined,
    isWatch: boolean,
    namespace: string | undefined,
  ): void {
    const verbs: Record<string, string> = { POST: "create", PUT: "update", PATCH: "patch", DELETE: "delete" };
    const verb = verbs[call.method] ?? (isWatch ? "watch" : name === undefined ? "list" : "get");
    const what = subresource === undefined ? kind.plural : `${kind.plural}/${subresource}`;
    if (this.denied.has(`${verb} ${what}`)) throw forbidden({ verb, kind, subresource, namespace, name });
  }

  #read(kind: Kind, key: string, namespace: string | undefined, name: string): Stored {
    if (kind.plural === "leases" && namespace === "kube-node-lease") return this.#kubeletLease(name);
    const object = this.store.get(kind.plural, key);
    if (object === undefined) throw notFound(kind, key);
    return object;
  }

  /** Kubelets renew their Leases without a change in the store, which nobody watches. */
  #kubeletLease(name: string): Stored {
    const renewed = this.#options.renewal(name);
    if (renewed === undefined) throw notFound(KINDS.leases!, name);
    const renewTime = new Date(renewed).toISOString().replace("Z", "000Z");
    return {
      apiVersion: "coordination.k8s.io/v1",
      kind: "Lease",
      metadata: { name, namespace: "kube-node-lease", resourceVersion: `${this.store.revision}` },
      spec: { holderIdentity: name, leaseDurationSeconds: 40, renewTime },
    };
  }

  #create(call: ApiCall, kind: Kind, namespace: string | undefined, body: Stored): Stored {
    const { resourceVersion, ...metadata } = body.metadata;
    if (resourceVersion !== undefined) {
      throw new ApiStatus(500, "", "resourceVersion should not be set on objects to be created");
    }
    const object = { ...body, metadata: { ...metadata, ...(kind.isNamespaced && { namespace }) } };
    return this.store.create(kind.plural, this.#managed(call, object));
  }

  #replace(call: ApiCall, kind: Kind, key: string, body: Stored): Stored {
    // Such a call would create a Lease, were it not for its version.
    if (this.store.get(kind.plural, key) === undefined) throw conflict(kind, key);
    return this.store.update(kind.plural, key, (object) => {
      const { resourceVersion, uid } = body.metadata;
      if (resourceVersion === undefined) throw invalid("metadata.resourceVersion: must be specified", "metadata");
      if (resourceVersion !== object.metadata.resourceVersion) throw conflict(kind, key);
      if (uid !== undefined && uid !== object.metadata.uid) {
        throw conflict(kind, key, `Precondition failed: UID in precondition: ${uid}, UID in object meta: …`);
      }
      const { creationTimestamp, deletionTimestamp } = object.metadata;
      const metadata = { ...body.metadata, uid: object.metadata.uid, creationTimestamp, deletionTimestamp };
      return this.#managed(call, { apiVersion: kind.apiVersion, kind: kind.kind, ...body, metadata });
    });
  }

  /** Notes when a Lease was written. */
  #managed(call: ApiCall, object: Stored): Stored {
    const time = this.#time();
    const managedFields = [{ manager: call.user, operation: "Update", time, fieldsType: "FieldsV1", fieldsV1: {} }];
    return { ...object, metadata: { ...object.metadata, managedFields } };
  }

  #patch(kind: Kind, key: string, body: Stored, manager: string): Stored {
    return this.store.update(kind.plural, key, (object) => {
      if (Array.isArray(body)) {
        const patched = jsonPatch(object, body);
        if (patched === undefined) {
          throw new ApiStatus(422, "Invalid", "the server rejected our request due to an error in our request");
        }
        return ownFields(object, patched, manager, this.#time());
      }
      const { resourceVersion, uid } = body.metadata ?? {};
      if (uid !== undefined && uid !== object.metadata.uid) {
        const why = `${kind.kind} "${key}" is invalid: metadata.uid: Invalid value: "${uid}": field is immutable`;
        throw invalid(why, "metadata.uid");
      }
      if (resourceVersion !== undefined && resourceVersion !== object.metadata.resourceVersion) {
        throw conflict(kind, key);
      }
      const patched = mergePatch(object, body);
      if (patched.spec?.unschedulable === false) delete patched.spec.unschedulable;
      if (JSON.stringify(patched) === JSON.stringify(object)) return object;
      return ownFields(object, patched, manager, this.#time());
    });
  }

  #delete(call: ApiCall, kind: Kind, key: string, body: Stored): Stored {
    const { preconditions = {}, gracePeriodSeconds, propagationPolicy } = body ?? {};
    const graceMs = kind.plural === "pods" ? (gracePeriodSeconds ?? 30) * 1000 : 0;
    // A call about an earlier pod of the name leaves this one alone.
    const isMeant = [undefined, this.store.get(kind.plural, key)?.metadata.uid].includes(preconditions.uid);
    if (kind.plural === "pods" && isMeant) this.onPodCall(call, "delete", key, "accepted");
    const object = this.store.delete(kind.plural, key, {
      ...preconditions,
      graceMs,
      isForeground: propagationPolicy === "Foreground",
    });
    if (kind.plural === "pods" || this.store.get(kind.plural, key) !== undefined) return object;
    return { apiVersion: "v1", kind: "Status", metadata: {}, status: "Success" };
  }

  #evict(call: ApiCall, key: string, body: Stored): Stored {
    let answer: "accepted" | ApiStatus = "accepted";
    try {
      const { preconditions, dryRun } = body?.deleteOptions ?? {};
      this.disruptions.evict(key, preconditions, dryRun?.includes("All"));
    } catch (error) {
      if (!(error instanceof ApiStatus)) throw error;
      answer = error;
      throw error;
    } finally {
      this.onPodCall(call, "evict", key, answer);
    }
    return { apiVersion: "v1", kind: "Status", metadata: {}, status: "Success", code: 201 };
  }

  #review(body: Stored): ApiAnswer {
    const { verb, resource, subresource } = body.spec.resourceAttributes;
    const what = subresource ? `${resource}/${subresource}` : resource;
    const allowed = !this.denied.has(`${verb} ${what}`);
    const version = { apiVersion: "authorization.k8s.io/v1", kind: "SelfSubjectAccessReview" };
    return ok({ ...version, metadata: {}, spec: body.spec, status: { allowed } }, 201);
  }

  /** Events are known by their names alone, and change no version of the store. */
  #event(call: ApiCall, namespace: string, body: Stored, name?: string): ApiAnswer {
    const key = `${namespace}/${name ?? body.metadata.name}`;
    const known = this.#events.get(key);
    if (call.method === "POST" && known !== undefined) throw exists(EVENTS, body.metadata.name);
    if (call.method !== "POST" && known === undefined) throw notFound(EVENTS, key);
    const metadata = { name: body.metadata?.name, ...known?.metadata, namespace, uid: "event" };
    const resourceVersion = `${this.store.revision + ++this.#serial}`;
    const version = { apiVersion: "events.k8s.io/v1", kind: "Event" };
    const event = { ...version, ...known, ...body, metadata: { ...metadata, resourceVersion } };
    this.#events.set(key, event);
    return ok(event, call.method === "POST" ? 201 : 200);
  }

  #time(): string {
    return `${new Date(this.#options.now()).toISOString().slice(0, 19)}Z`;
  }
}

/** The JSON of objects that have been sent, since most are sent to several replicas. */
const TEXTS = new WeakMap<object, string>();

/** The JSON of an object. */
export function textOf(object: object): string {
  let text = TEXTS.get(object);
  if (text === undefined) TEXTS.set(object, text = JSON.stringify(object));
  return text;
}

function ok(object: object, status = 200): ApiAnswer {
  return { kind: "body", status, body: textOf(object) };
}
