/**
 * The parts of a server that need a Kubernetes cluster: the connection to it, the
 * node keeper that drains its nodes, and the Events that tell its users what the
 * server does. It wires them together and decides nothing.
 *
 * @module
 */

import type { Logger } from "@logtape/logtape";
import type { Config, DrainConfig, GivenText } from "../config/config.ts";
import { ConfigError } from "../config/config_error.ts";
import { KubernetesNodeKeeper, type NodeKeeperOptions } from "../keeper/node_keeper.ts";
import { connectKubernetes, type ConnectOptions, type KubernetesClient } from "../kubernetes/client.ts";
import { ClusterEvents } from "../kubernetes/events.ts";
import { type LabelSelector, parseLabelSelector } from "../kubernetes/label_selector.ts";
import type { PermissionMonitor } from "../kubernetes/permission_monitor.ts";
import type { Clock } from "../lock/clock.ts";
import type { Group } from "../lock/identity.ts";
import type { LockObserver } from "../lock/lock_service.ts";
import { type LockStore, readHolder } from "../lock/lock_store.ts";
import { printableId } from "../lock/wording.ts";
import { leaseName } from "../stores/lease/codec.ts";
import type { HolderAccount } from "../status/account.ts";
import type { Turn } from "../status/memory.ts";
import type { WitnessedNode } from "../status/witness.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import { skipWarner } from "./policies.ts";

/**
 * Connects to the cluster that a configuration names. An API server that does not
 * answer is not an error: the client connects at its first call.
 *
 * @param connection Options of the connection that take precedence over the configuration.
 * @throws {ConfigError} The access to the cluster is not configured correctly.
 */
export function connectCluster(config: Config, connection?: Partial<ConnectOptions>): Promise<KubernetesClient> {
  return connectKubernetes({ ...config.kubernetes, concurrency: config.kubeConcurrency, ...connection });
}

/** What {@link startDraining} builds on. The caller owns all of it. */
export interface DrainingParts {
  /** The connection to the cluster. */
  readonly client: KubernetesClient;
  /** Where the locks are stored. */
  readonly store: LockStore;
  /** How to drain nodes. */
  readonly drain: DrainConfig;
  /** Whether to keep the Nodes' labels, by which the policies choose the nodes of a group. */
  readonly keepsLabels: boolean;
  /** Selects pods that drains leave on the node; undefined for none. */
  readonly skip: LabelSelector | undefined;
  /** Knows which permissions are missing. */
  readonly permissions: Pick<PermissionMonitor, "missingForDrain">;
  /** The name of the server's own pod, which stays on its node; undefined outside a pod. */
  readonly podName?: string;
  /** Is told of each node that is new or has changed. Must not throw. */
  readonly nodeChanged?: (node: WitnessedNode) => void;
  /** Counts drains and evictions. */
  readonly metrics: Metrics;
  /** Gets the node keeper's records. */
  readonly logger: Logger;
  /** Time for the node keeper and the Events. */
  readonly clock: Clock;
  /** Returns a number from 0 (inclusive) to 1 (exclusive), for jitter. */
  readonly random: () => number;
  /** How Nodes are read that the watch may not have seen. */
  readonly freshNodes?: NodeKeeperOptions["freshNodes"];
}

/** The draining of a cluster's nodes. Dispose of it to stop its drains, which any replica can resume. */
export interface Draining extends AsyncDisposable {
  /** Drains nodes for the lock service. */
  readonly keeper: KubernetesNodeKeeper;
  /** Sends Events about what happens to the locks. */
  readonly observer: LockObserver;
  /** Tells in log and metrics that a node rebooted although its host held no slot. */
  rebootedUnheld(node: WitnessedNode): void;
  /** Tells in the log that a host came back with the image that it had before. */
  cameBackSame(group: Group, turn: Turn): void;
  /** Tells in log and Events that a hold is stuck. */
  stuck(group: Group, holder: HolderAccount): void;
}

