/**
 * Wires a server together from its configuration and takes it apart again. It
 * knows every part and decides nothing itself.
 *
 * @module
 */

import { getLogger, type Logger } from "@logtape/logtape";
import type { Config } from "../config/config.ts";
import { createHandler, type Readiness } from "../http/handler.ts";
import { Server } from "../http/server.ts";
import {
  connectKubernetes,
  type ConnectOptions,
  type KubernetesClient,
  missingPermissions,
} from "../kubernetes/client.ts";
import { describePermission, ForbiddenError, type Permission } from "../kubernetes/errors.ts";
import { ClusterEvents, eventPermissions } from "../kubernetes/events.ts";
import { type LabelSelector, parseLabelSelector } from "../keeper/drain/label_selector.ts";
import { Leases, requiredPermissions, watchPermissions } from "../stores/lease/leases.ts";
import { keeperPermissions, optionalKeeperPermissions } from "../keeper/permissions.ts";
import { KubernetesNodeKeeper } from "../keeper/node_keeper.ts";
import { ConfigError } from "../config/config_error.ts";
import { systemClock } from "../lock/clock.ts";
import { type Group, parseGroup } from "../lock/identity.ts";
import { type LockObserver, LockService } from "../lock/lock_service.ts";
import { UnavailableError } from "../lock/errors.ts";
import { type LockStore, MemoryLockStore } from "../lock/lock_store.ts";
import { LeaseLockStore } from "../stores/lease/store.ts";
import { leaseName } from "../stores/lease/codec.ts";
import { SqliteLockStore } from "../stores/sqlite.ts";
import { MeteredLockStore } from "../telemetry/metered_store.ts";
import { Metrics } from "../telemetry/metrics.ts";

/** A running server. Disposing of it stops it. */
export interface Service extends AsyncDisposable {
  /** Where it listens, such as `http://127.0.0.1:8080`. */
  readonly url: string;
  /**
   * Stops it: it is not ready at once and takes no more connections, requests
   * that wait for a drain are answered, running ones finish (within
   * {@link SHUTDOWN_GRACE_MS}), then everything is closed. May be called again.
   */
  stop(): Promise<void>;
}

/** What tests may set beside the configuration. */
export interface ServiceOptions {
  /** The program's version, shown in the metrics. */
  readonly version: string;
  /** Changes to the connection to the API server, such as its deadline. */
  readonly connection?: Partial<ConnectOptions>;
  /** Stands between the lock service and its store. */
  readonly wrapStore?: (store: LockStore) => LockStore;
}

/** How long running requests may take to finish when the server stops, in milliseconds. */
export const SHUTDOWN_GRACE_MS = 10_000;

/** When to ask again for the own permissions, in milliseconds; it doubles each time up to the other. */
const PERMISSIONS_RETRY_MS = 5_000;
const PERMISSIONS_MAX_RETRY_MS = 300_000;

/** Asked for when the store is probed; it need not exist. */
const PROBED_GROUP: Group = parseGroup("default")!;

/**
 * Starts a server. An unreachable API server is no fault: the server then is
 * not ready, answers 503, and recovers by itself.
 *
 * @throws {ConfigError} It cannot start as it is configured; the message says what to do.
 */
