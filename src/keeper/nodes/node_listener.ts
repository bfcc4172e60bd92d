/**
 * Who is told what the watch of the Nodes shows.
 *
 * @module
 */

import type { NodeView } from "./node.ts";

/** Told by {@link "./node_watch.ts".NodeWatch}. The methods must not throw. */
export interface NodeListener {
  /** A node is new or has changed, or a new list shows it. Not called for a change that `learn` was told before. */
  changed?(node: NodeView): void;
  /** The watch is in step with the cluster. */
  synced?(): void;
  /** The watch falls behind. */
  lost?(error: unknown): void;
  /** A node's machine-id is malformed, so no Zincati id can be derived from it. Called once for each node. */
  malformed?(name: string): void;
  /** Several nodes have the same id. Called once for each set of nodes, as soon as it is seen. */
  shared?(id: string, names: readonly string[]): void;
}
