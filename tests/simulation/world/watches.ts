/**
 * Watches of the modelled API server: from a version, from now, and with all objects first (WatchList). This file
 * decides what a watch shows and in which order; when that arrives is the network's.
 *
 * @see https://kubernetes.io/docs/reference/using-api/api-concepts/#streaming-lists
 * @module
 */

import { metadataOf, selects, wantsMetadata } from "./lists.ts";
import type { Kind, Stored } from "./objects.ts";
import { expired, invalid, tooLarge } from "./status.ts";
import type { Change, Store } from "./store.ts";

/** What a watch shows. */
export interface WatchRequest {
  readonly kind: Kind;
  /** How long it stays open, in milliseconds. */
  readonly windowMs: number;
  /** Whether it shows bookmarks. */
  readonly hasBookmarks: boolean;
  /** The version that it begins after. What is not later is not shown, even where the version is one of the future. */
  readonly from: number;
  /** What it shows at once. */
  readonly first: readonly Stored[];
  /** Whether it shows all objects first (WatchList). */
  readonly isList: boolean;
  /** Whether its version is forgotten, so that it ends after a line that says so. */
  readonly isExpired: boolean;
  /** What it shows of a change; undefined for nothing. */
  shown(change: Change): Stored | undefined;
  /** A bookmark of a version. */
  bookmark(revision: number, isEndOfList?: boolean): Stored;
}

/** Reads a watch's parameters. @throws {ApiStatus} They are not valid. */
export function watchRequest(
  store: Store,
  kind: Kind,
  namespace: string | undefined,
  parameters: URLSearchParams,
  accept: string,
  hasWatchList: boolean,
): WatchRequest {
  const matches = selects(namespace, parameters);
  const view = wantsMetadata(accept) ? metadataOf : (object: Stored) => object;
  const hasBookmarks = parameters.get("allowWatchBookmarks") === "true";
  const from = Number(parameters.get("resourceVersion") || 0);
  const shown = (change: Change): Stored | undefined => {
    // After a restore of etcd, versions come again that the client of this watch has seen in another history.
    if (change.revision <= from) return undefined;
    const isMatch = change.type !== "DELETED" && matches(change.object);
    const wasMatch = change.before !== undefined && matches(change.before);
    if (!isMatch && !wasMatch) return undefined;
    const type = !isMatch ? "DELETED" : !wasMatch ? "ADDED" : "MODIFIED";
    return { type, object: view(change.object) };
  };
  const bookmark = (revision: number, isEndOfList = false): Stored => {
    const annotations = { "k8s.io/initial-events-end": "true" };
    const metadata = { resourceVersion: `${revision}`, creationTimestamp: null, ...(isEndOfList && { annotations }) };
    return { type: "BOOKMARK", object: { apiVersion: kind.apiVersion, kind: kind.kind, metadata } };
  };
  const windowMs = Number(parameters.get("timeoutSeconds") || 1_800) * 1_000;
  const first = firstOf(store, kind, parameters, hasWatchList, hasBookmarks, shown, bookmark, (object) => {
    return matches(object) ? { type: "ADDED", object: view(object) } : undefined;
  });
  const isExpired = first[0]?.type === "ERROR";
  const isList = parameters.has("sendInitialEvents");
  const shownOf = isExpired ? () => undefined : shown;
  return { kind, windowMs, hasBookmarks, from, first, isList, isExpired, shown: shownOf, bookmark };
}

function firstOf(
  store: Store,
  kind: Kind,
  parameters: URLSearchParams,
  hasWatchList: boolean,
  hasBookmarks: boolean,
  shown: (change: Change) => Stored | undefined,
  bookmark: (revision: number, isEndOfList: boolean) => Stored,
  added: (object: Stored) => Stored | undefined,
): Stored[] {
  const version = parameters.get("resourceVersion") ?? "";
  const all = () => store.list(kind.plural).map(added).filter((event) => event !== undefined);
  if (parameters.has("sendInitialEvents")) {
    if (!hasWatchList) {
      const message = "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled";
      throw invalid(
        `ListOptions.meta.k8s.io "" is invalid: sendInitialEvents: Forbidden: ${message}`,
        "sendInitialEvents",
      );
    }
    if (parameters.get("resourceVersionMatch") !== "NotOlderThan") {
      const message = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
      throw invalid(
        `ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: ${message}`,
        "resourceVersionMatch",
      );
    }
    if (Number(version || 0) > store.revision) {
      throw tooLarge(Number(version), store.revision);
    }
    if (parameters.get("sendInitialEvents") === "true") {
      return [...all(), ...(hasBookmarks ? [bookmark(store.revision, true)] : [])];
    }
    return [];
  }
  if (version === "") return all();
  if (version === "0") return all();
  const from = Number(version);
  // Once a watch is open, the API server tells of errors by a line.
  if (from < store.compacted) return [{ type: "ERROR", object: expired(version, store.compacted).body }];
  return store.since(from).filter((change) => change.kind === kind).map(shown).filter((event) => event !== undefined);
}
