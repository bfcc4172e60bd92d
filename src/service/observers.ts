/**
 * Tells the metrics, the log and everybody else who wants to know what happens to
 * the locks. It decides nothing.
 *
 * @module
 */

import type { Logger } from "@logtape/logtape";
import type { Group } from "../lock/identity.ts";
import type { LockObserver } from "../lock/lock_service.ts";
import type { Pause } from "../lock/policy.ts";
import type { Metrics } from "../telemetry/metrics.ts";

/**
 * Reports the state of the store's watch, and what an operator should know of the locks, in metrics and log.
 *
 * @param now The time of the locks, in milliseconds since the epoch.
 */
export function lockObserver(metrics: Metrics, logger: Logger, now: () => number): LockObserver {
  return {
    synced() {
      metrics.setWatchSynced(true);
      logger.debug("the watch of the store is synchronized");
    },
    lost(error) {
      metrics.setWatchSynced(false);
      logger.warning("the watch of the store is interrupted", { error });
    },
    grantedWithoutNode(group, { id }) {
      metrics.grantedWithoutNode();
      logger.info("a slot is granted to a client whose id no Node has: nothing is drained", { id, group });
    },
    heldElsewhere(group, id, other) {
      const message = "a client reports for a group in which it holds nothing, and holds a slot of another one";
      logger.warning(`${message}: release that by hand if the client has moved`, { id, group, held_group: other });
    },
    refusedFor(reasons) {
      for (const { kind } of reasons) metrics.policyRefused(kind);
    },
    grantedDespite(group, { id, node }, ignored) {
      for (const { kind, because } of ignored) metrics.policyIgnored(kind, because);
      const rules = ignored.map(({ rule, because, sentence }) => ({ rule, because, sentence }));
      logger.warning("a slot is granted although rules speak against it", { id, group, node: node?.name, rules });
    },
    skipLost(group, id, { name }, rules) {
      const message = "a skip is used up, and the request that used it got no slot: set it again if it is still needed";
      logger.warning(message, { id, group, node: name, rules });
    },
    takenBack(group, { id, node }, { kind }) {
      const message = "a slot is given back at once: a rule spoke against it by the time it was written";
      logger.warning(message, { id, group, node: node?.name, kind });
    },
    yielded(group, { id, node }, cause, deferral) {
      metrics.yielded(cause);
      logger.warning("a host has yielded its slot: others come first", {
        id,
        group,
        node: node?.name,
        cause,
        ...(deferral && { until: new Date(deferral.until).toISOString(), count: deferral.count, pods: deferral.pods }),
      });
    },
    releasedGone(group, { id, node, since }) {
      metrics.releasedGone();
      const message = "a slot is freed: the Node of its host has been gone for the whole grace period";
      logger.warning(message, { id, group, node: node?.name, since: new Date(since).toISOString() });
    },
    pauseChanged(group, pause) {
      tellPause(logger, group, pause, now());
    },
  };
}

function tellPause(logger: Logger, group: Group, pause: Pause | undefined, now: number): void {
  if (pause === undefined) return logger.info("the pause of a group is lifted", { group });
  const { until, isUnreadable } = pause;
  const fields = { group, pause: { ...pause, ...(until !== undefined && { until: new Date(until).toISOString() }) } };
  if (until !== undefined && until <= now) logger.info("the pause of a group is over", fields);
  else logger[isUnreadable ? "error" : "warning"]("a group is paused", fields);
}

/** Tells several observers. */
export function tellAll(observers: readonly LockObserver[]): LockObserver {
  const told = new Map<string, ((...event: unknown[]) => void)[]>();
  for (const [event, tell] of observers.flatMap((observer) => Object.entries(observer))) {
    told.set(event, [...told.get(event) ?? [], tell]);
  }
  return Object.fromEntries([...told].map(([event, tells]) => [event, (...about: unknown[]) => {
    for (const tell of tells) tell(...about);
  }]));
}
