/** The wait for a node's volumes. @module */

import { deepEqual, equal, rejects } from "node:assert/strict";
import { CallRetry } from "../../../src/keeper/drain/call_retry.ts";
import type { Attachment, PodCalls } from "../../../src/keeper/drain/pod_calls.ts";
import { awaitDetachment } from "../../../src/keeper/drain/volumes.ts";
import { ForbiddenError } from "../../../src/kubernetes/errors.ts";
import { UnavailableError } from "../../../src/lock/errors.ts";
import { FakeClock } from "../../support/fake_clock.ts";

const claim = (name: string) => ({ namespace: "shop", name });

/** Waits on a clock of the test for a node whose volumes are attached until the times given. */
function setUp(attachments: (Attachment & { untilMs?: number })[], claims: string[] = [], givenUp: string[] = []) {
  const clock = new FakeClock();
  const stop = new AbortController();
  const state = {
    failures: [] as unknown[],
    looks: [] as number[],
    read: [] as string[],
    waiting: [] as (readonly string[])[],
    left: undefined as unknown,
  };
  const isThere = ({ untilMs = Infinity }: { untilMs?: number }) => clock.passed < untilMs;
  const attempt = <T>(answer: () => T): Promise<T> => {
    const failure = state.failures.shift();
    return failure === undefined ? Promise.resolve(answer()) : Promise.reject(failure);
  };
  const calls: Pick<PodCalls, "listAttachments" | "hasAttachment" | "volumeOf"> = {
    listAttachments: (node) => {
      equal(node, "n");
      return attempt(() => attachments.filter(isThere));
    },
    hasAttachment: (name) => {
      state.looks.push(clock.passed);
      return attempt(() => attachments.some((one) => one.name === name && isThere(one)));
    },
    volumeOf: ({ namespace, name }) => {
      equal(namespace, "shop");
      state.read.push(name);
      return attempt(() => name === "unbound" ? undefined : `pv-${name}`);
    },
  };
  const retry = new CallRetry({
    clock,
    deadline: clock.monotonic() + 3_600_000,
    deniedMs: 0,
    signal: stop.signal,
    retrying: () => {},
  });
  const start = async () => {
    const waiting = (names: readonly string[]) => void state.waiting.push(names);
    const options = { calls, retry, clock, waitMs: 10_000, givenUp: new Set(givenUp), waiting, signal: stop.signal };
    const end = awaitDetachment("n", claims.map(claim), options).then((left) => state.left = left);
    end.catch(() => {});
    await clock.advance(0);
    return { end };
  };
  return { clock, stop, state, start };
}

Deno.test("a node without volumes is not waited for, and no claim is read", async () => {
  const { state, start } = setUp([], ["data"]);
  await start();
  deepEqual([state.left, state.read, state.looks], [[], [], []]);
});

Deno.test("volumes are looked at every two seconds until the last is detached", async () => {
  const { clock, state, start } = setUp([{ name: "a", untilMs: 1_000 }, { name: "b", untilMs: 3_000 }]);
  await start();
  await clock.advance(1_999);
  deepEqual(state.looks, []);
  await clock.advance(1);
  // The first one is gone, so it is not asked for again.
  deepEqual([state.looks, state.left], [[2_000, 2_000], undefined]);
  await clock.advance(2_000);
  deepEqual([state.looks, state.left], [[2_000, 2_000, 4_000], []]);
});

Deno.test("when the wait is over, the volumes that are still attached are named", async () => {
  const { clock, state, start } = setUp([{ name: "a", untilMs: 3_000 }, { name: "b" }]);
  await start();
  for (let passed = 0; passed < 8_000; passed += 2_000) await clock.advance(2_000);
  equal(state.left, undefined);
  await clock.advance(2_000);
  deepEqual(state.left, ["b"]);
  equal(clock.sleepers, 0);
});

Deno.test("volumes that an earlier wait has given up are not waited for again, and the others are named meanwhile", async () => {
  const given = setUp([{ name: "a" }], ["data"], ["a", "b"]);
  await given.start();
  deepEqual([given.state.left, given.state.read, given.state.waiting], [[], [], []]);
  const { clock, state, start } = setUp([{ name: "a" }, { name: "b", untilMs: 3_000 }, { name: "c" }], [], ["a"]);
  await start();
  for (let passed = 0; passed < 10_000; passed += 2_000) await clock.advance(2_000);
  deepEqual(state.left, ["c"]);
  deepEqual(state.waiting, [["b", "c"], ["b", "c"], ["c"], ["c"], ["c"]]);
});

Deno.test("the volumes of pods that stay are not waited for, inline ones and others are", async () => {
  const attached = [{ name: "stays", volume: "pv-data" }, { name: "other", volume: "pv-other" }, { name: "inline" }];
  const { clock, state, start } = setUp(attached, ["data", "unbound"]);
  await start();
  deepEqual(state.read, ["data", "unbound"]);
  for (let passed = 0; passed < 10_000; passed += 2_000) await clock.advance(2_000);
  deepEqual(state.left, ["other", "inline"]);
});

Deno.test("without the permission to read claims, the volumes of pods that stay are waited for too", async () => {
  const { clock, state, start } = setUp([{ name: "stays", volume: "pv-data" }], ["data"]);
  state.failures = [
    undefined,
    new ForbiddenError("no", { verb: "get", group: "", resource: "persistentvolumeclaims" }),
  ];
  await start();
  for (let passed = 0; passed < 10_000; passed += 2_000) await clock.advance(2_000);
  deepEqual([state.left, state.read], [["stays"], ["data"]]);
});

Deno.test("a call that fails is repeated, and one that is denied ends the wait with its error", async () => {
  const away = new UnavailableError("away");
  const { clock, state, start } = setUp([{ name: "stays", volume: "pv-data" }, { name: "b", untilMs: 2_500 }], [
    "data",
  ]);
  state.failures = [away, undefined, away, undefined, away];
  await start();
  for (let passed = 0; passed < 10_000; passed += 500) await clock.advance(500);
  deepEqual(state.left, []);
  const other = setUp([{ name: "a" }]);
  const error = new ForbiddenError("no", { verb: "list", group: "storage.k8s.io", resource: "volumeattachments" });
  other.state.failures = [error];
  await rejects((await other.start()).end, error);
});

Deno.test("a stop ends the wait at once", async () => {
  const { stop, clock, state, start } = setUp([{ name: "a" }]);
  const { end } = await start();
  await clock.advance(500);
  stop.abort(new Error("stop"));
  await rejects(end, /^Error: stop$/);
  deepEqual([state.looks, clock.sleepers], [[], 0]);
});
