/** The SQLite store in several processes that are killed at any moment, or race. @module */

import { deepEqual, equal, ok } from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { parseGroup } from "../../src/lock/identity.ts";
import { SqliteLockStore } from "../../src/stores/sqlite/store.ts";
import { until } from "../support/condition.ts";
import { type SqliteChild, startSqliteChild, temporaryFolder } from "./sqlite_support.ts";

const ROUNDS = 20;

/** The seed. Set the variable to the seed of a failed run to repeat it. */
const SEED = Number(Deno.env.get("FLEETLOCK_TEST_SEED") ?? Date.now() % 1_000_000);

Deno.test({
  name: `a granted lock survives a kill -9 at any moment (FLEETLOCK_TEST_SEED=${SEED})`,
  async fn() {
    await using folder = await temporaryFolder();
    const file = join(folder.path, "locks.db");
    const random = seeded(SEED);
    const printed: { group: string; id: string; transitions: number }[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      await using child = startSqliteChild("grant", file, String(round));
      const grants = 1 + Math.floor(random() * 40);
      await until(() => child.lines.length >= grants, { what: `${grants} grants in round ${round}` });
      for (let spin = Math.floor(random() * 2000); spin > 0; spin--) await Promise.resolve();
      await child.kill();
      for (const line of child.lines) {
        const [group, id, transitions] = line.split(" ");
        printed.push({ group: group!, id: id!, transitions: Number(transitions) });
      }

      using database = new DatabaseSync(file);
      deepEqual(database.prepare("PRAGMA integrity_check").all().map((row) => row.integrity_check), ["ok"]);
    }

    await using store = await SqliteLockStore.open(file);
    for (const { group, id } of printed.filter(({ group }) => group !== "shared")) {
      const { state } = await store.read(parseGroup(group)!);
      deepEqual(state.holders.map((holder) => holder.id), [id], `grant of ${group}`);
    }
    // In each round, at most one grant may have been written and not printed.
    const shared = printed.filter(({ group }) => group === "shared").map(({ transitions }) => transitions);
    deepEqual(shared, [...new Set(shared)].sort((a, b) => a - b), "a grant was undone");
    const { state } = await store.read(parseGroup("shared")!);
    ok(state.transitions >= shared.at(-1)! && state.transitions <= shared.at(-1)! + 1);
    ok(printed.length >= ROUNDS);
  },
});

Deno.test({
  name: "two processes that create one file at the same time can both use it",
  async fn() {
    await using folder = await temporaryFolder();
    await using first = startSqliteChild("open", folder.path, "first", "second", "200");
    await using second = startSqliteChild("open", folder.path, "second", "first", "200");
    await Promise.all([succeeded(first), succeeded(second)]);
  },
});

Deno.test({
  name: "two processes on one file never hold one slot at the same time, and every write counts",
  async fn() {
    await using folder = await temporaryFolder();
    const file = join(folder.path, "locks.db");
    const grants = 100;
    await using first = startSqliteChild("race", file, "default", "first", String(grants));
    await using second = startSqliteChild("race", file, "default", "second", String(grants));
    await Promise.all([succeeded(first), succeeded(second)]);

    await using store = await SqliteLockStore.open(file);
    const { state, version } = await store.read(parseGroup("default")!);
    deepEqual(state.holders, []);
    equal(state.transitions, 2 * grants);
    equal(version, 2 + 4 * grants);
  },
});

/** Waits for a child's end. Throws as soon as it has failed, so that the test does not wait for its opponent. */
async function succeeded(child: SqliteChild): Promise<void> {
  equal((await child.ended).code, 0);
}

/** Mulberry32: numbers from 0 to 1 that depend on the seed alone. */
function seeded(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
