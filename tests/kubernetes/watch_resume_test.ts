/** What a watch does when the API server has ended it, against a fake API server. @module */

import { deepEqual, equal, ok } from "node:assert/strict";
import type { ObjectVersion } from "../../src/kubernetes/list_pages.ts";
import { type WatchOptions, watchResource } from "../../src/kubernetes/watch.ts";
import { until } from "../support/condition.ts";
import { fakeApiServer, status } from "../support/fake_api_server.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { binaryList, wantsBinaryList } from "../support/metadata_list.ts";

type Metadata = { readonly name?: string; readonly uid?: string; readonly resourceVersion: string };

const object = (metadata: Metadata, annotations?: Record<string, string>) => ({
  apiVersion: "v1",
  kind: "Node",
  metadata: { ...metadata, annotations },
});

/** The answer to a watch. */
function lines(values: { type: string; object: unknown }[], isEnded: boolean): Response {
  const body = new ReadableStream({
    start(controller) {
      controller.enqueue(new TextEncoder().encode(values.map((value) => `${JSON.stringify(value)}\n`).join("")));
      if (isEnded) controller.close();
    },
  });
  return new Response(body, { headers: { "content-type": "application/json" } });
}

const all = (version: string, names: string[], isEnded = true) =>
  lines([
    ...names.map((name) => ({ type: "ADDED", object: object({ name, uid: `uid of ${name}`, resourceVersion: "1" }) })),
    { type: "BOOKMARK", object: object({ resourceVersion: version }, { "k8s.io/initial-events-end": "true" }) },
  ], isEnded);

/**
 * Runs a watch of which the API server ends the first stream, and notes the requests and what is told.
 *
 * @param now The version of the list of versions; undefined where that fails.
 */
async function afterAnEnd(isInStep: WatchOptions<unknown, string>["isInStep"], now: string | undefined) {
  const asked: string[] = [];
  const told: string[] = [];
  const clock = new FakeClock();
  const pauses: number[] = [];
  clock.sleep = (ms, signal) => {
    if (ms < 10_000) pauses.push(ms);
    return ms < 10_000 ? Promise.resolve() : FakeClock.prototype.sleep.call(clock, ms, signal);
  };
  let isFirst = true;
  await using fake = await fakeApiServer((request) => {
    const query = new URL(request.url).searchParams;
    equal(query.get("labelSelector"), "zone=1");
    if (wantsBinaryList(request.headers.get("accept"))) {
      asked.push("versions");
      if (now === undefined) return status(500);
      const items = [{ metadata: { name: "a", uid: "uid of a", resourceVersion: "1" } }];
      return binaryList({
        apiVersion: "meta.k8s.io/v1",
        kind: "PartialObjectMetadataList",
        metadata: { resourceVersion: now },
        items,
      });
    }
    const version = query.get("resourceVersion");
    asked.push(version === null ? "all" : `from ${version}`);
    if (version !== null) {
      return lines([{ type: "MODIFIED", object: object({ name: "a", resourceVersion: "9" }) }], false);
    }
    const answer = isFirst ? all("5", ["a"]) : all("7", ["b"], false);
    isFirst = false;
    return answer;
  });
  const stop = new AbortController();
  const options = { path: "/api/v1/nodes", labelSelector: "zone=1", isInStep, clock, random: () => 0.5 };
  const watching = watchResource<ReturnType<typeof object>, string>(
    fake.client,
    { ...options, view: ({ metadata }) => metadata.name! },
    {
      synced: (names, version) => told.push(`${names} at ${version}`),
      changed: (type, name) => told.push(`${type} ${name}`),
      lost: () => told.push("lost"),
    },
    stop.signal,
  );
  await until(() => told.filter((one) => one !== "lost").length === 2);
  stop.abort();
  await watching;
  return { asked, told, pauses };
}

Deno.test("after its end a watch shows all objects again, where it cannot tell whether it is in step", async () => {
  const { asked, told, pauses } = await afterAnEnd(undefined, "5");
  deepEqual(told, ["a at 5", "b at 7"]);
  deepEqual(asked, ["all", "all"]);
  deepEqual(pauses, [500], "a watch that the API server ends at once is not opened again without a pause");
});

Deno.test("after its end a watch goes on where it is in step, which is asked with all versions once the next has begun", async () => {
  const given: [readonly ObjectVersion[], bigint][] = [];
  const { asked, told } = await afterAnEnd((versions, version) => given.push([versions, version]) > 0, "5");
  deepEqual(told, ["a at 5", "MODIFIED a"]);
  deepEqual(asked, ["all", "from 5", "versions"]);
  deepEqual(given, [[[{ name: "a", uid: "uid of a", resourceVersion: "1" }], 5n]]);
});

Deno.test("after its end a watch that is not in step shows all objects again, and is not lost", async () => {
  const { asked, told } = await afterAnEnd(() => false, "8");
  deepEqual(told, ["a at 5", "b at 7"]);
  deepEqual(asked, ["all", "from 5", "versions", "all"]);
});

Deno.test("a version that went back means that etcd was restored: all objects are shown again", async () => {
  let isAsked = false;
  const { told } = await afterAnEnd(() => isAsked = true, "4");
  deepEqual(told, ["a at 5", "b at 7"]);
  ok(!isAsked);
});

Deno.test("a watch whose versions cannot be read is lost", async () => {
  const { asked, told } = await afterAnEnd(() => true, undefined);
  deepEqual(told, ["a at 5", "lost", "b at 7"]);
  deepEqual(asked.slice(0, 3), ["all", "from 5", "versions"]);
});
