/** Lists of metadata in the API server's binary encoding. That it is the real one's is in tests/cluster. @module */

import { deepEqual, equal, throws } from "node:assert/strict";
import fc from "fast-check";
import { checkPage, METADATA } from "../../src/kubernetes/answer_check.ts";
import { METADATA_LIST, parseMetadataList } from "../../src/kubernetes/metadata_list.ts";
import { encodeMetadataList, type MetadataListJson } from "../support/metadata_list.ts";

const BINARY = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

function list(names: readonly string[], next = ""): MetadataListJson {
  return {
    apiVersion: "meta.k8s.io/v1",
    kind: "PartialObjectMetadataList",
    metadata: { resourceVersion: "77", continue: next },
    items: names.map((name, n) => ({ metadata: { name, uid: `uid of ${name}`, resourceVersion: `${n + 1}` } })),
  };
}

Deno.test("the binary encoding is asked for before JSON", () => {
  equal(METADATA_LIST, `${BINARY},application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json`);
});

Deno.test("a list says in the binary encoding what it says in JSON", () => {
  const texts = fc.string({ unit: "grapheme-ascii", maxLength: 300 });
  fc.assert(fc.property(fc.array(texts, { maxLength: 20 }), texts, (names, next) => {
    const written = list(names, next);
    deepEqual(parseMetadataList(BINARY, encodeMetadataList(written)), written);
    deepEqual(parseMetadataList("application/json", new TextEncoder().encode(JSON.stringify(written))), written);
  }));
});

Deno.test("parts that are not needed are passed over", () => {
  const labelled = list(["a"]);
  labelled.items![0]!.metadata.labels = { zone: "1" };
  labelled.items![0]!.metadata.namespace = "here";
  deepEqual(parseMetadataList(BINARY, encodeMetadataList(labelled)), list(["a"]));
});

Deno.test("a list that is cut off is not a list", () => {
  const bytes = encodeMetadataList(list(["a", "b"], "more"));
  // What follows the list is empty: two fields of two bytes.
  for (let length = 0; length < bytes.length - 4; length++) {
    const parsed = parseMetadataList(BINARY, bytes.subarray(0, length));
    throws(() => checkPage(METADATA, parsed), /is not a list/, `${length} of ${bytes.length} bytes`);
  }
});

Deno.test("a list that is longer than it says is not a list", () => {
  const bytes = encodeMetadataList(list(["a", "b"]));
  equal(parseMetadataList(BINARY, new Uint8Array([...bytes, ...bytes])), undefined);
});

Deno.test("what is of neither encoding is not a list", () => {
  const text = new TextEncoder();
  equal(parseMetadataList(BINARY, text.encode(JSON.stringify(list([])))), undefined);
  equal(parseMetadataList("text/html", text.encode("<html>")), undefined);
  equal(parseMetadataList(undefined, encodeMetadataList(list([]))), undefined);
  for (let at = 0; at < 4; at++) {
    const bytes = encodeMetadataList(list([]));
    bytes[at]! ^= 1;
    equal(parseMetadataList(BINARY, bytes), undefined);
  }
});
