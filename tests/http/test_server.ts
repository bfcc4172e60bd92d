/**
 * The handler on a real `Deno.serve`, with a lock service over a memory store.
 *
 * @module
 */

import type { RequestLogger } from "../../src/http/exchange.ts";
import { createHandler, type HandlerOptions } from "../../src/http/handler.ts";
import { Server } from "../../src/http/server.ts";
import type { Clock } from "../../src/lock/clock.ts";
import { LockService } from "../../src/lock/lock_service.ts";
import { MemoryLockStore } from "../../src/lock/lock_store.ts";
import { Metrics } from "../../src/telemetry/metrics.ts";

/** A record that the handler logged. */
export interface Logged {
  readonly level: string;
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** A running server and its parts. */
export interface TestServer extends AsyncDisposable {
  readonly url: string;
  readonly store: MemoryLockStore;
  readonly metrics: Metrics;
  /** Every record, at any level. */
  readonly logged: Logged[];
}

/** Options of {@link startTestServer}. */
export interface TestServerOptions extends Partial<HandlerOptions> {
  readonly clock?: Clock;
  readonly store?: MemoryLockStore;
  readonly maxGroups?: number;
}

/** Starts a server on a free port of this machine. */
export function startTestServer(options: TestServerOptions = {}): TestServer {
  const store = options.store ?? new MemoryLockStore();
  const locks = new LockService(store, options);
  const metrics = new Metrics({ version: "0.0.0" });
  metrics.collectLocks(locks);
  const logged: Logged[] = [];
  const log = (level: string) => (message: string, fields: Record<string, unknown>) => {
    logged.push({ level, message, fields });
  };
  const logger: RequestLogger = {
    isEnabledFor: () => true,
    trace: log("trace"),
    debug: log("debug"),
    info: log("info"),
    warning: log("warning"),
    error: log("error"),
  };
  const handler = createHandler({
    locks,
    metrics,
    logger,
    readiness: () => Promise.resolve({ kind: "ready" }),
    ...options,
  });
  const server = new Server({
    address: { hostname: "127.0.0.1", port: 0 },
    handler,
    logger: options.logger ?? logger,
  });
  return {
    url: `http://127.0.0.1:${server.address.port}`,
    store,
    metrics,
    logged,
    async [Symbol.asyncDispose](): Promise<void> {
      await server.shutdown();
      handler[Symbol.dispose]();
    },
  };
}
