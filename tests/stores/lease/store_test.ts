/**
 * The Lease store against answers that a real API server gives too seldom, or that are not its own. Which Leases are
 * groups is in leases_as_groups_test.ts, and a Lease that is being deleted in being_deleted_test.ts.
 *
 * @module
 */

import { equal, ok, rejects } from "node:assert/strict";
import { UnavailableError } from "../../../src/lock/errors.ts";
import { GroupView } from "../../../src/lock/group_view.ts";
import { type ClientId, parseGroup } from "../../../src/lock/identity.ts";
import { ABSENT } from "../../../src/lock/lock_store.ts";
import { Leases } from "../../../src/stores/lease/leases.ts";
import { LeaseLockStore } from "../../../src/stores/lease/store.ts";
import { fakeApiServer, json, status } from "../../support/fake_api_server.ts";

const GROUP = parseGroup("default")!;
const HELD = { holders: [{ id: "a" as ClientId, since: Date.UTC(2026, 0, 2) }], transitions: 1 };
const LEASE = {
  apiVersion: "coordination.k8s.io/v1",
  kind: "Lease",
  metadata: { name: "fleetlock-default", namespace: "default", resourceVersion: "7", uid: "u" },
  spec: { holderIdentity: "a" },
};
const LIST = { apiVersion: "coordination.k8s.io/v1", kind: "LeaseList", metadata: { resourceVersion: "9" }, items: [] };

/** Answers of a proxy, an ingress or another server, to whatever was asked. */
const NOT_THE_API_SERVERS: Record<string, () => Response> = {
  "a page in plain text": () => new Response("default backend - 404", { status: 404 }),
  "a page in HTML": () => new Response("<h1>Not Found</h1>", { status: 404, headers: { "content-type": "text/html" } }),
  "an empty page": () => new Response(null, { status: 404 }),
  "a page in JSON": () => json({ error: "not found" }, 404),
  "a page in JSON with a reason": () => json({ reason: "NotFound", code: 404, message: "not found" }, 404),
  "a Status with another reason": () => status(404, { reason: "Unknown", message: "not found" }),
};

for (const [what, answer] of Object.entries(NOT_THE_API_SERVERS)) {
  Deno.test(`Lease store: ${what} with status 404 says nothing about a group`, async () => {
    await using fake = await fakeApiServer(answer);
    const store = new LeaseLockStore(new Leases(fake.client, { pauseMs: 1, maxPauseMs: 1 }));
    await rejects(store.read(GROUP), UnavailableError);
    await rejects(store.list(), UnavailableError);
    await rejects(store.write(GROUP, ABSENT, HELD), UnavailableError);
    const lost = Promise.withResolvers<unknown>();
    const stop = new AbortController();
    const view = new GroupView({ lost: lost.resolve });
    const watched = store.watch(view, stop.signal);
    ok(await lost.promise);
    equal(view.isSynced, false);
    stop.abort();
    await watched;
  });
}

Deno.test("Lease store: a write that is answered with such a page is not a conflict, which would be taken for a state", async () => {
  await using fake = await fakeApiServer((request) =>
    request.method === "GET" ? json(LEASE) : new Response("default backend - 404", { status: 404 })
  );
  const store = new LeaseLockStore(new Leases(fake.client));
  await rejects(store.write(GROUP, await store.read(GROUP), HELD), UnavailableError);
});

Deno.test("Lease store: only the API server's own NotFound means that a group does not exist", async () => {
  await using fake = await fakeApiServer(() => status(404, { reason: "NotFound", message: "not found" }));
  equal(await new LeaseLockStore(new Leases(fake.client)).read(GROUP), ABSENT);
});

/** Versions on which a write would not be conditional. */
const UNUSABLE = [undefined, null, "", "0", "-1", "abc", "1.5"];

for (const resourceVersion of UNUSABLE) {
  Deno.test(`Lease store: an answer with the resourceVersion ${JSON.stringify(resourceVersion)} cannot be used`, async () => {
    await using fake = await fakeApiServer(({ url }) =>
      new URL(url).pathname.endsWith("/leases")
        ? json({ ...LIST, metadata: { resourceVersion } })
        : json({ ...LEASE, metadata: { ...LEASE.metadata, resourceVersion } })
    );
    const store = new LeaseLockStore(new Leases(fake.client));
    await rejects(store.read(GROUP), UnavailableError);
    await rejects(store.list(), UnavailableError);
  });
}
