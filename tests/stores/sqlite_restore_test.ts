/** The SQLite file restored from a backup while two processes use it. @module */

import { equal } from "node:assert/strict";
import { join } from "node:path";
import { backup, DatabaseSync } from "node:sqlite";
import { startSqliteChild, temporaryFolder } from "./sqlite_support.ts";

const ROUNDS = 10;

/** How a file is restored. */
const RESTORES: Record<string, (copy: string, file: string) => Promise<void> | void> = {
  async "by SQLite's backup API"(copy, file) {
    using source = new DatabaseSync(copy);
    await backup(source, file);
  },
  "by a copy over the file in place": (copy, file) => Deno.writeFileSync(file, Deno.readFileSync(copy)),
};

for (const [how, restore] of Object.entries(RESTORES)) {
  Deno.test(`SQLite: a file that is restored ${how} under two running processes never gives two yeses`, async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, "locks.db");
    await using first = startSqliteChild("serve", file);
    await using second = startSqliteChild("serve", file);
    for (let round = 0; round < ROUNDS; round++) {
      equal(await first.ask("read"), "free");
      equal(await second.ask("read"), "free");
      equal(await first.ask("lock z"), "grant");
      equal(await first.ask("unlock z"), "free");
      const copy = join(folder.path, `${round}.db`);
      {
        using source = new DatabaseSync(file);
        await backup(source, copy);
      }
      equal(await first.ask("lock a"), "grant");
      equal(await first.ask("unlock a"), "free");
      await restore(copy, file);

      // As many writes as the first process has seen, so that a counter would stand where it stood then.
      equal(await second.ask("lock b"), "grant");
      equal(await second.ask("lock b"), "renew");
      equal(await first.ask("lock a"), "full", `round ${round}: b holds the only slot`);
      equal(await first.ask("read"), "b");
      equal(await second.ask("lock b"), "renew");
      equal(await second.ask("unlock b"), "free");
    }
  });
}
