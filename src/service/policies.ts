/**
 * The policies of a running server: opens the configuration file, tells of it in
 * log, metrics and readiness, and gives the rules what they need from outside.
 *
 * @module
 */

import type { Logger } from "@logtape/logtape";
import type { Config } from "../config/config.ts";
import type { PolicyFile } from "../config/reload.ts";
import type { Readiness } from "../http/handler.ts";
import type { FleetView, SeenNode } from "../keeper/fleet_view.ts";
import type { KubernetesClient } from "../kubernetes/client.ts";
import type { Clock } from "../lock/clock.ts";
import type { LockObserver } from "../lock/lock_service.ts";
import { Monitors } from "../policies/monitors.ts";
import { NO_POLICIES, type PolicyOptions } from "../policies/options.ts";
import { Policies } from "../policies/policies.ts";
import { SKIP_NAMES, unknownSkips } from "../policies/skips.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import { Facts, type FactsTime } from "./facts.ts";

/** What {@link openPolicyFile} builds on. */
export interface PolicyFileParts {
  /** Gets its metrics. */
  readonly metrics: Metrics;
  /** Gets its records. */
  readonly logger: Logger;
  /** Measures the time between looks at the file. */
  readonly clock: Clock;
}

/**
 * Opens the configuration file.
 *
 * @returns undefined if the flags name none.
 * @throws {ConfigError} The file cannot be read or is not valid. The message has a line for each error.
 */
export async function openPolicyFile(config: Config, parts: PolicyFileParts): Promise<PolicyFile | undefined> {
  const { policyFile: path, store, drain } = config;
  if (path === undefined) return undefined;
  const { metrics, logger, clock } = parts;
  const { PolicyFile } = await import("../config/reload.ts");
  const file = await PolicyFile.open(path, {
    context: { store: store.kind, drainTimeoutMs: drain?.timeoutMs },
    clock,
    observer: {
      loaded: (hash) => logger.info("the configuration file is in force", { path, hash }),
      failed(errors) {
        const message = "the configuration file cannot be used, and the last valid one stays in force";
        for (const error of errors) logger.error(message, { path, error });
      },
    },
  });
  logger.info("the configuration file is in force", { path, hash: file.hash });
  warnOfFlags(config, file.current, logger);
  file.subscribe((options) => warnOfFlags(config, options, logger));
  metrics.addConfig(file);
  return file;
}

/** What {@link makePolicies} builds on. */
export interface PoliciesParts {
  /** The configuration file; undefined where there is none. */
  readonly file?: Pick<PolicyFile, "current">;
  /** The connection to the cluster; undefined without one. */
  readonly client?: Pick<KubernetesClient, "clock" | "get">;
  /** The nodes and their pods; undefined where nodes are not drained. */
  readonly fleet?: FleetView;
  /** This machine's time. */
  readonly clock: Clock;
  /** Gets what hosts are not told of questions that failed. */
  readonly logger?: Pick<Logger, "warning">;
  /** Counts questions to monitors that failed. */
  readonly metrics?: Pick<Metrics, "monitorFailed">;
}

/** Makes the policies. Without a file, every group has one slot, and only what is noted with locks and Nodes counts. */
export function makePolicies({ drain }: Pick<Config, "drain">, parts: PoliciesParts): Policies {
  const { file, client, fleet, clock, logger, metrics } = parts;
  const time = client === undefined ? localTime(clock) : serverTime(client);
  return new Policies({
    current: () => file?.current ?? NO_POLICIES,
    facts: new Facts({
      time,
      fleet,
      monitors: new Monitors({
        clock,
        onFailure: (failure) => logger?.warning("a monitor cannot be relied on", { ...failure }),
        onFailedQuestion: (monitor, onError) =>
          metrics?.monitorFailed(monitor === "Prometheus" ? "prometheus" : "alertmanager", onError),
      }),
      clock,
      onFailure: (what, error) => logger?.warning(`cannot ask the API server about ${what}`, { error }),
    }),
    drainTimeoutMs: drain?.timeoutMs ?? 0,
  });
}

/**
 * Removes the skip annotation of a Node that got a slot without it, so that no later grant rests on it. A Node whose
 * slot is given back at once keeps its skip.
 */
export function skipObserver(fleet: Pick<FleetView, "dropSkip">): LockObserver {
  return { kept: (_group, { node }) => void (node && fleet.dropSkip(node)) };
}

/** How many warnings that are told once are remembered. Beyond that, one may be told again. */
const MAX_TOLD = 1_000;

/**
 * Makes what looks at each Node that is new or has changed, and warns of names in its skip annotation that stand for no
 * rule, once for each Node and value.
 */
export function skipWarner(
  logger: { warning(message: string, fields: Record<string, unknown>): void },
): (node: Pick<SeenNode, "name" | "skip">) => void {
  const told = new Set<string>();
  return ({ name, skip = "" }) => {
    const unknown = unknownSkips(skip);
    if (unknown.length === 0) return;
    const key = `${name} ${skip}`;
    if (told.has(key)) return;
    if (told.size >= MAX_TOLD) told.clear();
    told.add(key);
    logger.warning("the skip annotation of a node names what is not a rule: that has no effect", {
      node: name,
      unknown: unknown.join(", ").slice(0, 200),
      names: SKIP_NAMES.join(", "),
    });
  };
}

/** How old the time may be that the opening of a window rests on, in milliseconds. */
const TIME_KEPT_MS = 60_000;

/** How long to wait for the API server's time, in milliseconds. */
const TIME_WAIT_MS = 5_000;

/** The API server's time. */
function serverTime({ clock, get }: Pick<KubernetesClient, "clock" | "get">): FactsTime {
  let hearing: Promise<unknown> | undefined;
  return {
    now: () => clock.now(),
    isFresh: () => clock.isFresh(TIME_KEPT_MS),
    async hear() {
      // Any answer tells the time, an error too. Requests that come together share one call.
      hearing ??= get("/version", AbortSignal.timeout(TIME_WAIT_MS)).catch(() => {}).finally(() => hearing = undefined);
      await hearing;
    },
  };
}

/** The time of the only machine that there is. */
function localTime(clock: Pick<Clock, "now">): FactsTime {
  return { now: () => clock.now(), isFresh: () => true, hear: () => Promise.resolve() };
}

/** Logs which groups do not follow the flags. */
function warnOfFlags({ drain }: Config, { defaults, groups }: PolicyOptions, logger: Logger): void {
  if (drain === undefined) return;
  for (const [group, { drain: said }] of [["all other groups", defaults] as const, ...groups]) {
    const differs = {
      ...(said.timeoutMs !== undefined && said.timeoutMs !== drain.timeoutMs && { drain_timeout_ms: said.timeoutMs }),
      ...(said.onTimeout !== undefined && said.onTimeout !== drain.onTimeout && { drain_on_timeout: said.onTimeout }),
    };
    if (Object.keys(differs).length === 0) continue;
    logger.info("the configuration file takes precedence over a flag", { group, ...differs });
  }
}

/**
 * Adds to the readiness of a server that its configuration file cannot be used. Such a server is ready all the same.
 */
export function withConfigNote(readiness: Readiness, file: Pick<PolicyFile, "errors"> | undefined): Readiness {
  const [first, ...more] = file?.errors ?? [];
  if (readiness.kind !== "ready" || first === undefined) return readiness;
  const count = more.length === 0 ? "" : ` (and ${more.length} more)`;
  const note = `the configuration file cannot be used, and the last valid one stays in force: ${first}${count}`;
  return { kind: "ready", note: readiness.note === undefined ? note : `${readiness.note}\n${note}` };
}
