import { comparableId, parseClientId } from "../../../src/lock/identity.ts";
import { equal } from "node:assert/strict";
import fc from "fast-check";
import { isSameClient, zincatiId } from "../../../src/keeper/nodes/zincati_id.ts";

const VECTORS: [machineId: string, id: string][] = [
  ["1c09ca98649c4c7abc779cd04c96812e", "978a225b3d7b40e9acd7ce9b62f68444"],
  ["ad432f2cb0c28bbcd1f87a20199237f9", "8121764139b84941ba5ccb83ccae1f98"],
];

for (const [machineId, id] of VECTORS) {
  Deno.test(`the id of machine ${machineId} is ${id}, however it is written`, () => {
    const dashed = machineId.replace(/(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
    for (const text of [machineId, machineId.toUpperCase(), dashed]) equal(zincatiId(text), id);
  });
}

Deno.test("a malformed machine-id has no id", () => {
  const malformed = [
    "",
    "1c09ca98",
    `${VECTORS[0]![0]}0`,
    "zz09ca98649c4c7abc779cd04c96812e",
    "1c09-ca98649c4c7abc779cd04c96812e",
  ];
  for (const text of malformed) equal(zincatiId(text), undefined);
});

Deno.test("every machine-id has an id that is a version 4 UUID", () => {
  fc.assert(fc.property(fc.uuid(), (uuid) => /^[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}$/.test(zincatiId(uuid)!)));
});

Deno.test("a UUID is compared without dashes and regardless of case, any other id as it is", () => {
  equal(comparableId("978A225B-3d7b-40e9-acd7-ce9b62f68444"), "978a225b3d7b40e9acd7ce9b62f68444");
  equal(comparableId("Web-1"), "Web-1");
});

Deno.test("two ids name the same client where they are the same UUID or the same text", () => {
  const isSame = (one: string, other: string) => isSameClient(parseClientId(one)!, parseClientId(other)!);
  equal(isSame("978A225B-3d7b-40e9-acd7-ce9b62f68444", "978a225b3d7b40e9acd7ce9b62f68444"), true);
  equal(isSame("web-1", "web-1"), true);
  equal(isSame("web-1", "Web-1"), false);
  equal(isSame("978a225b3d7b40e9acd7ce9b62f68444", "978a225b3d7b40e9acd7ce9b62f68445"), false);
});
