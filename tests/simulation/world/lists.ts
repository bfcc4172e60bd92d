/**
 * Lists of the modelled API server: whole, in pages, and of metadata alone.
 *
 * @see https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks
 * @module
 */

import { keyOf, type Kind, type Stored } from "./objects.ts";
import { ApiStatus, expired, invalid, tooLarge } from "./status.ts";
import type { Store } from "./store.ts";

/** Where lists that were cut into pages go on, by their token: after which key, and at which version. */
export type Pages = Map<string, { readonly after: string; readonly revision: number }>;

/** Whether an object matches the selectors of a call. */
export function selects(namespace: string | undefined, parameters: URLSearchParams): (object: Stored) => boolean {
  const fields = termsOf(parameters.get("fieldSelector"));
  const labels = termsOf(parameters.get("labelSelector"));
  return (object) =>
    (namespace === undefined || object.metadata.namespace === namespace) &&
    fields.every(([path, value]) => (fieldOf(object, path) ?? "") === value) &&
    labels.every(([name, value]) => object.metadata.labels?.[name] === value);
}

function termsOf(selector: string | null): [string, string][] {
  if (!selector) return [];
  return selector.split(",").map((term) => {
    const [, name, value] = /^([^=!<>]+)==?([^=]*)$/.exec(term) ?? [];
    if (name === undefined) throw new ApiStatus(400, "BadRequest", `the model does not know the selector ${term}`);
    return [name, value!];
  });
}

function fieldOf(object: Stored, path: string): string | undefined {
  switch (path) {
    case "metadata.name":
      return object.metadata.name;
    case "metadata.namespace":
      return object.metadata.namespace;
    case "spec.nodeName":
      return object.spec?.nodeName;
  }
  throw new ApiStatus(400, "BadRequest", `field label not supported: ${path}`);
}

/** Whether a call asks for the metadata alone. */
export function wantsMetadata(accept: string): boolean {
  return /as=PartialObjectMetadata/.test(accept);
}

/** An object's metadata alone. */
export function metadataOf({ metadata }: Stored): Stored {
  return { kind: "PartialObjectMetadata", apiVersion: "meta.k8s.io/v1", metadata };
}

/** Answers a list. @throws {ApiStatus} Its parameters are not valid, or its continuation has expired. */
export function page(
  store: Store,
  pages: Pages,
  kind: Kind,
  namespace: string | undefined,
  parameters: URLSearchParams,
  accept: string,
  pageSize: number,
): Stored {
  const version = Number(parameters.get("resourceVersion") || 0);
  if (version > store.revision) throw tooLarge(version, store.revision);
  if (parameters.has("sendInitialEvents")) {
    const message = "sendInitialEvents is forbidden for list";
    throw invalid(
      `ListOptions.meta.k8s.io "" is invalid: sendInitialEvents: Forbidden: ${message}`,
      "sendInitialEvents",
    );
  }
  const token = parameters.get("continue");
  let items: readonly Stored[];
  let revision = store.revision;
  if (token) {
    const known = pages.get(token);
    if (known === undefined || known.revision < store.compacted) {
      throw new ApiStatus(410, "Expired", expired(token, store.revision).message);
    }
    // After a restore of etcd, the version of a token may be one of the future, or one of another history.
    if (known.revision > store.revision) throw tooLarge(known.revision, store.revision);
    const isLeft = ({ metadata: { namespace, name } }: Stored) => keyOf(kind, namespace, name) > known.after;
    ({ revision } = known);
    items = store.listAt(kind.plural, revision).filter(selects(namespace, parameters)).filter(isLeft);
  } else if (parameters.get("resourceVersionMatch") === "Exact") {
    if (version < store.compacted) throw new ApiStatus(410, "Expired", expired(`${version}`, store.compacted).message);
    items = store.listAt(kind.plural, version).filter(selects(namespace, parameters));
    revision = version;
  } else {
    items = store.list(kind.plural).filter(selects(namespace, parameters));
  }
  const asked = Number(parameters.get("limit") || 0);
  // Without a limit, a list comes whole.
  const limit = asked > 0 ? Math.min(asked, pageSize) : Infinity;
  const rest = items.slice(limit);
  const metadata: Stored = { resourceVersion: `${revision}` };
  if (rest.length > 0) {
    const next = `page-${revision}-${pages.size}`;
    const last = items[limit - 1]!.metadata;
    pages.set(next, { after: keyOf(kind, last.namespace, last.name), revision });
    metadata.continue = next;
    if (!parameters.get("fieldSelector") && !parameters.get("labelSelector")) metadata.remainingItemCount = rest.length;
  }
  const shown = items.slice(0, limit);
  if (wantsMetadata(accept)) {
    const list = { kind: "PartialObjectMetadataList", apiVersion: "meta.k8s.io/v1", metadata };
    return { ...list, items: shown.map((item) => ({ metadata: item.metadata })) };
  }
  // The API server leaves the kind out of the items.
  const bare = shown.map(({ apiVersion: _version, kind: _kind, ...item }) => item);
  return { kind: `${kind.kind}List`, apiVersion: kind.apiVersion, metadata, items: bare };
}
