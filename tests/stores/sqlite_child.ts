/**
 * A process on a SQLite store, which tests kill or let race with another.
 *
 * - `grant FILE ROUND`: grants locks forever, and prints `GROUP ID TRANSITIONS` after each grant.
 * - `race FILE GROUP ID COUNT`: waits for its opponent, then takes and frees the one slot of a group COUNT
 *   times. While it holds the slot, it keeps a file next to the database that only one process can create,
 *   so that it fails if both hold the slot at once. Prints the number of conflicts.
 * - `open FOLDER ID OTHER COUNT`: opens COUNT new files, each at the same moment as its opponent.
 * - `serve FILE`: answers `lock ID`, `unlock ID` and `read` of the group "default" on its standard input, each on one
 *   line. It decides on what it saw last, as a server does whose watch has not reported a change yet.
 *
 * @module
 */

import { existsSync } from "node:fs";
import { parseClientId, parseGroup } from "../../src/lock/identity.ts";
import { acquire, type GroupState, release } from "../../src/lock/semaphore.ts";
import { SqliteLockStore } from "../../src/stores/sqlite/store.ts";

const [command, file = "", ...args] = Deno.args;
switch (command) {
  case "grant": {
    await using store = await SqliteLockStore.open(file);
    await grantForEver(store, args[0]!);
    break;
  }
  case "race": {
    await using store = await SqliteLockStore.open(file);
    await race(store, args[0]!, args[1]!, Number(args[2]));
    break;
  }
  case "open":
    await openTogether(args[0]!, args[1]!, Number(args[2]));
    break;
  case "serve": {
    await using store = await SqliteLockStore.open(file);
    await serve(store);
    break;
  }
  default:
    throw new Error(`Unknown command: ${command}`);
}

/** Creates groups, and passes the one slot of the group "shared" from client to client. */
async function grantForEver(store: SqliteLockStore, round: string): Promise<void> {
  const shared = parseGroup("shared")!;
  for (let n = 0;; n++) {
    const group = n % 2 === 0 ? shared : parseGroup(`round-${round}-${n}`)!;
    const id = parseClientId(`host-${round}-${n}`)!;
    let found = await store.read(group);
    for (const holder of found.state.holders) {
      const freed = release(found.state, holder.id, Date.now());
      if (freed.kind === "free") found = await must(store.write(group, found, freed.next));
    }
    const wish = acquire(found.state, id, 1, Date.now());
    if (wish.kind !== "grant") throw new Error(`Expected a grant of ${group}: ${wish.kind}`);
    const { state } = await must(store.write(group, found, wish.next));
    Deno.stdout.writeSync(new TextEncoder().encode(`${group} ${id} ${state.transitions}\n`));
  }
}

async function race(store: SqliteLockStore, groupName: string, idText: string, count: number): Promise<void> {
  const group = parseGroup(groupName)!;
  const id = parseClientId(idText)!;
  const witness = `${file}.holder`;
  await meet(store);
  let conflicts = 0;
  for (let grants = 0; grants < count;) {
    const found = await store.read(group);
    const wish = acquire(found.state, id, 1, Date.now());
    if (wish.kind !== "grant") continue;
    const written = await store.write(group, found, wish.next);
    if (written === "conflict") {
      conflicts++;
      continue;
    }
    grants++;
    Deno.openSync(witness, { createNew: true, write: true }).close();
    Deno.removeSync(witness);
    const freed = release(written.state, id, Date.now());
    if (freed.kind !== "free") throw new Error("The granted slot is not held");
    await must(store.write(group, written, freed.next));
  }
  console.log(`${conflicts} conflicts`);
}

async function serve(store: SqliteLockStore): Promise<void> {
  const group = parseGroup("default")!;
  let seen = await store.read(group);
  const transact = async (decide: () => { kind: string; next?: GroupState }): Promise<string> => {
    for (;;) {
      const { kind, next } = decide();
      if (next === undefined) return kind;
      const written = await store.write(group, seen, next);
      seen = written === "conflict" ? await store.read(group) : written;
      if (written !== "conflict") return kind;
    }
  };
  for await (const line of readLines()) {
    const [command, id = ""] = line.split(" ");
    const client = parseClientId(id)!;
    switch (command) {
      case "lock":
        console.log(await transact(() => acquire(seen.state, client, 1, Date.now())));
        break;
      case "unlock":
        console.log(await transact(() => release(seen.state, client, Date.now())));
        break;
      case "read":
        seen = await store.read(group);
        console.log(seen.state.holders.map((holder) => holder.id).join(",") || "free");
        break;
      default:
        throw new Error(`Unknown command: ${line}`);
    }
  }
}

async function* readLines(): AsyncGenerator<string> {
  let rest = "";
  for await (const text of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
    const whole = (rest + text).split("\n");
    rest = whole.pop()!;
    yield* whole;
  }
}

/** Waits until both processes have started, so that neither is done before the other begins. */
async function meet(store: SqliteLockStore): Promise<void> {
  const group = parseGroup("meeting")!;
  for (let isHere = false;;) {
    const found = await store.read(group);
    if (found.state.transitions === 2) return;
    const next = { ...found.state, transitions: found.state.transitions + 1 };
    if (!isHere) isHere = await store.write(group, found, next) !== "conflict";
  }
}

async function openTogether(id: string, other: string, count: number): Promise<void> {
  for (let n = 0; n < count; n++) {
    Deno.openSync(`${file}/${n}.${id}`, { create: true, write: true }).close();
    while (!existsSync(`${file}/${n}.${other}`));
    await using store = await SqliteLockStore.open(`${file}/${n}.db`);
    await store.list();
  }
}

async function must<T>(written: Promise<T | "conflict">): Promise<T> {
  const result = await written;
  if (result === "conflict") throw new Error("Another process wrote to a group that only this one may write to");
  return result;
}
