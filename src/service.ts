/**
 * Wires a server together from its configuration and takes it apart again. It
 * knows every part and decides nothing itself.
 *
 * @module
 */

import { getLogger } from "@logtape/logtape";
import type { Config } from "./config.ts";
import { ConfigError } from "./config.ts";
import { createHandler, type Readiness } from "./http/handler.ts";
import { connectKubernetes, type KubernetesClient, missingPermissions } from "./kubernetes/client.ts";
import { ConfigurationError, describe } from "./kubernetes/errors.ts";
import { Leases, requiredPermissions, watchPermissions } from "./kubernetes/leases.ts";
import { type Group, parseGroup } from "./lock/identity.ts";
import { LockService } from "./lock/lock_service.ts";
import { type LockStore, MemoryLockStore, StoreUnavailableError } from "./lock/lock_store.ts";
import { LeaseLockStore } from "./stores/lease.ts";
import { SqliteLockStore, StoreConfigurationError } from "./stores/sqlite.ts";
import { MeteredLockStore } from "./telemetry/metered_store.ts";
import { Metrics } from "./telemetry/metrics.ts";

/** A running server. Disposing of it stops it. */
export interface Service extends AsyncDisposable {
  /** Where it listens, such as `http://127.0.0.1:8080`. */
  readonly url: string;
  /**
   * Stops it: it is not ready at once and takes no more connections, running
   * requests finish (within {@link SHUTDOWN_GRACE_MS}), then everything is
   * closed. May be called again.
   */
  stop(): Promise<void>;
}

/** How long running requests may take to finish when the server stops, in milliseconds. */
export const SHUTDOWN_GRACE_MS = 10_000;

/** Asked for when the store is probed; it need not exist. */
const PROBED_GROUP: Group = parseGroup("default")!;

/**
 * Starts a server. An unreachable API server is no fault: the server then is
 * not ready, answers 503, and recovers by itself.
 *
 * @param options `version` is shown in the metrics.
 * @throws {ConfigError} It cannot start as it is configured; the message says what to do.
 */
export async function startService(config: Config, options: { version: string }): Promise<Service> {
  const logger = getLogger("fleetlock");
  await using cleanup = new AsyncDisposableStack();
  const stopping = new AbortController();

  const kubernetes = config.store.kind === "kubernetes" ? cleanup.use(await connect(config)) : undefined;
  const metrics = new Metrics({ version: options.version });
  const engine = cleanup.use(await openStore(config, kubernetes));
  const store = new MeteredLockStore(engine, metrics);
  const locks = new LockService(store, {
    maxGroups: config.maxGroups,
    stopping: stopping.signal,
    onWatch: (lost) => {
      metrics.setWatchSynced(lost === undefined);
      if (lost !== undefined) logger.warning("the watch of the store is behind", { error: lost });
      else logger.debug("the watch of the store is in step");
    },
  });
  metrics.collectLocks(locks);

  const background = new AbortController();
  const tasks = [locks.watch(background.signal)];
  if (kubernetes !== undefined) tasks.push(reportPermissions(kubernetes, background.signal));
  cleanup.defer(async () => {
    background.abort();
    await Promise.all(tasks);
  });

  const readiness = async (): Promise<Readiness> => {
    if (stopping.signal.aborted) return "stopping";
    await locks.probe(PROBED_GROUP);
    return "ready";
  };
  const handler = cleanup.use(createHandler({ locks, metrics, logger, readiness }));
  const server = listen(config, handler);
  const resources = cleanup.move();
  const { hostname, port } = server.addr;
  let stopped: Promise<void> | undefined;
  const stop = () => {
    stopped ??= (async () => {
      stopping.abort();
      const graceOver = Promise.withResolvers<void>();
      const timer = setTimeout(graceOver.resolve, SHUTDOWN_GRACE_MS);
      await Promise.race([server.shutdown(), graceOver.promise]);
      clearTimeout(timer);
      await resources.disposeAsync();
    })();
    return stopped;
  };
  return {
    url: `http://${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}`,
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

function listen(config: Config, handler: Deno.ServeHandler<Deno.NetAddr>): Deno.HttpServer<Deno.NetAddr> {
  const { hostname, port } = config.address;
  try {
    return Deno.serve({ hostname, port, onListen: () => {} }, handler);
  } catch (error) {
    const where = `cannot listen on ${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}`;
    if (error instanceof Deno.errors.AddrInUse) {
      throw new ConfigError(`${where}: the address is in use; stop the other program or choose another --address`, {
        cause: error,
      });
    }
    throw new ConfigError(`${where}: ${error instanceof Error ? error.message : error}; choose another --address`, {
      cause: error,
    });
  }
}

async function connect(config: Config): Promise<KubernetesClient> {
  try {
    return await connectKubernetes(config.kubernetes);
  } catch (error) {
    if (error instanceof ConfigurationError) throw new ConfigError(error.message, { cause: error });
    throw error;
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
        if (error instanceof StoreConfigurationError || error instanceof StoreUnavailableError) {
          throw new ConfigError(error.message, { cause: error });
        }
        throw error;
      }
  }
}

/** Says at the start which permissions are missing, by name. */
async function reportPermissions(kubernetes: KubernetesClient, signal: AbortSignal): Promise<void> {
  const logger = getLogger("fleetlock");
  const { namespace } = kubernetes;
  try {
    const required = requiredPermissions(namespace);
    const missing = await missingPermissions(kubernetes, [...required, ...watchPermissions(namespace)]);
    for (const permission of missing) {
      const essential = required.some((each) => describe(each) === describe(permission));
      if (essential) logger.error("a permission is missing", { permission: describe(permission) });
      else logger.warning("a permission is missing; refusals cost a read each", { permission: describe(permission) });
    }
  } catch (error) {
    if (!signal.aborted) logger.warning("cannot ask for the own permissions", { error });
  }
}
