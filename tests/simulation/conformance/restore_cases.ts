/**
 * What the modelled API server and a real one must answer alike after etcd has gone back to a backup and the API server
 * was started again, as etcd's manual requires: versions go back and come again, and nobody is told.
 *
 * Without that start, a real API server goes on to list from its cache what the backup does not have, for good. Neither
 * the model nor the program allows for it.
 *
 * @see https://etcd.io/docs/v3.6/op-guide/recovery/#restoring-with-revision-bump
 * @module
 */

import { type Answer, type Case, lease, leasesOf, line, MERGE, seen, type Subject } from "./cases.ts";

/** How many writes there are between the backup and the restore. A real API server makes a few of its own. */
const WRITES = 150;

// deno-lint-ignore no-explicit-any
type Json = any;

/** What there was before the restore. */
interface Before {
  readonly path: string;
  /** A Lease as the backup has it. */
  readonly backup: Json;
  /** The states of that Lease after the backup, by their version. */
  readonly later: ReadonlyMap<string, Json>;
  /** A Lease that the backup does not have. */
  readonly unknown: Json;
  /** The last version. */
  readonly future: number;
  /** The token of the second page of a list at that version. */
  readonly token: string;
}

/** Makes a backup of the Leases a, b and c, changes a, deletes b and adds d, and goes back to the backup. */
async function restored({ namespace, call, backUp }: Subject): Promise<Before> {
  const path = leasesOf(namespace);
  for (const name of ["a", "b", "c"]) await call("POST", path, lease(name, "backup"));
  const backup = (await call("GET", `${path}/a`)).body;
  const restore = await backUp();
  await call("DELETE", `${path}/b`);
  const unknown = (await call("POST", path, lease("d", "later"))).body;
  const later = new Map<string, Json>();
  for (let write = 0; write < WRITES; write++) {
    const { body } = await call("PATCH", `${path}/a`, { spec: { holderIdentity: `later ${write}` } }, { type: MERGE });
    later.set(body.metadata.resourceVersion, body);
  }
  const { resourceVersion, continue: token } = (await call("GET", `${path}?limit=1`)).body.metadata;
  await restore();
  return { path, backup, later, unknown, future: Number(resourceVersion), token: encodeURIComponent(token) };
}

function versionOf({ body }: Answer): number {
  return Number(body.metadata.resourceVersion);
}

/** Changes the Lease a until its version meets a condition. */
async function writeUntil({ call }: Subject, path: string, condition: (version: number) => boolean): Promise<void> {
  for (let write = 0; write < 2 * WRITES; write++) {
    const spec = { holderIdentity: `again ${write}` };
    if (condition(versionOf(await call("PATCH", `${path}/a`, { spec }, { type: MERGE })))) return;
  }
  throw new Error("the version did not come");
}

/** The cases, by name. */
export const RESTORE_CASES: Readonly<Record<string, Case>> = {
  async "a restore of etcd brings back the objects and the versions of the backup"(subject) {
    const { call, watch } = subject;
    const { path, backup, future, token } = await restored(subject);
    const list = await call("GET", path);
    const answers = [list];
    for (const name of ["a", "b", "d"]) answers.push(await call("GET", `${path}/${name}`));
    const isBack = answers[1]!.body.metadata.resourceVersion === backup.metadata.resourceVersion;
    const exact = `resourceVersion=${future}&resourceVersionMatch=Exact`;
    answers.push(await call("GET", `${path}?${exact}&limit=1&fieldSelector=metadata.name%3Da`));
    answers.push(await call("GET", `${path}?limit=1&continue=${token}`));
    const query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    const lines = await (await watch(`${path}?${query}&timeoutSeconds=20`))(4);
    return [answers.map(seen), isBack, versionOf(list) < future, lines.map(line)];
  },
  async "a write at a version from before a restore is refused until that version has come again"(subject) {
    const { call } = subject;
    const { path, backup, later, unknown, future } = await restored(subject);
    const put = (lease: Json) =>
      call("PUT", `${path}/${lease.metadata.name}`, { ...lease, spec: { holderIdentity: "z" } });
    const last = [...later.values()].at(-1)!;
    const answers = [await put(unknown), await put(last), await put(backup), await put(backup)];
    // The API server cannot tell a version of one history from the same version of another.
    let version = 0;
    await writeUntil(subject, path, (now) => later.has(`${version = now}`) || now > future);
    answers.push(await put(later.get(`${version}`)));
    return answers.map(seen);
  },
  async "a watch and a list that go on at a version from before a restore miss what happened until then"(subject) {
    const { call, watch } = subject;
    const { path, future, token } = await restored(subject);
    const query = `${path}?watch=1&resourceVersion=${future}&timeoutSeconds=20`;
    // It is not refused: it says nothing until the version has come again.
    const waiting = await watch(query);
    await call("DELETE", `${path}/c`);
    await writeUntil(subject, path, (version) => version > future + 2);
    const late = await watch(query);
    const shown = [...await waiting(2), ...await late(2)];
    const page = await call("GET", `${path}?limit=1&continue=${token}`);
    return [
      shown.map(({ type, object }) => [type, object.metadata.name, Number(object.metadata.resourceVersion) > future]),
      // The next page shows what the new history has at that version.
      seen(page),
      versionOf(page) === future,
    ];
  },
};
