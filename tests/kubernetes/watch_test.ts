/** The watch against a fake API server, for what a real one does too seldom. @module */

import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import type { KubernetesClient } from "../../src/kubernetes/client.ts";
import { ForbiddenError, KubernetesError } from "../../src/kubernetes/errors.ts";
import { readJsonLines } from "../../src/kubernetes/json_lines.ts";
import { type WatchOptions, watchResource } from "../../src/kubernetes/watch.ts";
import { until } from "../support/condition.ts";
import { fakeApiServer, json, status } from "../support/fake_api_server.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { encodeMetadataList } from "../support/metadata_list.ts";

const node = (name: string, resourceVersion: string) => ({
  apiVersion: "v1",
  kind: "Node",
  metadata: { name, resourceVersion },
});
const parametersOf = (request: Request) => new URL(request.url).searchParams;
const asksForAll = (request: Request) => parametersOf(request).get("sendInitialEvents") === "true";

/** A bookmark, such as the API server sends every minute. */
const bookmark = (resourceVersion: string) => ({
  type: "BOOKMARK",
  object: { apiVersion: "v1", kind: "Node", metadata: { resourceVersion } },
});

/** The bookmark that ends the initial events. */
const initialEnd = (resourceVersion: string) => ({
  type: "BOOKMARK",
  object: {
    apiVersion: "v1",
    kind: "Node",
    metadata: { resourceVersion, annotations: { "k8s.io/initial-events-end": "true" } },
  },
});

const encode = (values: unknown[]) =>
  new TextEncoder().encode(values.map((value) => JSON.stringify(value) + "\n").join(""));

/** The answer to a watch: these lines, and then an end or silence. */
function lines(values: unknown[], end = true): Response {
  return new Response(
    new ReadableStream({
      start(controller) {
        controller.enqueue(encode(values));
        if (end) controller.close();
      },
    }),
  );
}

/** The answer to a watch that begins with all objects, which then ends. */
function list(version: string, ...items: unknown[]): Response {
  return lines([...items.map((object) => ({ type: "ADDED", object })), initialEnd(version)]);
}

/** A page of a list. */
function page(resourceVersion: string, token: string, ...items: unknown[]): Response {
  const metadata = { resourceVersion, ...(token && { continue: token }) };
  return json({ apiVersion: "v1", kind: "NodeList", metadata, items });
}

/** How long the watches of these tests may be silent, in milliseconds. */
const SILENCE_MS = 1e9;

/** Lets the watches wait that long in every phase. */
const PATIENT = { silenceMs: SILENCE_MS, initialSilenceMs: SILENCE_MS, initialMs: SILENCE_MS };

/** A clock whose sleeps end at once and are noted, except for the wait for silence, which does not end. */
class NotingClock extends FakeClock {
  readonly pauses: number[] = [];

  override async sleep(ms: number, signal?: AbortSignal): Promise<void> {
    if (ms > SILENCE_MS / 2) return await super.sleep(ms, signal);
    this.pauses.push(ms);
    await this.advance(ms);
  }
}

/** The part of a Node that these tests look at. */
interface Named {
  metadata: { name: string; resourceVersion: string };
}

const knowing = new WeakMap<KubernetesClient, KubernetesClient>();

/**
 * A client of an API server whose versions are always those that a watch has seen. What is read is in
 * watch_resume_test.ts.
 */
function withVersions(client: KubernetesClient): KubernetesClient {
  const kind = { apiVersion: "meta.k8s.io/v1", kind: "PartialObjectMetadataList" };
  const bytes = encodeMetadataList({ ...kind, metadata: { resourceVersion: `${Number.MAX_SAFE_INTEGER}` }, items: [] });
  const headers = { "content-type": "application/vnd.kubernetes.protobuf" };
  const made = knowing.get(client) ?? { ...client, getBinary: () => Promise.resolve({ headers, bytes }) };
  knowing.set(client, made);
  return made;
}

