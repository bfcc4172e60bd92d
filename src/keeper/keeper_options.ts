/**
 * What the node keeper is given. Types only.
 *
 * @module
 */

import type { Clock } from "../lock/clock.ts";
import type { ClientId, Group } from "../lock/identity.ts";
import type { DrainOptions } from "./drain/drain_task.ts";
import type { MissingPermissions } from "./look.ts";
import type { FreshNodesOptions } from "./nodes/fresh_nodes.ts";
import type { NodeView } from "./nodes/node.ts";
import type { ReportTargets } from "./reports.ts";

/** Options of the node keeper. */
export interface NodeKeeperOptions extends ReportTargets {
  /** How nodes are drained. */
  readonly drainOptions?: DrainOptions;
  /** Whether a client keeps its slot until its node is ready. @default {true} */
  readonly waitReady?: boolean;
  /**
   * Reads, past every cache, whether a client holds a slot and since when (milliseconds since the epoch). Where it
   * throws, the answer is unknown.
   */
  readHolder(id: ClientId, group: Group): Promise<{ readonly since: number } | undefined>;
  /** Knows which permissions the server lacks, so that no slot is granted without them. */
  readonly permissions?: MissingPermissions;
  /** Whether to keep the labels of the nodes, for the policies. @default {false} */
  readonly keepsLabels?: boolean;
  /**
   * How long a node must have been seen not ready until another ready one of its id counts alone, in milliseconds.
   *
   * @default {120_000}
   */
  readonly ghostMs?: number;
  /** How Nodes are read that the watch may not have seen. */
  readonly freshNodes?: FreshNodesOptions;
  /** How often to check all cordons and running drains without a cause, in milliseconds. @default {60_000} */
  readonly sweepMs?: number;
  /** Is told of each node that is new or has changed. Must not throw. */
  readonly nodeChanged?: (node: NodeView) => void;
  /** Measures time that passes. @default {the client's clock} */
  readonly clock?: Clock;
  /** A number from 0 (inclusive) to 1 (exclusive), for jitter. @default {Math.random} */
  readonly random?: () => number;
}
