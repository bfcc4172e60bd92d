/** Which ids and groups are accepted. @module */

import { deepEqual, equal } from "node:assert/strict";
import fc from "fast-check";
import {
  comparableId,
  isId128,
  MAX_GROUP_LENGTH,
  MAX_ID_LENGTH,
  parseClientId,
  parseGroup,
} from "../../src/lock/identity.ts";

const IDS: [raw: unknown, valid: boolean, why: string][] = [
  ["978a225b3d7b40e9acd7ce9b62f68444", true, "what Zincati sends"],
  ["a", true, "one character"],
  ["!", true, "the first printable character"],
  ["~", true, "the last printable character"],
  [`quote"'back\\slash%;`, true, "characters that other formats escape"],
  ["x".repeat(MAX_ID_LENGTH), true, "the longest"],
  ["x".repeat(MAX_ID_LENGTH + 1), false, "longer than the longest"],
  ["", false, "empty"],
  ["a b", false, "a space"],
  [" a", false, "a leading space"],
  ["a,b", false, "a comma, which joins the holders of a Lease"],
  [",", false, "a comma alone"],
  ["a\n", false, "a line feed at the end"],
  ["a\r\nb", false, "a line break"],
  ["a\tb", false, "a tab"],
  ["a\0b", false, "a NUL"],
  ["a\x7f", false, "DEL"],
  ["é", false, "a letter beyond ASCII"],
  ["a\u2028", false, "a line separator"],
  ["\ud800", false, "half a surrogate pair"],
];

const GROUPS: [raw: unknown, valid: boolean, why: string][] = [
  ["default", true, "what Zincati sends by default"],
  ["Workers-1.eu", true, "every kind of character"],
  [".", true, "a dot"],
  ["..", true, "two dots"],
  ["-", true, "a dash"],
  ["x".repeat(MAX_GROUP_LENGTH), true, "the longest"],
  ["x".repeat(MAX_GROUP_LENGTH + 1), false, "longer than the longest"],
  ["", false, "empty"],
  ["a_b", false, "an underscore"],
  ["a/b", false, "a slash"],
  ["a b", false, "a space"],
  ["a,b", false, "a comma"],
  ["default\n", false, "a line feed at the end"],
  ["grüppe", false, "a letter beyond ASCII"],
  ["\u0430", false, "a Cyrillic a"],
];

const NOT_STRINGS: unknown[] = [
  undefined,
  null,
  true,
  0,
  1,
  NaN,
  [],
  ["a"],
  {},
  { toString: () => "a" },
  1n,
  new String("a"),
];

for (const [what, parse, table] of [["id", parseClientId, IDS], ["group", parseGroup, GROUPS]] as const) {
  Deno.test(`an ${what} is accepted or rejected as its table says`.replace("an group", "a group"), () => {
    for (const [raw, valid, why] of table) equal(parse(raw), valid ? raw : undefined, why);
    for (const raw of NOT_STRINGS) equal(parse(raw), undefined, `${typeof raw} is not a string`);
  });
}

Deno.test("an id is exactly 1 to 253 characters from ! to ~ without a comma", () => {
  const ascii = fc.string({ unit: "binary-ascii", maxLength: MAX_ID_LENGTH + 10 });
  fc.assert(fc.property(fc.oneof(ascii, printable(), fc.string({ unit: "binary" })), (raw) => {
    const valid = raw.length >= 1 && raw.length <= MAX_ID_LENGTH &&
      [...raw].every((character) => character >= "!" && character <= "~" && character !== ",");
    equal(parseClientId(raw), valid ? raw : undefined);
  }));
});

Deno.test("a group is exactly 1 to 63 letters, digits, dots and dashes", () => {
  const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-";
  const likely = fc.string({ unit: fc.constantFrom(...allowed), maxLength: MAX_GROUP_LENGTH + 5 });
  fc.assert(fc.property(fc.oneof(likely, printable(), fc.string({ unit: "binary" })), (raw) => {
    const valid = raw.length >= 1 && raw.length <= MAX_GROUP_LENGTH &&
      [...raw].every((character) => allowed.includes(character));
    equal(parseGroup(raw), valid ? raw : undefined);
  }));
});

Deno.test("ids that are joined by commas can be split again", () => {
  const id = printable().map(parseClientId).filter((parsed) => parsed !== undefined);
  fc.assert(fc.property(fc.array(id, { minLength: 1 }), (ids) => {
    deepEqual(ids.join(",").split(","), ids);
  }));
});

function printable(): fc.Arbitrary<string> {
  return fc.string({ unit: "grapheme-ascii", maxLength: MAX_ID_LENGTH + 5, size: "max" });
}

const PLAIN = "978a225b3d7b40e9acd7ce9b62f68444";
const UUID = "978a225b-3d7b-40e9-acd7-ce9b62f68444";

for (
  const [id, expected] of [
    [PLAIN, PLAIN],
    [PLAIN.toUpperCase(), PLAIN],
    [UUID, PLAIN],
    [UUID.toUpperCase(), PLAIN],
    ["f".repeat(32), "f".repeat(32)],
  ] as const
) {
  Deno.test(`the id ${id} is one of 128 bits, and is compared as ${expected}`, () => {
    deepEqual([isId128(id), comparableId(id)], [true, expected]);
  });
}

for (
  const id of [
    "",
    "A",
    "Web-1",
    "G".repeat(32),
    `${PLAIN.toUpperCase()}0`,
    `X${PLAIN.toUpperCase()}`,
    `${UUID.toUpperCase()}X`,
    `X${UUID.toUpperCase()}`,
    PLAIN.toUpperCase().slice(1),
    // Dashes at other places are not a UUID's.
    "978A225-B3D7B-40E9-ACD7-CE9B62F68444",
    "978A225B-3D7B40E9-ACD7-CE9B62F68444",
    "9-3D7B-40E9-ACD7-CE9B62F68444",
    "978A225B-3-40E9-ACD7-CE9B62F68444",
    "978A225B-3D7B-4-ACD7-CE9B62F68444",
    "978A225B-3D7B-40E9-A-CE9B62F68444",
    "978A225B-3D7B-40E9-ACD7-C",
  ]
) {
  Deno.test(`the id '${id}' is not one of 128 bits, and is compared as it is`, () => {
    deepEqual([isId128(id), comparableId(id)], [false, id]);
  });
}
