/**
 * Builds a server from its configuration, and stops it. It knows every part of
 * the program and decides nothing itself.
 *
 * @module
 */

import { getLogger, type Logger } from "@logtape/logtape";
import { resolve } from "node:path";
import type { Config, StoreChoice } from "../config/config.ts";
import { ConfigError } from "../config/config_error.ts";
import type { PolicyFile } from "../config/reload.ts";
import { createHandler, type Readiness } from "../http/handler.ts";
import { Server, type ServerOptions } from "../http/server.ts";
import type { ConnectOptions, KubernetesClient } from "../kubernetes/client.ts";
import { PermissionMonitor } from "../kubernetes/permission_monitor.ts";
import { warnOfSkew } from "../kubernetes/skew_warning.ts";
import { type Clock, systemClock } from "../lock/clock.ts";
import { type Group, parseGroup } from "../lock/identity.ts";
import { type LockObserver, LockService } from "../lock/lock_service.ts";
import type { LockStore } from "../lock/lock_store.ts";
import type { GrantPolicy } from "../lock/policy.ts";
import { within } from "../lock/within.ts";
import { openStore } from "../stores/open.ts";
import { MeteredLockStore } from "../telemetry/metered_store.ts";
import { Metrics } from "../telemetry/metrics.ts";
import { connectCluster, parseSkipSelectors, startDraining } from "./cluster.ts";
import { PermissionGate, usedPermissions } from "./permissions.ts";
import { openPolicyFile, withConfigNote } from "./policies.ts";

/** A running server. Disposing of it stops it. */
export interface Service extends AsyncDisposable {
  /** The URL that it serves, such as `http://127.0.0.1:8080`. */
  readonly url: string;
  /** Where the locks are, for the log: the kind of the store, with its file's absolute path or its namespace. */
  readonly store: Readonly<Record<string, string>>;
  /**
   * Stops the server. It reports not ready and takes no more connections at once.
   * Requests that wait for a drain get an answer, and running requests finish
   * within 10 s. Then everything is closed. Further calls wait for the same stop.
   */
  stop(): Promise<void>;
  /** Reads the configuration file again now, and logs the result. */
  reload(): void;
}

/** Options of {@link startService}. */
export interface ServiceOptions {
  /** The program's version, for the metrics. */
  readonly version: string;
  /** Overrides options of the connection to the API server, such as its time limit. */
  readonly connection?: Partial<ConnectOptions>;
  /** Wraps the store that the server uses, for tests. */
  readonly wrapStore?: (store: LockStore) => LockStore;
  /** Time. @default {systemClock} */
  readonly clock?: Clock;
  /** Returns a number from 0 (inclusive) to 1 (exclusive), for jitter. @default {Math.random} */
  readonly random?: () => number;
  /** Serves the address. @default {Deno.serve} */
  readonly serve?: ServerOptions["serve"];
  /** Decides about grants, for tests. */
  readonly policy?: GrantPolicy;
}

/** How long running requests may take to finish after the server was told to stop, in milliseconds. */
const SHUTDOWN_GRACE_MS = 10_000;

/** The group that a probe of the store reads. It need not exist. */
const PROBED_GROUP: Group = parseGroup("default")!;

/**
 * Starts a server. An API server that does not answer is not an error: the server
 * then reports not ready, answers 503, and recovers by itself.
 *
 * @throws {ConfigError} The server cannot start with this configuration. The message says what to do.
 */
export async function startService(config: Config, options: ServiceOptions): Promise<Service> {
  const { clock = systemClock, random = Math.random, serve } = options;
  const logger = getLogger("fleetlock");
  const skip = parseSkipSelectors(config.drainSkipSelectors);
  const stopping = new AbortController();
  await using cleanup = new AsyncDisposableStack();

  // Each part builds on the ones before it, and no part calls a later one.
  const client = config.store.kind === "kubernetes"
    ? cleanup.use(await connectCluster(config, { clock, ...options.connection }))
    : undefined;
  // Replicas' own clocks may differ by hours. What they tell of the locks goes by the one clock that they share.
  const shared = client?.clock ?? clock;
  const metrics = new Metrics({ version: options.version, clock: shared });
  const file = cleanup.use(await openPolicyFile(config, { metrics, logger, clock }));
  const engine = cleanup.use(await openStore(config.store, client, { clock, random }));
  const store = new MeteredLockStore(options.wrapStore?.(engine) ?? engine, metrics, clock);
  const { podName } = config.kubernetes;
  const permissions = client && monitorPermissions(config, client, metrics, logger, clock);
  const parts = { metrics, logger, clock, random, serve };
  const draining = client && permissions && config.drain
    ? cleanup.use(startDraining({ client, store, drain: config.drain, skip, permissions, podName, ...parts }))
    : undefined;
  const locks = new LockService(store, {
    policy: options.policy,
    maxGroups: config.maxGroups,
    keeper: draining?.keeper,
    drain: config.drain && { timeoutMs: config.drain.timeoutMs, onTimeout: config.drain.onTimeout },
    replyWaitMs: config.replyWaitMs,
    stopping: stopping.signal,
    observer: tellBoth(lockObserver(metrics, logger), draining?.observer),
    clock: shared,
    random,
  });
  metrics.collectLocks(locks);

  const background = new AbortController();
  const tasks = [locks.watch(background.signal)];
  if (client && permissions) {
    tasks.push(permissions.run(background.signal), warnOfSkew(client.clock, logger, background.signal));
  }
  cleanup.defer(async () => {
    background.abort();
    await Promise.all(tasks);
  });

  const gate = permissions && new PermissionGate(permissions);
  const server = serveLocks(config, locks, { ...parts, clock: shared, stopping: stopping.signal, cleanup, gate, file });
  const resources = cleanup.move();
  const stop = async () => {
    stopping.abort();
    await within(SHUTDOWN_GRACE_MS, server.shutdown(), clock);
    // What is still open after this, such as a connection that nothing can close, ends with the process.
    await within(SHUTDOWN_GRACE_MS, resources.disposeAsync(), clock);
  };
  return runningService(server, placeOf(config.store, client), { stop, reload: () => reload(file, logger) });
}

