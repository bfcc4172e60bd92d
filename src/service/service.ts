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
import { StatusRoutes } from "../http/status_routes.ts";
import { Server, type ServerOptions } from "../http/server.ts";
import type { NodeKeeperOptions } from "../keeper/node_keeper.ts";
import type { ConnectOptions, KubernetesClient } from "../kubernetes/client.ts";
import { PermissionMonitor } from "../kubernetes/permission_monitor.ts";
import { warnOfSkew } from "../kubernetes/skew_warning.ts";
import { type Clock, systemClock } from "../lock/clock.ts";
import { type Group, parseGroup } from "../lock/identity.ts";
import { type LockObserver, LockService, type LockServiceOptions } from "../lock/lock_service.ts";
import type { LockStore } from "../lock/lock_store.ts";
import type { GrantPolicy } from "../lock/policy.ts";
import { within } from "../lock/within.ts";
import type { Policies } from "../policies/policies.ts";
import { openStore } from "../stores/open.ts";
import { MeteredLockStore } from "../telemetry/metered_store.ts";
import { Metrics } from "../telemetry/metrics.ts";
import { connectCluster, type Draining, parseSkipSelectors, startDraining } from "./cluster.ts";
import { lockObserver, tellAll } from "./observers.ts";
import { PermissionGate, usedPermissions } from "./permissions.ts";
import { makePolicies, openPolicyFile, skipObserver, withConfigNote } from "./policies.ts";
import { Status } from "./status.ts";

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
  /** How long to wait before the permissions are asked about again, in milliseconds. @default {300_000} */
  readonly permissionIntervalMs?: number;
  /** How Nodes are read that the watch may not have seen, for tests. */
  readonly freshNodes?: NodeKeeperOptions["freshNodes"];
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
  const { clock = systemClock, random = Math.random, serve, freshNodes } = options;
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
  const permissions = client && monitorPermissions(config, file, client, metrics, logger, { clock, ...options });
  const parts = { metrics, logger, clock, random, serve };
  const status = new Status(config, { version: options.version, clock: shared });
  const keepsLabels = file !== undefined;
  const cluster = { store, skip, keepsLabels, podName, freshNodes, nodeChanged: status.nodeChanged, ...parts };
  const draining = client && permissions && config.drain
    ? cleanup.use(startDraining({ client, drain: config.drain, permissions, ...cluster }))
    : undefined;
  const policies = makePolicies(config, { file, client, fleet: draining?.keeper.fleet, clock, logger, metrics });
  const locks = new LockService(store, {
    ...lockOptions(config, draining),
    policy: options.policy ?? policies,
    stopping: stopping.signal,
    observer: tellAll([lockObserver(metrics, logger, () => shared.now()), ...observersOf(draining), {
      changed: status.changed,
    }]),
    clock: shared,
    random,
  });
  collectLocks(metrics, locks, policies);
  cleanup.use(inBackground((signal) => {
    status.begin({ locks, draining, policy: policies, file, metrics, signal });
    return [
      locks.watch(signal),
      status.ended(signal),
      ...client && permissions ? [permissions.run(signal), warnOfSkew(client.clock, logger, signal)] : [],
    ];
  }));

  const serving = { ...parts, status, clock: shared, stopping: stopping.signal, cleanup, permissions, file };
  const server = serveLocks(config, locks, serving);
  const resources = cleanup.move();
  const stop = async () => {
    stopping.abort();
    await within(SHUTDOWN_GRACE_MS, server.shutdown(), clock);
    // What is still open after this, such as a connection that nothing can close, ends with the process.
    await within(SHUTDOWN_GRACE_MS, resources.disposeAsync(), clock);
  };
  return runningService(server, placeOf(config.store, client), { stop, reload: () => reload(file, logger) });
}

/** What the configuration says of the locks. */
function lockOptions({ maxGroups, replyWaitMs, drain }: Config, draining: Draining | undefined): LockServiceOptions {
  return {
    maxGroups,
    keeper: draining?.keeper,
    drain: drain && { timeoutMs: drain.timeoutMs, onTimeout: drain.onTimeout },
    replyWaitMs,
  };
}

/** Who wants to know what happens to the locks of a cluster whose nodes are drained. */
function observersOf(draining: Draining | undefined): LockObserver[] {
  return draining === undefined ? [] : [draining.observer, skipObserver(draining.keeper.fleet)];
}

/** Runs tasks until it is disposed of, which waits for their end. */
function inBackground(start: (signal: AbortSignal) => Promise<void>[]): AsyncDisposable {
  const stop = new AbortController();
  const tasks = start(stop.signal);
  return {
    async [Symbol.asyncDispose]() {
      stop.abort();
      await Promise.all(tasks);
    },
  };
}

function reload(file: PolicyFile | undefined, logger: Logger): void {
  if (file === undefined) logger.info("asked to reload: there is no configuration file");
  else file.reload();
}

/** Lets the metrics read the locks and the policies. */
function collectLocks(metrics: Metrics, locks: LockService, policies: Policies): void {
  metrics.collectLocks({
    groups: () => locks.groups(),
    slotsOf: (group) => locks.slotsOf(group),
    nextOpeningOf: (group) => policies.nextOpening(group),
    seenForMs: (group, holder) => locks.seenForMs(group, holder),
  });
}

/** Makes what asks for the server's permissions, and its metrics. */
function monitorPermissions(
  config: Config,
  file: PolicyFile | undefined,
  client: KubernetesClient,
  metrics: Metrics,
  log: Logger,
  { clock, permissionIntervalMs }: { readonly clock: Clock; readonly permissionIntervalMs?: number },
): PermissionMonitor {
  const monitor = new PermissionMonitor(client, () => usedPermissions(config.drain, client.namespace, file?.current), {
    log,
    clock,
    ...(permissionIntervalMs !== undefined && { intervalMs: permissionIntervalMs }),
  });
  // A new file may need a permission that was not asked about, such as that of `onTimeout: delete`.
  file?.subscribe(() => monitor.askNow());
  metrics.addCluster({ clock: client.clock, permissions: monitor });
  return monitor;
}

/** What {@link serveLocks} needs besides the locks. */
interface ServingParts {
  readonly metrics: Metrics;
  readonly logger: Logger;
  readonly status: Status;
  readonly clock: Clock;
  /** Aborted when the server stops. */
  readonly stopping: AbortSignal;
  /** Disposes of the handler after the server has stopped. */
  readonly cleanup: AsyncDisposableStack;
  /** Knows which permissions are missing; undefined without a cluster. */
  readonly permissions?: PermissionMonitor;
  /** The configuration file; undefined where there is none. */
  readonly file?: PolicyFile;
  /** Serves the address. */
  readonly serve?: ServerOptions["serve"];
}

/** Starts to answer requests. */
function serveLocks(config: Config, locks: LockService, parts: ServingParts): Server {
  const { metrics, logger, clock, stopping, cleanup, permissions, file, serve } = parts;
  const gate = permissions && new PermissionGate(permissions);
  const { memory } = parts.status;
  const account = () => parts.status.account();
  const status = config.statusPage ? new StatusRoutes({ account, clock, stopping, logger }) : undefined;
  const probe = reported(() => locks.probe(PROBED_GROUP), logger);
  const readiness = async (): Promise<Readiness> => {
    if (stopping.aborted) return { kind: "not_ready", reason: "the server is stopping" };
    await probe();
    return withConfigNote(gate?.judge() ?? { kind: "ready" }, file);
  };
  const { address, basePath } = config;
  const handler = cleanup.use(createHandler({ locks, metrics, logger, readiness, clock, basePath, memory, status }));
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