/** Runs a watch and notes what it reports, such as "listed 5 a b", "ADDED c 6", "lost". */
async function watching(
  client: KubernetesClient,
  options: Partial<WatchOptions<Named, string>>,
  act: (told: string[], errors: unknown[]) => Promise<void>,
): Promise<void> {
  const told: string[] = [];
  const errors: unknown[] = [];
  const stop = new AbortController();
  const view = ({ metadata }: Named) => `${metadata.name} ${metadata.resourceVersion}`;
  const ended = watchResource<Named, string>(
    options.isInStep === undefined ? withVersions(client) : client,
    { path: "/api/v1/nodes", view, random: () => 0.5, isInStep: () => true, ...options },
    {
      synced: (items, version) => told.push(["listed", version, ...items.map((item) => item.split(" ")[0])].join(" ")),
      changed: (type, item) => told.push(`${type} ${item}`),
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
    if (asksForAll(request)) return list("5", node("a", "3"));
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

Deno.test("a watcher is told of the version that a bookmark says has been reached, after all that came before it", async () => {
  await using fake = await fakeApiServer((request) => {
    return asksForAll(request) ? list("5") : lines([{ type: "ADDED", object: node("b", "6") }, bookmark("90")], false);
  });
  const told: string[] = [];
  const stop = new AbortController();
  const watcher = {
    synced: (_items: unknown[], version: string) => told.push(`listed ${version}`),
    changed: (type: string, name: string) => told.push(`${type} ${name}`),
    reached: (version: string) => told.push(`reached ${version}`),
    lost: () => told.push("lost"),
  };
  const view = ({ metadata }: Named) => metadata.name;
  const what = { path: "/api/v1/nodes", view, isInStep: () => true };
  const ended = watchResource<Named, string>(withVersions(fake.client), what, watcher, stop.signal);
  await until(() => told.length === 3);
  deepEqual(told, ["listed 5", "ADDED b", "reached 90"]);
  stop.abort();
  await ended;
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
      if (asksForAll(request)) return list(String(count));
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
    count <= 6 ? status(500) : !asksForAll(_request) ? lines([], false) : list("7")
  );
  await watching(
    fake.client,
    { clock, ...PATIENT, pauseMs: 100, maxPauseMs: 1_000, random: () => 0 },
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
    count === 1 ? status(403, { message }) : !asksForAll(request) ? lines([], false) : list("1")
  );
  await watching(fake.client, { clock, ...PATIENT }, async (told, errors) => {
    await until(() => told.includes("listed 1"));
    deepEqual(told, ["lost", "listed 1"]);
    ok(errors[0] instanceof ForbiddenError);
    deepEqual(clock.pauses, [60_000]);
  });
});

Deno.test("a watch pauses where the server ends each watch at once, and reports nothing", async () => {
  const clock = new NotingClock();
  await using fake = await fakeApiServer((request, count) =>
    asksForAll(request) ? list("1") : count < 6 ? lines([]) : lines([{ type: "ADDED", object: node("a", "2") }], false)
  );
  await watching(fake.client, { clock, ...PATIENT, pauseMs: 100 }, async (told) => {
    await until(() => told.length === 2);
    deepEqual(told, ["listed 1", "ADDED a 2"]);
    deepEqual(clock.pauses, [100, 100, 100, 100]);
  });
});

Deno.test("a watch gives up a connection that sent bookmarks and has gone silent, and lists again", async () => {
  await using fake = await fakeApiServer((request, count) =>
    asksForAll(request) ? list(String(count)) : lines([bookmark("2")], false)
  );
  await watching(fake.client, { silenceMs: 200, pauseMs: 1 }, async (told, errors) => {
    await until(() => told.length >= 3);
    deepEqual(told.slice(0, 3), ["listed 1", "lost", "listed 3"]);
    match(String(errors[0]), /gone silent/);
  });
});

Deno.test("a quiet watch of an API server that sends no bookmarks lists again on a new connection, and is not lost", async () => {
  await using fake = await fakeApiServer((request, count) => {
    if (!asksForAll(request)) return lines([], false);
    return list(String(count), node("a", "1"), ...(count > 1 ? [node("b", "2")] : []));
  });
  let retired = 0;
  const client: KubernetesClient = {
    ...fake.client,
    async stream(path, signal) {
      const stream = await fake.client.stream(path, signal);
      const retire = () => {
        retired++;
        stream.retire();
      };
      return { body: stream.body, retire, [Symbol.asyncDispose]: () => stream[Symbol.asyncDispose]() };
    },
  };
  await watching(client, { silenceMs: 100 }, async (told) => {
    await until(() => told.length >= 3);
    deepEqual(told.slice(0, 3), ["listed 1 a", "listed 3 a b", "listed 5 a b"]);
    ok(retired >= 2, "the connection may be dead");
  });
});

Deno.test("a dead connection is lost where the API server sends no bookmarks, too", async () => {
  let isDead = false;
  await using fake = await fakeApiServer(async (request) => {
    if (isDead) await new Promise((resolve) => request.signal.addEventListener("abort", resolve));
    return asksForAll(request) ? list("1") : lines([], false);
  }, { timeoutMs: 100 });
  await watching(fake.client, { silenceMs: 100, pauseMs: 1 }, async (told) => {
    await until(() => told.length >= 1);
    isDead = true;
    await until(() => told.includes("lost"));
    isDead = false;
    await until(() => told.at(-1) === "listed 1");
  });
});

Deno.test("silence is measured by the clock, from the last bytes", async () => {
  const clock = new FakeClock();
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const writer = writable.getWriter();
  await using fake = await fakeApiServer((request, count) => {
    if (asksForAll(request)) return list(String(count));
    return count === 2 ? new Response(readable) : lines([], false);
  });
  await watching(fake.client, { clock, silenceMs: 1_000, pauseMs: 1 }, async (told, errors) => {
    await until(() => clock.sleepers === 1 && clock.nextIn === 1_000, { what: "the wait for silence" });
    await clock.advance(999);
    await writer.write(encode([bookmark("1"), { type: "ADDED", object: node("a", "2") }]));
    await until(() => told.length === 2);
    await clock.advance(999);
    deepEqual(told, ["listed 1", "ADDED a 2"]);
    await clock.advance(1);
    await until(() => told.length === 3);
    equal(told[2], "lost");
    match(String(errors[0]), /gone silent/);
  });
  await writer.close().catch(() => {});
});

Deno.test("bookmarks alone keep a watch alive", async () => {
  let sent = 0;
  let timer: ReturnType<typeof setInterval>;
  await using fake = await fakeApiServer((request) => {
    if (asksForAll(request)) return list("1");
    return new Response(
      new ReadableStream({
        start(controller) {
          timer = setInterval(() => {
            sent++;
            controller.enqueue(encode([bookmark("2")]));
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
      asksForAll(request) ? list(String(count)) : count === 2 ? new Response(text) : lines([{
        type: "ADDED",
        object: node("a", "9"),
      }], false)
    );
    await watching(fake.client, { pauseMs: 1 }, async (told) => {
      await until(() => told.at(-1) === "ADDED a 9");
    });
  });
}

Deno.test("the initial objects are told as one picture, with the changes among the events that show them", async () => {
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const writer = writable.getWriter();
  await using fake = await fakeApiServer(() => new Response(readable));
  const versions: string[] = [];
  const view = ({ metadata }: Named) => {
    versions.push(`${metadata.name} ${metadata.resourceVersion}`);
    return versions.at(-1)!;
  };
  await watching(fake.client, { view }, async (told) => {
    await writer.write(encode([
      { type: "ADDED", object: node("a", "7") },
      { type: "ADDED", object: node("b", "3") },
      { type: "ADDED", object: node("c", "2") },
      { type: "MODIFIED", object: node("c", "8") },
      { type: "DELETED", object: node("b", "9") },
      bookmark("9"),
    ]));
    await until(() => versions.includes("c 8"));
    deepEqual(told, []);
    await writer.write(encode([initialEnd("9"), { type: "MODIFIED", object: node("a", "10") }]));
    await until(() => told.length === 2);
    deepEqual(told, ["listed 9 a c", "MODIFIED a 10"]);
  });
  const query = new URLSearchParams(fake.requests[0]!.split("?")[1]);
  equal(query.get("resourceVersionMatch"), "NotOlderThan");
  equal(query.get("allowWatchBookmarks"), "true");
  equal(query.get("resourceVersion"), null, "any version would allow a picture from before the request");
  await writer.close().catch(() => {});
});

Deno.test("an object of the same name in another namespace is another object", async () => {
  const pod = (namespace: string) => ({
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: "a", namespace, resourceVersion: "1" },
  });
  await using fake = await fakeApiServer((request) =>
    asksForAll(request) ? list("5", pod("x"), pod("y")) : lines([], false)
  );
  await watching(fake.client, { path: "/api/v1/pods" }, async (told) => {
    await until(() => told.length === 1);
    deepEqual(told, ["listed 5 a a"]);
  });
});

Deno.test("what vanished while the watch was away is not among the objects that it tells next", async () => {
  await using fake = await fakeApiServer((request, count) => {
    if (!asksForAll(request)) return count === 2 ? new Response("nonsense\n") : lines([], false);
    return count === 1 ? list("1", node("a", "1"), node("b", "1")) : list("9", node("b", "1"));
  });
  await watching(fake.client, { pauseMs: 1 }, async (told) => {
    await until(() => told.length === 3);
    deepEqual(told, ["listed 1 a b", "lost", "listed 9 b"]);
  });
});

for (const code of [400, 422]) {
  Deno.test(`where the API server refuses initial events with ${code}, the watch lists in pages for ten minutes`, async () => {
    const clock = new FakeClock();
    let refuses = true;
    await using fake = await fakeApiServer((request) => {
      if (asksForAll(request)) return refuses ? status(code, { reason: "Invalid" }) : list("9", node("c", "9"));
      const parameters = parametersOf(request);
      if (parameters.has("watch")) return lines([{ type: "ADDED", object: node("c", "6") }], false);
      return parameters.has("continue") ? page("5", "", node("b", "2")) : page("5", "t", node("a", "1"));
    });
    const options = { clock, fieldSelector: "spec.x=1", labelSelector: "y" };
    const runOnce = () =>
      watching(fake.client, options, async (told) => {
        await until(() => told.length === 2);
        deepEqual(told, ["listed 5 a b", "ADDED c 6"]);
      });
    await runOnce();
    const queries = () => fake.requests.map((each) => new URLSearchParams(each.split("?")[1]));
    ok(queries().every((query) => query.get("fieldSelector") === "spec.x=1" && query.get("labelSelector") === "y"));
    const shown = () => queries().map((query) => query.get("continue") ?? query.get("limit") ?? query.get("watch"));
    deepEqual(shown(), ["1", "50", "t", "1"]);
    equal(queries().at(-1)!.get("resourceVersion"), "5");
    await runOnce();
    deepEqual(shown().slice(4), ["50", "t", "1"], "another watch does not ask again");
    refuses = false;
    await clock.advance(600_000);
    await watching(fake.client, options, async (told) => {
      await until(() => told.length > 0);
      equal(told[0], "listed 9 c");
    });
  });
}

Deno.test("a page whose snapshot has expired (410) makes the list start again, a few times", async () => {
  let expired = 0;
  await using fake = await fakeApiServer((request) => {
    const parameters = parametersOf(request);
    if (asksForAll(request)) return status(422);
    if (parameters.has("watch")) return lines([], false);
    if (!parameters.has("continue")) return page(`${5 + expired}`, "t", node("a", "1"));
    return ++expired === 3 ? page("7", "", node("b", "2")) : status(410, { reason: "Expired" });
  });
  await watching(fake.client, {}, async (told) => {
    await until(() => told.length === 1);
    deepEqual(told, ["listed 7 a b"]);
  });
});

Deno.test("a list whose snapshot expires each time, or that never ends, is lost", async () => {
  for (const next of [() => status(410, { reason: "Expired" }), () => page("5", "t", node("b", "2"))]) {
    const clock = new FakeClock();
    await using fake = await fakeApiServer(async (request) => {
      if (asksForAll(request)) return status(422);
      if (!parametersOf(request).has("continue")) return page("5", "t", node("a", "1"));
      await clock.advance(100);
      return next();
    });
    await watching(fake.client, { clock, initialMs: 1_000, pauseMs: 1e6, maxPauseMs: 1e6 }, async (told, errors) => {
      await until(() => told.length === 1);
      deepEqual(told, ["lost"]);
      match(String(errors[0]), /forgets the version of a list|a list took too long/);
    });
  }
});

/** Ways in which the initial events do not come to their end, and what the watch then says. */
const INCOMPLETE: [string, (clock: FakeClock) => Response, RegExp][] = [
  ["end without the last bookmark", () => lines([{ type: "ADDED", object: node("a", "1") }]), /before .* had sent all/],
  ["break off", () => new Response("nonsense\n"), /connection failed/],
  ["go silent", () => lines([{ type: "ADDED", object: node("a", "1") }, bookmark("1")], false), /gone silent/],
  ["go on for too long", (clock) => trickle(clock), /did not send all objects in time/],
];

/** Sends bookmarks that are not the last one, 500 ms apart by the clock. */
function trickle(clock: FakeClock): Response {
  return new Response(
    new ReadableStream({
      async pull(controller) {
        controller.enqueue(encode([bookmark("1")]));
        await clock.sleep(500);
      },
    }),
  );
}

for (const [what, answer, message] of INCOMPLETE) {
  Deno.test(`initial events that ${what} are lost, and the watch lists in pages next`, async () => {
    const clock = new FakeClock();
    let initial = 0;
    await using fake = await fakeApiServer((request) => {
      if (asksForAll(request)) {
        initial++;
        return answer(clock);
      }
      return parametersOf(request).has("watch") ? lines([], false) : page("5", "", node("b", "1"));
    });
    const options = { clock, initialSilenceMs: 1_000, initialMs: 10_000, pauseMs: 500 };
    await watching(fake.client, options, async (told, errors) => {
      for (let turn = 0; told.length < 2 && turn < 1_000; turn++) {
        if (clock.nextIn !== undefined) await clock.advance(Math.min(clock.nextIn, 500));
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      deepEqual(told, ["lost", "listed 5 b"]);
      match(String(errors[0]), message);
      equal(initial, 1);
      if (what === "go silent") ok(clock.passed < 2_000);
    });
  });
}

/** The ways whose end depends on a deadline, and the deadline by default, in milliseconds. */
for (const [what, deadline] of [["go silent", 15_000], ["go on for too long", 120_000]] as const) {
  Deno.test(`initial events that ${what} are lost after ${deadline} ms by default`, async () => {
    const clock = new FakeClock();
    const [, answer] = INCOMPLETE.find(([way]) => way === what)!;
    await using fake = await fakeApiServer((request) => {
      if (asksForAll(request)) return answer(clock);
      return parametersOf(request).has("watch") ? lines([], false) : page("5", "", node("b", "1"));
    });
    await watching(fake.client, { clock, pauseMs: 1e6, maxPauseMs: 1e6 }, async (told) => {
      for (let turn = 0; told.length === 0 && turn < 1_000; turn++) {
        if (clock.nextIn !== undefined) await clock.advance(Math.min(clock.nextIn, 500));
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      deepEqual(told, ["lost"]);
      ok(clock.passed >= deadline && clock.passed < deadline * 1.2, `${clock.passed}`);
    });
  });
}

Deno.test("a watch that is ended during its initial events does not make the next one list in pages", async () => {
  await using fake = await fakeApiServer((request, count) => {
    if (!asksForAll(request)) return lines([], false);
    return count === 1 ? lines([{ type: "ADDED", object: node("a", "1") }], false) : list("5", node("a", "1"));
  });
  const seen = Promise.withResolvers<void>();
  await watching(fake.client, {
    view() {
      seen.resolve();
      return "";
    },
  }, () => seen.promise);
  await watching(fake.client, {}, async (told) => {
    await until(() => told.length === 1);
    deepEqual(told, ["listed 5 a"]);
  });
});

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
