/** The SQLite store over several processes: killed at any moment, and racing. @module */

import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { parseGroup } from "../../src/lock/identity.ts";
import { SqliteLockStore } from "../../src/stores/sqlite.ts";
import { until } from "../support/condition.ts";
import { type SqliteChild, startSqliteChild, temporaryFolder } from "./sqlite_support.ts";

const ROUNDS = 20;

/** Set it to the seed that a failed run has printed. */
const SEED = Number(Deno.env.get("FLEETLOCK_TEST_SEED") ?? Date.now() % 1_000_000);

Deno.test({
  name: `a kill -9 at any moment loses no granted lock (FLEETLOCK_TEST_SEED=${SEED})`,
  sanitizeOps: true,
  sanitizeResources: true,
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
      assert.deepEqual(database.prepare("PRAGMA integrity_check").all().map((row) => row.integrity_check), ["ok"]);
    }

    await using store = await SqliteLockStore.open(file);
    for (const { group, id } of printed.filter(({ group }) => group !== "shared")) {
      const { state } = await store.read(parseGroup(group)!);
      assert.deepEqual(state.holders.map((holder) => holder.id), [id], `grant of ${group}`);
    }
    // One grant a round at most may have been written and not printed.
    const shared = printed.filter(({ group }) => group === "shared").map(({ transitions }) => transitions);
    assert.deepEqual(shared, [...new Set(shared)].sort((a, b) => a - b), "a grant was undone");
    const { state } = await store.read(parseGroup("shared")!);
    assert.ok(state.transitions >= shared.at(-1)! && state.transitions <= shared.at(-1)! + 1);
    assert.ok(printed.length >= ROUNDS);
  },
});

Deno.test({
  name: "two processes that make one file at the same time both find it theirs",
  sanitizeOps: true,
  sanitizeResources: true,
  async fn() {
    await using folder = await temporaryFolder();
    await using first = startSqliteChild("open", folder.path, "first", "second", "200");
    await using second = startSqliteChild("open", folder.path, "second", "first", "200");
    await Promise.all([succeeded(first), succeeded(second)]);
  },
});

Deno.test({
  name: "two processes on one file never hold one slot both, and lose no write",
  sanitizeOps: true,
  sanitizeResources: true,
  async fn() {
    await using folder = await temporaryFolder();
    const file = join(folder.path, "new", "locks.db");
    const grants = 100;
    await using first = startSqliteChild("race", file, "default", "first", String(grants));
    await using second = startSqliteChild("race", file, "default", "second", String(grants));
    await Promise.all([succeeded(first), succeeded(second)]);

    await using store = await SqliteLockStore.open(file);
    const { state, version } = await store.read(parseGroup("default")!);
    assert.deepEqual(state.holders, []);
    assert.equal(state.transitions, 2 * grants);
    assert.equal(version, 2 + 4 * grants);
  },
});

/** Waits for a child's end; throws as soon as it has failed, so that nobody waits for its opponent. */
async function succeeded(child: SqliteChild): Promise<void> {
  assert.equal((await child.ended).code, 0);
}

/** Mulberry32: numbers from 0 to 1, the same for the same seed. */
function seeded(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
