/** How a person names a client: by its node, its id, or the start of the id. @module */

import { deepEqual } from "node:assert/strict";
import { findNamed, nameOf, namesOf } from "../../src/operate/clients.ts";

const ID = "aaaabbbbccccddddeeeeffff00001111";

Deno.test("a name is a node, an id in any form, or the start of one id", () => {
  const all = [{ id: ID, node: "node-a" }, { id: "aaaa1111", node: { name: "node-b" } }, { id: "aa" }];
  const find = (name: string) => {
    const found = findNamed(all, name);
    return found.kind === "one" ? all.indexOf(found.value) : found.kind;
  };
  const uuid = "AAAABBBB-CCCC-DDDD-EEEE-FFFF00001111";
  deepEqual(["node-b", ID, uuid, "aaaab", "aaaa", "aa", "aaa", "zzzz"].map(find), [
    1,
    0,
    0,
    0,
    "several",
    2,
    "none",
    "none",
  ]);
});

Deno.test("all that is shown of a short id names its client", () => {
  const all = [{ id: "job-1" }, { id: "x" }];
  const found = (name: string) => findNamed(all, name).kind;
  deepEqual(["job", "job…", "jo", "j", "x", "", "…"].map(found), ["one", "one", "none", "none", "one", "none", "none"]);
});

Deno.test("a client is named by its node or half of its id, and several by as much as tells them apart", () => {
  deepEqual([{ id: ID, node: "n" }, { id: ID }, { id: "job1" }].map(nameOf), ["n", "aaaabbbb…", "jo…"]);
  const other = "aaaabbbbccccddddeeeeffff00002222";
  deepEqual(namesOf([{ id: ID }, { id: other }, { id: "1".repeat(32) }]), [
    "aaaabbbbccccddddeeeeffff00001…",
    "aaaabbbbccccddddeeeeffff00002…",
    "11111111…",
  ]);
});
