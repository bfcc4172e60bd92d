/** The watch against a fake API server, for what a real one does too seldom. @module */

import type { V1Node } from "@kubernetes/client-node/dist/gen/models/V1Node.js";
import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import type { KubernetesClient } from "../../src/kubernetes/client.ts";
import { ForbiddenError, KubernetesError } from "../../src/kubernetes/errors.ts";
import { readJsonLines } from "../../src/kubernetes/json_lines.ts";
import { type WatchOptions, watchResource } from "../../src/kubernetes/watch.ts";
import { until } from "../support/condition.ts";
import { fakeApiServer, json, status } from "../support/fake_api_server.ts";
import { FakeClock } from "../support/fake_clock.ts";

const node = (name: string, resourceVersion: string) => ({
  apiVersion: "v1",
  kind: "Node",
  metadata: { name, resourceVersion },
});
const list = (resourceVersion: string, ...items: unknown[]) =>
  json({ apiVersion: "v1", kind: "NodeList", metadata: { resourceVersion }, items });
const isWatch = (request: Request) => new URL(request.url).searchParams.has("watch");

/** The answer to a watch: these lines, and then an end or silence. */
function lines(values: unknown[], end = true): Response {
  const text = values.map((value) => JSON.stringify(value) + "\n").join("");
  return new Response(
    new ReadableStream({
      start(controller) {
        controller.enqueue(new TextEncoder().encode(text));
        if (end) controller.close();
      },
    }),
  );
}

/** How long the watches of these tests may be silent, in milliseconds. */
const SILENCE_MS = 1e9;

/** A clock whose sleeps end at once and are noted, except for the wait for silence, which does not end. */
class NotingClock extends FakeClock {
  readonly pauses: number[] = [];

  override async sleep(ms: number, signal?: AbortSignal): Promise<void> {
    if (ms > SILENCE_MS / 2) return await super.sleep(ms, signal);
    this.pauses.push(ms);
    await this.advance(ms);
  }
}

/** Runs a watch and notes what it reports, such as "listed 5 a b", "ADDED c 6", "lost". */
async function watching(
  client: KubernetesClient,
  options: Partial<WatchOptions>,
  act: (told: string[], errors: unknown[]) => Promise<void>,
): Promise<void> {
  const told: string[] = [];
  const errors: unknown[] = [];
  const stop = new AbortController();
  const ended = watchResource<V1Node>(
    client,
    { path: "/api/v1/nodes", model: "V1Node", random: () => 0.5, ...options },
    {
      synced: (items, version) => told.push(["listed", version, ...items.map((item) => item.metadata?.name)].join(" ")),
      changed: (type, item) => told.push(`${type} ${item.metadata?.name} ${item.metadata?.resourceVersion}`),
      lost(error) {
        told.push("lost");
        errors.push(error);
      },
    },
    stop.signal,
  );
  try {
    await act(told, errors);
  } finally {
    stop.abort();
    await ended;
  }
}

Deno.test("a watch starts at the list's version and goes on from the last version, including a bookmark's", async () => {
  await using fake = await fakeApiServer((request, count) => {
    if (!isWatch(request)) return list("5", node("a", "3"));
    if (count === 2) {
      return lines([{ type: "ADDED", object: node("b", "6") }, { type: "DELETED", object: node("a", "7") }]);
    }
    if (count === 3) return lines([{ type: "BOOKMARK", object: { metadata: { resourceVersion: "90" } } }]);
    return lines([{ type: "MODIFIED", object: node("b", "91") }], false);
  });
  await watching(fake.client, { fieldSelector: "spec.x=1", labelSelector: "y", windowMs: 60_000 }, async (told) => {
    await until(() => told.length === 4);
    deepEqual(told, ["listed 5 a", "ADDED b 6", "DELETED a 7", "MODIFIED b 91"]);
    const queries = fake.requests.map((each) => new URL(each.slice(4), "http://x").searchParams);
    deepEqual(queries.map((query) => query.get("resourceVersion")), [null, "5", "7", "90"]);
    ok(
      queries.every((query) => query.get("fieldSelector") === "spec.x=1" && query.get("labelSelector") === "y"),
    );
    equal(queries[1]!.get("allowWatchBookmarks"), "true");
    equal(queries[1]!.get("timeoutSeconds"), "63");
  });
});

const GONE: [string, () => Response][] = [
  ["a status", () => status(410, { reason: "Expired" })],
  [
    "an ERROR event",
    () => lines([{ type: "ERROR", object: { kind: "Status", apiVersion: "v1", code: 410, reason: "Expired" } }]),
  ],
];
for (const [name, gone] of GONE) {
  Deno.test(`a version that has expired, reported by ${name}, makes the watch list again at once`, async () => {
    await using fake = await fakeApiServer((request, count) => {
      if (!isWatch(request)) return list(String(count));
      return count === 2 ? gone() : lines([], false);
    });
    await watching(fake.client, { pauseMs: 3_600_000, maxPauseMs: 3_600_000 }, async (told, errors) => {
      await until(() => told.length === 3);
      deepEqual(told, ["listed 1", "lost", "listed 3"]);
      ok(errors[0] instanceof KubernetesError && errors[0].status === 410);
    });
  });
}

Deno.test("pauses grow with failures up to a limit, and the watch goes on", async () => {
  const clock = new NotingClock();
  await using fake = await fakeApiServer((_request, count) =>
    count <= 6 ? status(500) : isWatch(_request) ? lines([], false) : list("7")
  );
  await watching(
    fake.client,
    { clock, silenceMs: SILENCE_MS, pauseMs: 100, maxPauseMs: 1_000, random: () => 0 },
    async (told) => {
      await until(() => told.includes("listed 7"));
      deepEqual(clock.pauses.slice(0, 6), [50, 100, 200, 400, 500, 500]);
    },
  );
});

