/**
 * The two operations on a Lease that is being deleted, and on one whose namespace is, from the API server's answers to
 * the outcome. The real garbage collector is in tests/cluster/lease_store_test.ts.
 *
 * @module
 */

import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { CallRefusedError } from "../../../src/lock/errors.ts";
import { parseClientId, parseGroup } from "../../../src/lock/identity.ts";
import { LockService } from "../../../src/lock/lock_service.ts";
import { Leases } from "../../../src/stores/lease/leases.ts";
import { LeaseLockStore } from "../../../src/stores/lease/store.ts";
import { fakeApiServer, json, status } from "../../support/fake_api_server.ts";
import { drained, ScriptedKeeper } from "../../support/scripted_keeper.ts";

const GROUP = parseGroup("default")!;
const ALICE = parseClientId("alice")!;
const FINALIZERS = ["example.com/keep"];
const ENDING = { kind: "lock_ending", object: "Lease default/fleetlock-default", finalizers: FINALIZERS };

/** An API server with at most one Lease, which a test deletes when it likes. */
function leaseServer(holder?: string) {
  const server = { version: 7, deletedAt: undefined as string | undefined, isGone: holder === undefined };
  /** The holders that were written. */
  const written: string[] = [];
  const lease = (spec: object) => {
    const { version, deletedAt } = server;
    const metadata = {
      name: "fleetlock-default",
      namespace: "default",
      resourceVersion: `${version}`,
      uid: "u",
      finalizers: FINALIZERS,
      deletionTimestamp: deletedAt,
    };
    return { apiVersion: "coordination.k8s.io/v1", kind: "Lease", metadata, spec };
  };
  let stored: object = { holderIdentity: holder, acquireTime: "2026-01-01T00:00:00.000000Z" };
  let annotations: object | undefined;
  const answer = () => {
    const made = lease(stored);
    return json({ ...made, metadata: { ...made.metadata, annotations } });
  };
  const handle = async (request: Request) => {
    if (request.method === "GET") {
      return server.isGone ? status(404, { reason: "NotFound", message: "not found" }) : answer();
    }
    const sent = await request.json();
    ok(request.method === "POST" || sent.metadata.resourceVersion === `${server.version}`);
    server.version++;
    server.isGone = false;
    stored = sent.spec;
    annotations = sent.metadata.annotations;
    written.push(sent.spec.holderIdentity);
    return answer();
  };
  return { server, written, handle };
}

const ROWS: [what: string, holder: string, operation: "preReboot" | "steadyState", kind: string, written: string[]][] =
  [
    ["a grant", "", "preReboot", "lock_ending", []],
    ["a renewal", "alice", "preReboot", "lock_ending", []],
    ["a grant beside another's hold", "bob", "preReboot", "lock_ending", []],
    ["a release", "alice", "steadyState", "released", [""]],
    ["a release of nothing", "bob", "steadyState", "not_held", []],
  ];

for (const [what, holder, operation, kind, expected] of ROWS) {
  Deno.test(`${what} on a Lease that is being deleted ends as ${kind}`, async () => {
    const { server, written, handle } = leaseServer(holder);
    server.deletedAt = "2026-01-02T00:00:00Z";
    await using fake = await fakeApiServer(handle);
    const locks = new LockService(new LeaseLockStore(new Leases(fake.client)));
    const outcome = await locks[operation](ALICE, GROUP);
    if (outcome.kind === "refused") deepEqual(outcome.refusal, ENDING);
    else equal(outcome.kind, kind);
    deepEqual(written, expected);
    // Once it is gone, the group is free.
    server.deletedAt = undefined;
    server.isGone = true;
    equal((await locks.preReboot(ALICE, GROUP)).kind, "granted");
  });
}

for (const when of ["before the node is noted as drained", "while that is noted"]) {
  Deno.test(`a Lease that somebody deletes ${when} gives no yes`, async () => {
    const { server, written, handle } = leaseServer();
    let isDrained = false;
    const end = () => server.deletedAt = "2026-01-02T00:00:00Z";
    await using fake = await fakeApiServer((request) => {
      // The API server refuses a write on an older version, so a deletion comes before it is read or after it is
      // written.
      if (isDrained && request.method === "PUT" && when.startsWith("while")) end();
      return handle(request);
    });
    const keeper = new ScriptedKeeper(() => written.at(-1) ? { id: ALICE, since: 0 } : undefined);
    keeper.drains = () => {
      isDrained = true;
      return Promise.resolve(drained());
    };
    const locks = new LockService(new LeaseLockStore(new Leases(fake.client)), { keeper });
    if (when.startsWith("before")) {
      keeper.drains = () => {
        end();
        server.version++;
        return Promise.resolve({ kind: "draining", node: "worker-1", pods: [] });
      };
      equal((await locks.preReboot(ALICE, GROUP)).kind, "refused");
      // Another replica has not seen anything yet.
      const other = new LockService(new LeaseLockStore(new Leases(fake.client)), { keeper });
      deepEqual(await other.preReboot(ALICE, GROUP), { kind: "refused", refusal: ENDING });
      equal(written.length, 1);
    } else {
      deepEqual(await locks.preReboot(ALICE, GROUP), { kind: "refused", refusal: ENDING });
    }
  });
}

Deno.test("a Lease whose namespace is being deleted is not created, and the refusal is the API server's sentence", async () => {
  const message = "unable to create new content in namespace default because it is being terminated";
  await using fake = await fakeApiServer(({ method }) => {
    if (method === "GET") return status(404, { reason: "NotFound", message: "not found" });
    const causes = [{ reason: "NamespaceTerminating", message: "namespace default is being terminated" }];
    return status(403, { reason: "Forbidden", message, details: { causes } });
  });
  const locks = new LockService(new LeaseLockStore(new Leases(fake.client)));
  await rejects(locks.preReboot(ALICE, GROUP), (error) => {
    ok(error instanceof CallRefusedError);
    equal(error.publicMessage, message);
    return true;
  });
  equal((await locks.steadyState(ALICE, GROUP)).kind, "not_held");
});
