/**
 * The pauses of a watch, on a clock that proves them: nothing is asked of the server before the time has passed.
 * @module
 */

import { deepEqual, equal } from "node:assert/strict";
import type { KubernetesClient } from "../../src/kubernetes/client.ts";
import { ServerClock } from "../../src/kubernetes/server_clock.ts";
import { watchResource } from "../../src/kubernetes/watch.ts";
import { UnavailableError } from "../../src/lock/errors.ts";
import { until } from "../support/condition.ts";
import { fakeApiServer, json, status } from "../support/fake_api_server.ts";
import { FakeClock } from "../support/fake_clock.ts";

const isWatch = (request: Request) => new URL(request.url).searchParams.has("watch");
const list = () => json({ apiVersion: "v1", kind: "NodeList", metadata: { resourceVersion: "5" }, items: [] });
const expired = () => {
  const object = {
    kind: "Status",
    apiVersion: "v1",
    status: "Failure",
    code: 410,
    reason: "Expired",
    message: "too old",
  };
  return new Response(`${JSON.stringify({ type: "ERROR", object })}\n`);
};

/**
 * Runs a watch against a server, and tells after which pauses it asked for a list again.
 *
 * @param count How many pauses to measure.
 */
async function pausesOf(
  answer: (request: Request) => Response,
  count: number,
  options: { random?: number; maxPauseMs?: number; forbiddenPauseMs?: number } = {},
): Promise<number[]> {
  const { random = 1, ...more } = options;
  const clock = new FakeClock();
  await using fake = await fakeApiServer(answer);
  const lists = () =>
    fake.requests.filter((request) => !request.includes("watch=") || request.includes("sendInitialEvents")).length;
  const stop = new AbortController();
  let losses = 0;
  const ended = watchResource(
    fake.client,
    { path: "/api/v1/nodes", view: (node: unknown) => node, random: () => random, clock, pauseMs: 1_000, ...more },
    { synced: () => {}, changed: () => {}, lost: () => void losses++ },
    stop.signal,
  );
  const pauses: number[] = [];
  try {
    while (pauses.length < count) {
      const before = pauses.length + 1;
      await until(() => losses === before && clock.sleepers === 1, { what: `the pause after loss ${before}` });
      const pause = clock.nextIn!;
      pauses.push(pause);
      if (pause > 0) {
        await clock.advance(pause - 1);
        // A watch that does not wait would ask now.
        for (let turns = 0; turns < 20; turns++) await clock.advance(0);
        equal(lists(), before);
        await clock.advance(1);
      } else await clock.advance(0);
      await until(() => lists() === before + 1, { what: "another list" });
    }
  } finally {
    stop.abort();
    await ended;
  }
  return pauses;
}

for (const [random, share] of [[1, 1], [0, 0.5]] as const) {
  Deno.test(`a list that fails is repeated after pauses that double up to the limit, with the random number ${random}`, async () => {
    const pauses = await pausesOf(() => status(500), 6, { random, maxPauseMs: 8_000 });
    deepEqual(pauses, [1_000, 2_000, 4_000, 8_000, 8_000, 8_000].map((ms) => ms * share));
  });
}

Deno.test("a watch that is asked for a pause waits at least as long, and no longer than its longest pause", async () => {
  const clock = new FakeClock();
  const asked = [3_000, 20_000, undefined];
  const tries: number[] = [];
  // The transport holds its calls back by itself, so that this client has none.
  const client: Pick<KubernetesClient, "clock" | "stream"> = {
    clock: new ServerClock(clock),
    stream: () => {
      tries.push(clock.passed);
      return Promise.reject(new UnavailableError("busy", { retryAfterMs: asked[tries.length - 1] }));
    },
  };
  const stop = new AbortController();
  const ended = watchResource(
    client as KubernetesClient,
    { path: "/api/v1/nodes", view: (node: unknown) => node, random: () => 0, clock, pauseMs: 2_000, maxPauseMs: 8_000 },
    { synced: () => {}, changed: () => {}, lost: () => {} },
    stop.signal,
  );
  await clock.advance(0);
  for (let seconds = 0; seconds < 15; seconds++) await clock.advance(1_000);
  deepEqual(tries, [0, 3_000, 11_000, 15_000]);
  stop.abort();
  await ended;
});

Deno.test("where the server ends each watch at once, the next one is opened after the pause, not before", async () => {
  const clock = new FakeClock();
  let watches = 0;
  await using fake = await fakeApiServer((request) => {
    const query = new URL(request.url).searchParams;
    if (query.has("sendInitialEvents")) return status(422, { reason: "Invalid", message: "sendInitialEvents" });
    if (!isWatch(request)) return list();
    equal(query.get("resourceVersion"), "5");
    watches++;
    return new Response("");
  });
  const stop = new AbortController();
  const lost: unknown[] = [];
  const ended = watchResource(
    fake.client,
    { path: "/api/v1/nodes", view: (node: unknown) => node, random: () => 0, clock, pauseMs: 1_000 },
    { synced: () => {}, changed: () => {}, lost: (error) => lost.push(error) },
    stop.signal,
  );
  try {
    for (let count = 1; count <= 3; count++) {
      await until(() => watches === count && clock.sleepers === 1 && clock.nextIn === 1_000, {
        what: `pause ${count}`,
      });
      await clock.advance(999);
      for (let turns = 0; turns < 20; turns++) await clock.advance(0);
      equal(watches, count);
      await clock.advance(1);
    }
  } finally {
    stop.abort();
    await ended;
  }
  deepEqual(lost, []);
});

Deno.test("a version that has expired is listed again at once, and after pauses if it expires at once each time", async () => {
  const pauses = await pausesOf((request) => isWatch(request) ? expired() : list(), 4);
  deepEqual(pauses, [0, 2_000, 4_000, 8_000]);
});

Deno.test("a watch that is denied asks seldom, each time after about the pause for that", async () => {
  const denied = () =>
    status(403, {
      message: 'nodes is forbidden: User "x" cannot list resource "nodes" in API group "" at the cluster scope',
    });
  deepEqual(await pausesOf(denied, 2, { random: 0.5, forbiddenPauseMs: 60_000 }), [60_000, 60_000]);
});