/** Builds the node keeper and starts it. */
export function startDraining(parts: DrainingParts): Draining {
  const { client, store, drain, skip, keepsLabels, permissions, podName, metrics, logger, clock, random } = parts;
  const stack = new AsyncDisposableStack();
  const events = stack.use(
    new ClusterEvents(client, {
      instance: podName ?? "fleetlock",
      onFailure: (error) => logger.warning("cannot send events", { error }),
      clock: client.clock,
    }),
  );
  const drains = metrics.addDrains();
  const keeper = stack.use(
    new KubernetesNodeKeeper(client, {
      drainOptions: {
        concurrency: drain.concurrency,
        timeoutMs: drain.timeoutMs,
        onTimeout: drain.onTimeout,
        pods: {
          unmanaged: drain.unmanaged,
          emptyDir: drain.emptyDir,
          skip,
          self: podName ? { namespace: client.namespace, name: podName } : undefined,
        },
      },
      waitReady: drain.releaseWaitReady,
      keepsLabels,
      permissions,
      readHolder: (id, group) => readHolder(store, id, group),
      log: logger,
      events,
      observer: drains,
      nodeChanged: nodeListener(parts),
      freshNodes: parts.freshNodes,
      clock,
      random,
    }),
  );
  // The keeper runs until it is disposed of, and its disposal waits for the end of the run.
  keeper.run();
  return {
    keeper,
    observer: eventObserver(events),
    rebootedUnheld({ name, ids }) {
      drains.unheldReboot();
      logger.warning("a node has rebooted although its host held no slot", { node: name, ids });
    },
    cameBackSame(group, { holder: { id, node }, image }) {
      const message = "a host has come back from its reboot with the image that it had before";
      logger.warning(message, { group, id, node: node?.name, image });
    },
    stuck: (group, holder) => reportStuck(group, holder, logger, events),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** Makes what is told of each node that is new or has changed. */
function nodeListener({ nodeChanged, logger }: Pick<DrainingParts, "nodeChanged" | "logger">) {
  const warn = skipWarner(logger);
  return (node: WitnessedNode & Parameters<typeof warn>[0]) => {
    nodeChanged?.(node);
    warn(node);
  };
}

/** Tells of a hold that has been in its stage for too long. */
function reportStuck(
  group: Group,
  { id, node, stage, since, stageSince }: HolderAccount,
  log: Logger,
  events: ClusterEvents,
) {
  log.warning("a hold is stuck", { group, id, node, stage, since, stage_since: stageSince });
  const note = `The reboot of ${id} in group ${group} is stuck: ${stage} since ${stageSince ?? since}`;
  const subject = node === undefined || stage === "node-gone"
    ? { kind: "Lease" as const, name: leaseName(group) }
    : { kind: "Node" as const, name: node };
  events.record(subject, "LockStuck", note, true);
}

/**
 * Sends an Event about the group's Lease for each grant, each release, each slot that was yielded and each that was
 * freed because its Node is gone; and about a client's Node for a grant although its group's rules spoke against it.
 */
function eventObserver(events: ClusterEvents): LockObserver {
  return {
    granted(group, { id, node }) {
      const note = `Reboot slot of group "${group}" granted to ${printableId(node?.name ?? id)}`;
      events.record({ kind: "Lease", name: leaseName(group) }, "LockGranted", note);
    },
    released(group, { id, node }) {
      const note = `Reboot slot of group "${group}" released by ${printableId(node?.name ?? id)}`;
      events.record({ kind: "Lease", name: leaseName(group) }, "LockReleased", note);
    },
    yielded(group, { id, node }, cause, deferral) {
      const why = cause === "paused" ? "the group is paused with its drains" : "its drain has timed out";
      const until = deferral === undefined ? "" : `; it waits until ${new Date(deferral.until).toISOString()}`;
      const note = `Reboot slot of group "${group}" yielded by ${
        printableId(node?.name ?? id)
      }, because ${why}${until}`;
      events.record({ kind: "Lease", name: leaseName(group) }, "LockYielded", note, true);
    },
    releasedGone(group, { id, node }) {
      const note = `Reboot slot of group "${group}" of ${
        printableId(node?.name ?? id)
      } freed, because its Node is gone`;
      events.record({ kind: "Lease", name: leaseName(group) }, "NodeGoneReleased", note, true);
    },
    grantedDespite(group, { id, node }, ignored) {
      const subject = node === undefined
        ? { kind: "Lease" as const, name: leaseName(group) }
        : { kind: "Node" as const, name: node.name };
      const rules = ignored.map(({ rule, because }) => `${rule} (${because})`).join(", ");
      const note = `Reboot slot of group "${group}" granted to ${printableId(node?.name ?? id)} despite ${rules}`;
      events.record(subject, "PolicyIgnored", note, true);
    },
    skipLost(group, _id, { name }, rules) {
      const note = `Used up fleetlock.internal/skip (${rules.slice(0, 200)}) without a reboot slot of group "${group}"`;
      events.record({ kind: "Node", name }, "SkipLost", note, true);
    },
  };
}

/**
 * Parses the label selectors of pods that drains leave on the node.
 *
 * @returns Whether any of them matches an object's labels; undefined where there are none.
 * @throws {ConfigError} One is not a label selector. The message names the flag or the variable that gave it.
 */
export function parseSkipSelectors(given: readonly GivenText[]): LabelSelector | undefined {
  const selectors = given.filter(({ text }) => text !== "").map(({ text, source }) => {
    try {
      return parseLabelSelector(text);
    } catch (error) {
      const why = error instanceof Error ? error.message : error;
      throw new ConfigError(`${source}: ${why}`, { cause: error });
    }
  });
  return selectors.length === 0 ? undefined : (labels) => selectors.some((matches) => matches(labels));
}