Deno.test("a watch that is forbidden reports it and tries again after a long pause", async () => {
  const clock = new NotingClock();
  const message = 'nodes is forbidden: User "u" cannot list resource "nodes" in API group "" at the cluster scope';
  await using fake = await fakeApiServer((request, count) =>
    count === 1 ? status(403, { message }) : isWatch(request) ? lines([], false) : list("1")
  );
  await watching(fake.client, { clock, silenceMs: SILENCE_MS }, async (told, errors) => {
    await until(() => told.includes("listed 1"));
    deepEqual(told, ["lost", "listed 1"]);
    ok(errors[0] instanceof ForbiddenError);
    deepEqual(clock.pauses, [60_000]);
  });
});

Deno.test("a watch pauses where the server ends each watch at once, and reports nothing", async () => {
  const clock = new NotingClock();
  await using fake = await fakeApiServer((request, count) =>
    !isWatch(request) ? list("1") : count < 6 ? lines([]) : lines([{ type: "ADDED", object: node("a", "2") }], false)
  );
  await watching(fake.client, { clock, silenceMs: SILENCE_MS, pauseMs: 100 }, async (told) => {
    await until(() => told.length === 2);
    deepEqual(told, ["listed 1", "ADDED a 2"]);
    deepEqual(clock.pauses, [100, 100, 100, 100]);
  });
});

Deno.test("a watch gives up a silent connection and lists again", async () => {
  await using fake = await fakeApiServer((request, count) => isWatch(request) ? lines([], false) : list(String(count)));
  await watching(fake.client, { silenceMs: 200, pauseMs: 1 }, async (told, errors) => {
    await until(() => told.length >= 3);
    deepEqual(told.slice(0, 3), ["listed 1", "lost", "listed 3"]);
    match(String(errors[0]), /gone silent/);
  });
});

Deno.test("silence is measured by the clock, from the last bytes", async () => {
  const clock = new FakeClock();
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const writer = writable.getWriter();
  await using fake = await fakeApiServer((request, count) => {
    if (!isWatch(request)) return list(String(count));
    return count === 2 ? new Response(readable) : lines([], false);
  });
  await watching(fake.client, { clock, silenceMs: 1_000, pauseMs: 1 }, async (told, errors) => {
    await until(() => clock.sleepers === 1, { what: "the wait for silence" });
    await clock.advance(999);
    await writer.write(new TextEncoder().encode(`${JSON.stringify({ type: "ADDED", object: node("a", "2") })}\n`));
    await until(() => told.length === 2);
    await clock.advance(999);
    deepEqual(told, ["listed 1", "ADDED a 2"]);
    await clock.advance(1);
    await until(() => told.length === 3);
    equal(told[2], "lost");
    match(String(errors[0]), /gone silent/);
  });
  await writer.abort().catch(() => {});
});

Deno.test("bookmarks alone keep a watch alive", async () => {
  const bookmark = new TextEncoder().encode(`{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"2"}}}\n`);
  let sent = 0;
  let timer: ReturnType<typeof setInterval>;
  await using fake = await fakeApiServer((request) => {
    if (!isWatch(request)) return list("1");
    return new Response(
      new ReadableStream({
        start(controller) {
          timer = setInterval(() => {
            sent++;
            controller.enqueue(bookmark);
          }, 50);
        },
        cancel: () => clearInterval(timer),
      }),
    );
  });
  await watching(fake.client, { silenceMs: 500 }, async (told) => {
    await until(() => sent > 25);
    deepEqual(told, ["listed 1"]);
  });
  // The server learns of the end a little later.
  clearInterval(timer!);
});

const NONSENSE: [string, string][] = [
  ["something other than JSON", "<html>\n"],
  ["an unfinished line", '{"type":"ADDED","obj'],
];
for (const [name, text] of NONSENSE) {
  Deno.test(`a stream of ${name} does not end the watch`, async () => {
    await using fake = await fakeApiServer((request, count) =>
      !isWatch(request) ? list(String(count)) : count === 2 ? new Response(text) : lines([{
        type: "ADDED",
        object: node("a", "9"),
      }], false)
    );
    await watching(fake.client, { pauseMs: 1 }, async (told) => {
      await until(() => told.at(-1) === "ADDED a 9");
    });
  });
}

async function readAll(chunks: (string | Uint8Array)[], maxLineBytes?: number): Promise<unknown[]> {
  const encoder = new TextEncoder();
  const body = ReadableStream.from(chunks.map((each) => typeof each === "string" ? encoder.encode(each) : each));
  return await Array.fromAsync(readJsonLines(body, undefined, maxLineBytes));
}

Deno.test("lines are joined wherever the stream is cut, even within a character", async () => {
  const text = '{"a":"é€"}\n\n[1]\r\n"x"\n{"unfinished"';
  const bytes = new TextEncoder().encode(text);
  for (let size = 1; size <= bytes.length; size++) {
    const chunks: Uint8Array[] = [];
    for (let at = 0; at < bytes.length; at += size) chunks.push(bytes.subarray(at, at + size));
    deepEqual(await readAll(chunks), [{ a: "é€" }, [1], "x"]);
  }
});

Deno.test("a line that is too long is a fault before the whole line has arrived", async () => {
  deepEqual(await readAll(['"12345678"\n', '"1234', '5678"\n'], 10), ["12345678", "12345678"]);
  await rejects(readAll(['"123456789"\n'], 10), /longer than 10 bytes/);
  await rejects(readAll(['"1234', "56789012"], 10), /longer than 10 bytes/);
});
