/**
 * The program with one deliberate fault, to show that a fault run finds it.
 * `FLEETLOCK_MUTATION` selects the fault:
 *
 * - `plain-write`: a write overwrites the record whatever its version is.
 * - `cached-yes`: a client gets its yes from the cache.
 *
 * @module
 */

import { getLogger } from "@logtape/logtape";
import { parseConfig } from "../../src/config/config.ts";
import { readEnvironment } from "../../src/config/settings.ts";
import { createHandler } from "../../src/http/handler.ts";
import { connectKubernetes } from "../../src/kubernetes/client.ts";
import { Leases } from "../../src/stores/lease/leases.ts";
import { GroupView } from "../../src/lock/group_view.ts";
import type { ClientId, Group } from "../../src/lock/identity.ts";
import { LockService } from "../../src/lock/lock_service.ts";
import type { PreRebootOutcome } from "../../src/lock/outcomes.ts";
import type { LockStore } from "../../src/lock/lock_store.ts";
import { acquire } from "../../src/lock/semaphore.ts";
import { LeaseLockStore } from "../../src/stores/lease/store.ts";
import { Metrics } from "../../src/telemetry/metrics.ts";

/** Makes every write unconditional. */
function plainWrite(store: LockStore): LockStore {
  return {
    read: (group, options) => store.read(group, options),
    list: (options) => store.list(options),
    watch: (watcher, signal) => store.watch(watcher, signal),
    async write(group, _expected, next, options) {
      for (;;) {
        const written = await store.write(group, await store.read(group, options), next, options);
        if (written !== "conflict") return written;
      }
    },
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
  };
}

/** Says yes as soon as the cache shows a free slot, and writes afterwards. */
class BelievingLockService extends LockService {
  readonly #view = new GroupView();

  constructor(store: LockStore, signal: AbortSignal) {
    super(store);
    store.watch(this.#view, signal);
  }

  override preReboot(id: ClientId, group: Group): Promise<PreRebootOutcome> {
    const now = Date.now();
    const seen = this.#view.get(group);
    const written = super.preReboot(id, group);
    if (seen === undefined || acquire(seen.state, id, this.slotsOf(group), now).kind === "full") return written;
    written.catch(() => {});
    return Promise.resolve({ kind: "granted", holder: { id, since: now } });
  }
}

const flags = Object.fromEntries(Deno.args.map((arg) => arg.replace(/^--/, "").split("=")));
const config = parseConfig(flags, readEnvironment());
const store = new LeaseLockStore(new Leases(await connectKubernetes(config.kubernetes)));
const { signal } = new AbortController();
const mutation = Deno.env.get("FLEETLOCK_MUTATION");
if (mutation !== "plain-write" && mutation !== "cached-yes") {
  throw new Error(`FLEETLOCK_MUTATION must be plain-write or cached-yes: it is ${mutation}`);
}
const locks = mutation === "plain-write" ? new LockService(plainWrite(store)) : new BelievingLockService(store, signal);
locks.watch(signal);
const handler = createHandler({
  locks,
  metrics: new Metrics({ version: mutation }),
  logger: getLogger("fleetlock"),
  readiness: () => Promise.resolve({ kind: "ready" }),
});
Deno.serve({ ...config.address, onListen: () => {} }, handler);