export async function startService(config: Config, options: ServiceOptions): Promise<Service> {
  const logger = getLogger("fleetlock");
  await using cleanup = new AsyncDisposableStack();
  const stopping = new AbortController();
  const metrics = new Metrics({ version: options.version });
  const observers: LockObserver[] = [watchObserver(metrics, logger)];

  // The keeper asks the locks who holds what, and the locks ask the keeper to empty the nodes.
  const cluster = config.store.kind === "kubernetes"
    ? await joinCluster(config, options, metrics, logger, cleanup, (id, group) => locks.readHolder(id, group))
    : undefined;
  if (cluster?.observer) observers.push(cluster.observer);
  const engine = cleanup.use(await openStore(config, cluster?.client));
  const store = new MeteredLockStore(options.wrapStore?.(engine) ?? engine, metrics);
  const locks: LockService = new LockService(store, {
    maxGroups: config.maxGroups,
    keeper: cluster?.keeper,
    replyWaitMs: config.replyWaitMs,
    stopping: stopping.signal,
    observer: joinObservers(observers),
  });
  metrics.collectLocks(locks);

  const background = new AbortController();
  const tasks = [locks.watch(background.signal), ...cluster?.start(background.signal) ?? []];
  cleanup.defer(async () => {
    background.abort();
    await Promise.all(tasks);
  });

  const readiness = async (): Promise<Readiness> => {
    if (stopping.signal.aborted) return "stopping";
    await locks.probe(PROBED_GROUP);
    return "ready";
  };
  const handler = cleanup.use(
    createHandler({ locks, metrics, logger, readiness, onHangingBody: () => server.renew() }),
  );
  const server = listen(config, handler, logger);
  const resources = cleanup.move();
  const stop = async () => {
    stopping.abort();
    await within(SHUTDOWN_GRACE_MS, server.shutdown());
    // What does not give way then, a connection that nothing can end say, goes with the process.
    await within(SHUTDOWN_GRACE_MS, resources.disposeAsync());
  };
  let stopped: Promise<void> | undefined;
  const { hostname, port } = server.address;
  return {
    url: `http://${hostAndPort(hostname, port)}`,
    stop: () => stopped ??= stop(),
    [Symbol.asyncDispose]: () => stopped ??= stop(),
  };
}

