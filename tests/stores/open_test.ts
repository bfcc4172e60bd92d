/** The table of stores: which store a configuration opens. @module */

import { equal, ok, rejects } from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { ConfigError } from "../../src/config/config_error.ts";
import { UnavailableError } from "../../src/lock/errors.ts";
import { MemoryLockStore } from "../../src/lock/lock_store.ts";
import { LeaseLockStore } from "../../src/stores/lease/store.ts";
import { openStore } from "../../src/stores/open.ts";
import { SqliteLockStore } from "../../src/stores/sqlite/store.ts";
import { fakeApiServer, json } from "../support/fake_api_server.ts";
import { HastyClock } from "../support/fake_clock.ts";
import { temporaryFolder } from "./sqlite_support.ts";

Deno.test("each choice opens its store", async () => {
  await using folder = await temporaryFolder();
  await using fake = await fakeApiServer(() => json({}));
  await using memory = await openStore({ kind: "memory" }, undefined);
  ok(memory instanceof MemoryLockStore);
  await using sqlite = await openStore({ kind: "sqlite", path: join(folder.path, "locks.db") }, undefined);
  ok(sqlite instanceof SqliteLockStore);
  await using lease = await openStore({ kind: "kubernetes" }, fake.client);
  ok(lease instanceof LeaseLockStore);
});

Deno.test("a store in Kubernetes needs a client", async () => {
  await rejects(openStore({ kind: "kubernetes" }, undefined), TypeError);
});

/** A clock whose every sleep takes the whole time that the store waits for a locked file. */
class JumpingClock extends HastyClock {
  override sleep(): Promise<void> {
    return this.advance(5_000);
  }
}

Deno.test("a file that stays locked at the start is an error of the configuration", async () => {
  await using folder = await temporaryFolder();
  const path = join(folder.path, "locks.db");
  using database = new DatabaseSync(path);
  database.exec("BEGIN EXCLUSIVE");
  const clock = new JumpingClock();
  await rejects(
    openStore({ kind: "sqlite", path }, undefined, { clock }),
    (error) => {
      ok(error instanceof ConfigError);
      ok(error.cause instanceof UnavailableError);
      return true;
    },
  );
  equal(clock.passed, 5_000);
});