function reload(file: PolicyFile | undefined, logger: Logger): void {
  if (file === undefined) logger.info("asked to reload: there is no configuration file");
  else file.reload();
}

/** Makes what asks for the server's permissions, and its metrics. */
function monitorPermissions(
  config: Config,
  client: KubernetesClient,
  metrics: Metrics,
  log: Logger,
  clock: Clock,
): PermissionMonitor {
  const monitor = new PermissionMonitor(client, usedPermissions(config.drain, client.namespace), { log, clock });
  metrics.addCluster({ clock: client.clock, permissions: monitor });
  return monitor;
}

/** Reports the state of the store's watch, and what an operator should know of the locks, in metrics and log. */
function lockObserver(metrics: Metrics, logger: Logger): LockObserver {
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
    pauseChanged(group, pause) {
      if (pause === undefined) logger.info("the pause of a group is lifted", { group });
      else logger[pause.isUnreadable ? "error" : "warning"]("a group is paused", { group, pause });
    },
  };
}

/** Tells two observers. Only the second one is told of what it alone knows, and both of what they share. */
function tellBoth(first: LockObserver, second: LockObserver = {}): LockObserver {
  return {
    ...first,
    ...second,
    yielded(...event) {
      first.yielded?.(...event);
      second.yielded?.(...event);
    },
    grantedDespite(...event) {
      first.grantedDespite?.(...event);
      second.grantedDespite?.(...event);
    },
  };
}

/** What {@link serveLocks} needs besides the locks. */
interface ServingParts {
  readonly metrics: Metrics;
  readonly logger: Logger;
  readonly clock: Clock;
  /** Aborted when the server stops. */
  readonly stopping: AbortSignal;
  /** Disposes of the handler after the server has stopped. */
  readonly cleanup: AsyncDisposableStack;
  /** Judges the readiness by the permissions; undefined without a cluster. */
  readonly gate?: PermissionGate;
  /** The configuration file; undefined where there is none. */
  readonly file?: PolicyFile;
  /** Serves the address. */
  readonly serve?: ServerOptions["serve"];
}

/** Starts to answer requests. */
function serveLocks(config: Config, locks: LockService, parts: ServingParts): Server {
  const { metrics, logger, clock, stopping, cleanup, gate, file, serve } = parts;
  const probe = reported(() => locks.probe(PROBED_GROUP), logger);
  const readiness = async (): Promise<Readiness> => {
    if (stopping.aborted) return { kind: "not_ready", reason: "the server is stopping" };
    await probe();
    return withConfigNote(gate?.judge() ?? { kind: "ready" }, file);
  };
  const { address, basePath } = config;
  const handler = cleanup.use(createHandler({ locks, metrics, logger, readiness, clock, basePath }));
  return listen({ address, handler, logger, clock, serve });
}

/** Makes a probe of the store that logs the first failure, and the first success after one. */
function reported(probe: () => Promise<void>, logger: Logger): () => Promise<void> {
  let isFailing = false;
  return async () => {
    try {
      await probe();
    } catch (error) {
      if (!isFailing) logger.warning("not ready: the store does not answer or takes no writes", { error });
      isFailing = true;
      throw error;
    }
    if (isFailing) logger.info("the store works again");
    isFailing = false;
  };
}

/** Listens on the configured address. */
function listen(options: ServerOptions): Server {
  try {
    return new Server(options);
  } catch (error) {
    const why = error instanceof Deno.errors.AddrInUse
      ? "the address is in use; stop the other program or choose another --address"
      : `${error instanceof Error ? error.message : error}; choose another --address`;
    const { hostname, port } = options.address;
    throw new ConfigError(`cannot listen on ${hostAndPort(hostname, port)}: ${why}`, { cause: error });
  }
}

/** See {@link Service.store}. */
function placeOf(choice: StoreChoice, client: KubernetesClient | undefined): Record<string, string> {
  switch (choice.kind) {
    case "kubernetes":
      return { store: choice.kind, namespace: client!.namespace };
    case "sqlite":
      return { store: choice.kind, file: resolve(choice.path) };
    case "memory":
      return { store: choice.kind };
  }
}

function runningService(
  { address: { hostname, port } }: Server,
  store: Readonly<Record<string, string>>,
  { stop, reload }: { stop: () => Promise<void>; reload: () => void },
): Service {
  let stopped: Promise<void> | undefined;
  return {
    url: `http://${hostAndPort(hostname, port)}`,
    store,
    stop: () => stopped ??= stop(),
    reload,
    [Symbol.asyncDispose]: () => stopped ??= stop(),
  };
}

function hostAndPort(hostname: string, port: number): string {
  return hostname.includes(":") ? `[${hostname}]:${port}` : `${hostname}:${port}`;
}