/** Waits for an operation, but not for longer than so many milliseconds. */
async function within(ms: number, operation: Promise<void>): Promise<void> {
  const over = Promise.withResolvers<void>();
  const timer = setTimeout(over.resolve, ms);
  try {
    await Promise.race([operation, over.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** The parts of a server that need a cluster. */
interface Cluster {
  readonly client: KubernetesClient;
  readonly keeper?: KubernetesNodeKeeper;
  readonly observer?: LockObserver;
  /** Starts what runs in the background until the signal aborts. */
  start(signal: AbortSignal): Promise<void>[];
}

async function joinCluster(
  config: Config,
  options: ServiceOptions,
  metrics: Metrics,
  logger: Logger,
  cleanup: AsyncDisposableStack,
  readHolder: LockService["readHolder"],
): Promise<Cluster> {
  const client = cleanup.use(
    await connectKubernetes({ ...config.kubernetes, concurrency: config.kubeConcurrency, ...options.connection }),
  );
  const { namespace } = client;
  const required = requiredPermissions(namespace);
  const useful = watchPermissions(namespace);
  const { drain } = config;
  if (drain === undefined) {
    return { client, start: (signal) => [reportPermissions(client, required, useful, logger, signal)] };
  }
  const events = cleanup.use(
    new ClusterEvents(client, {
      instance: config.kubernetes.podName ?? "fleetlock",
      onFailure: (error) => logger.warning("cannot send events", { error }),
    }),
  );
  const keeper = cleanup.use(
    new KubernetesNodeKeeper(client, {
      drainOptions: {
        concurrency: drain.concurrency,
        timeoutMs: drain.timeoutMs,
        onTimeout: drain.onTimeout,
        pods: {
          unmanaged: drain.unmanaged,
          emptyDir: drain.emptyDir,
          skip: selectorOf(drain.skipSelector),
          self: config.kubernetes.podName ? { namespace, name: config.kubernetes.podName } : undefined,
        },
      },
      waitReady: drain.releaseWaitReady,
      readHolder,
      log: logger,
      events,
      observer: metrics.addDrains(),
    }),
  );
  required.push(...keeperPermissions({ deletePods: drain.onTimeout === "delete" }));
  useful.push(...optionalKeeperPermissions(), ...eventPermissions(namespace));
  return {
    client,
    keeper,
    observer: {
      ended: (group, id) => keeper.holdEnded(group, id),
      granted(group, { id, node }) {
        const note = `Reboot slot of group "${group}" granted to ${node?.name ?? id}`;
        events.record({ kind: "Lease", name: leaseName(group) }, "LockGranted", note);
      },
      released(group, { id, node }) {
        const note = `Reboot slot of group "${group}" given back by ${node?.name ?? id}`;
        events.record({ kind: "Lease", name: leaseName(group) }, "LockReleased", note);
      },
    },
    start(signal) {
      // It ends when it is disposed of, which is also what waits for its end.
      keeper.run();
      return [reportPermissions(client, required, useful, logger, signal)];
    },
  };
}

function selectorOf(text: string): LabelSelector | undefined {
  if (text === "") return undefined;
  try {
    return parseLabelSelector(text);
  } catch (error) {
    throw new ConfigError(`--drain-skip-selector: ${error instanceof Error ? error.message : error}`, { cause: error });
  }
}

async function openStore(config: Config, kubernetes: KubernetesClient | undefined): Promise<LockStore> {
  switch (config.store.kind) {
    case "kubernetes":
      return new LeaseLockStore(new Leases(kubernetes!));
    case "memory":
      return new MemoryLockStore();
    case "sqlite":
      try {
        return await SqliteLockStore.open(config.store.path);
      } catch (error) {
        if (error instanceof UnavailableError) throw new ConfigError(error.message, { cause: error });
        throw error;
      }
  }
}

/** Says at the start which permissions are missing, by name; where nobody answers, as soon as somebody does. */
async function reportPermissions(
  kubernetes: KubernetesClient,
  required: readonly Permission[],
  useful: readonly Permission[],
  logger: Logger,
  signal: AbortSignal,
): Promise<void> {
  for (let pauseMs = PERMISSIONS_RETRY_MS; !signal.aborted; pauseMs = Math.min(pauseMs * 2, PERMISSIONS_MAX_RETRY_MS)) {
    try {
      const missing = await missingPermissions(kubernetes, [...required, ...useful], signal);
      for (const permission of missing) {
        const fields = { permission: describePermission(permission) };
        if (required.includes(permission)) logger.error("a permission is missing", fields);
        else logger.warning("a permission is missing, without which the server only does less well", fields);
      }
      return;
    } catch (error) {
      if (signal.aborted) return;
      logger.warning("cannot ask for the own permissions", { error });
      // Some clusters let nobody ask.
      if (error instanceof ForbiddenError) return;
      await systemClock.sleep(pauseMs, signal).catch(() => {});
    }
  }
}

function watchObserver(metrics: Metrics, logger: Logger): LockObserver {
  return {
    synced() {
      metrics.setWatchSynced(true);
      logger.debug("the watch of the store is in step");
    },
    lost(error) {
      metrics.setWatchSynced(false);
      logger.warning("the watch of the store is behind", { error });
    },
  };
}

function joinObservers(observers: readonly LockObserver[]): LockObserver {
  return {
    synced: () => observers.forEach((each) => each.synced?.()),
    lost: (reason) => observers.forEach((each) => each.lost?.(reason)),
    ended: (group, id) => observers.forEach((each) => each.ended?.(group, id)),
    granted: (group, holder) => observers.forEach((each) => each.granted?.(group, holder)),
    released: (group, holder) => observers.forEach((each) => each.released?.(group, holder)),
  };
}

function listen(config: Config, handler: Deno.ServeHandler<Deno.NetAddr>, logger: Logger): Server {
  const { hostname, port } = config.address;
  try {
    return new Server({ address: config.address, handler, logger });
  } catch (error) {
    const why = error instanceof Deno.errors.AddrInUse
      ? "the address is in use; stop the other program or choose another --address"
      : `${error instanceof Error ? error.message : error}; choose another --address`;
    throw new ConfigError(`cannot listen on ${hostAndPort(hostname, port)}: ${why}`, { cause: error });
  }
}

function hostAndPort(hostname: string, port: number): string {
  return hostname.includes(":") ? `[${hostname}]:${port}` : `${hostname}:${port}`;
}
