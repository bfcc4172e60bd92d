/** Lists in pages, of an API server that answers as scripted. What needs a real one is in tests/cluster. @module */

import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { KubernetesError } from "../../src/kubernetes/errors.ts";
import { type PagesOptions, readPages, readVersions } from "../../src/kubernetes/list_pages.ts";
import { fakeApiServer, json, status } from "../support/fake_api_server.ts";
import { binaryList, type MetadataListJson, wantsBinaryList } from "../support/metadata_list.ts";

const OPTIONS: PagesOptions = { path: "/api/v1/nodes", limit: 2 };
const nameOf = (object: unknown) => (object as { metadata: { name: string } }).metadata.name;

/** A page of Nodes that says that `next` follows. */
function page(names: readonly string[] | null, version = "7", next?: string, kind = "Node"): Response {
  const items = names?.map((name) => ({ metadata: { name, resourceVersion: "1" } })) ?? null;
  return json({ apiVersion: "v1", kind: `${kind}List`, metadata: { resourceVersion: version, continue: next }, items });
}

Deno.test("all pages are read, and what the view leaves out is left out", async () => {
  const pages = [page(["a", "b"], "7", "next"), page(["c"], "7")];
  await using server = await fakeApiServer((_, count) => pages[count - 1]!);
  const view = (object: unknown) => nameOf(object) === "b" ? undefined : nameOf(object);
  deepEqual(await readPages(server.client, OPTIONS, view), { items: ["a", "c"], version: "7" });
  deepEqual(server.requests, ["GET /api/v1/nodes?limit=2", "GET /api/v1/nodes?limit=2&continue=next"]);
});

Deno.test("only the first page is read where that is asked for", async () => {
  await using server = await fakeApiServer(() => page(["a"], "7", "next"));
  deepEqual(await readPages(server.client, { ...OPTIONS, firstPageOnly: true }, nameOf), {
    items: ["a"],
    version: "7",
  });
  equal(server.requests.length, 1);
});

const ENCODINGS: [what: string, encode: (list: MetadataListJson) => Response][] = [
  ["the binary encoding", (list) => binaryList(list)],
  ["JSON", (list) => json(list)],
];

for (const [what, encode] of ENCODINGS) {
  Deno.test(`metadata alone is asked for and checked, and an empty list of it may be null: ${what}`, async () => {
    const kind = { apiVersion: "meta.k8s.io/v1", kind: "PartialObjectMetadataList" };
    const items = ["a", "b", "c"].map((name) => ({ metadata: { name, uid: `uid of ${name}`, resourceVersion: "1" } }));
    const answers = [
      encode({ ...kind, metadata: { resourceVersion: "7", continue: "next" }, items: items.slice(0, 2) }),
      encode({ ...kind, metadata: { resourceVersion: "7" }, items: items.slice(2) }),
      encode({ ...kind, metadata: { resourceVersion: "7" }, items: null }),
      encode({ ...kind, kind: "PartialObjectMetadata", metadata: { resourceVersion: "7" }, items }),
      encode({ ...kind, metadata: {}, items }),
      page(["a"], "7", undefined, "Pod"),
    ];
    await using server = await fakeApiServer((request, count) => {
      ok(wantsBinaryList(request.headers.get("accept")));
      return answers[count - 1]!;
    });
    const options = { ...OPTIONS, metadataOnly: true };
    const view = (object: unknown) => object;
    deepEqual(await readPages(server.client, options, view), { items, version: "7" });
    deepEqual(server.requests, ["GET /api/v1/nodes?limit=2", "GET /api/v1/nodes?limit=2&continue=next"]);
    deepEqual(await readPages(server.client, options, view), { items: [], version: "7" });
    for (let wrong = 0; wrong < 3; wrong++) {
      await rejects(
        readPages(server.client, options, view),
        /the answer is not a list of PartialObjectMetadata objects/,
      );
    }
    equal(server.requests.length, answers.length);
  });
}

Deno.test("whole objects, which a proxy gets that does not pass on the header, are as good as metadata alone", async () => {
  const metadata = { name: "a", uid: "uid of a", resourceVersion: "3" };
  const list = { apiVersion: "v1", kind: "NodeList", metadata: { resourceVersion: "7" } };
  await using server = await fakeApiServer(() => json({ ...list, items: [{ metadata, spec: { podCIDR: "x" } }] }));
  deepEqual(await readVersions(server.client, "/api/v1/nodes"), { items: [metadata], version: "7" });
});

const WRONG: [what: string, answers: () => Response[], message: RegExp][] = [
  ["pages of two versions", () => [page(["a"], "7", "next"), page(["b"], "8")], /not of one version/],
  ["a list without items", () => [page(null)], /the answer is not a list of Node objects/],
  ["a list of other objects", () => [page(["a"], "7", undefined, "Pod")], /the answer is not a list of Node objects/],
  ["a list without a version", () => [page(["a"], "")], /the answer is not a list of Node objects/],
  ["a page that is not JSON", () => [new Response("<html>")], /the answer is not a list of Node objects/],
];

for (const [what, answers, message] of WRONG) {
  Deno.test(`${what}: an error`, async () => {
    const made = answers();
    await using server = await fakeApiServer((_, count) => made[count - 1]!);
    await rejects(readPages(server.client, OPTIONS, nameOf), message);
  });
}

Deno.test("a first page that is refused with 410 is the caller's to understand, and is not asked for again", async () => {
  await using server = await fakeApiServer(() => status(410, { reason: "Expired" }));
  await rejects(readPages(server.client, OPTIONS, nameOf), (error) => {
    return error instanceof KubernetesError && error.status === 410;
  });
  equal(server.requests.length, 1);
});
