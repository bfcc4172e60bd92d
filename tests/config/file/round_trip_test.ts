/**
 * Properties of the configuration file, over random files.
 *
 * @module
 */

import fc from "fast-check";
import { dump } from "js-yaml";
import { deepEqual, ok } from "node:assert/strict";
import { type FileValue, fileValueOf } from "../../../src/config/file/file_value.ts";
import { type FileContext, parsePolicyFile } from "../../../src/config/file/policy_file.ts";
import type { PolicyOptions } from "../../../src/policies/options.ts";
import { policyFiles } from "../../support/policy_files.ts";

const CONTEXTS: readonly FileContext[] = [{ store: "kubernetes", drainTimeoutMs: 900_000 }, { store: "sqlite" }];

function parse(text: string, context: FileContext): PolicyOptions {
  const parsed = parsePolicyFile(text, "f", context);
  if (parsed.kind === "invalid") throw new Error(`${parsed.errors.join("\n")}\n${text}`);
  return parsed.options;
}

/** Fails unless everything that a file says is in the policies that were made of it. */
function includes(whole: FileValue, said: FileValue, path: string): void {
  if (typeof said !== "object" || Array.isArray(said)) return deepEqual(whole, said, path);
  for (const [key, value] of Object.entries(said)) {
    const isEmpty = ["drain", "onNodeGone", "health"].includes(key) && Object.keys(value).length === 0;
    if (!isEmpty) includes((whole as Record<string, FileValue>)[key]!, value, `${path}.${key}`);
  }
}

for (const context of CONTEXTS) {
  Deno.test(`every valid file means the same in YAML and JSON, and is found again in its policies: ${context.store}`, () => {
    const isInCluster = context.store === "kubernetes";
    fc.assert(fc.property(policyFiles(isInCluster), (file) => {
      const options = parse(JSON.stringify(file), context);
      deepEqual(parse(JSON.stringify(file, undefined, "\t"), context), options);
      deepEqual(parse(dump(file), context), options);
      const whole = fileValueOf(options);
      // Arbitrary records have no prototype, which makes no difference in a file.
      includes(whole, JSON.parse(JSON.stringify(file)), "file");
      if (isInCluster) deepEqual(parse(dump(whole), context), options);
    }));
  });
}

Deno.test("whatever a file holds, it is valid or there is a line for each error", () => {
  const word = fc.constantFrom(
    "groups",
    "defaults",
    "allow",
    "a",
    "slots",
    "10%",
    ":",
    ": ",
    "- ",
    "\n",
    "\n  ",
    "\n    ",
    "{",
    "}",
    "[",
    "]",
    ",",
    "&x ",
    "*x",
    "!!str ",
    "? ",
    "'",
    '"',
    "|",
    ">",
    "# ",
    "---",
    "...",
    "null",
    "1",
    "\t",
    "\\u00",
    "%YAML",
    "\ufeff",
    "<<",
  );
  const texts = fc.oneof(fc.array(word, { maxLength: 30 }).map((words) => words.join("")), fc.string());
  fc.assert(
    fc.property(texts, (text) => {
      const parsed = parsePolicyFile(text, "f", CONTEXTS[0]!);
      if (parsed.kind === "valid") return;
      ok(parsed.errors.length > 0);
      for (const error of parsed.errors) ok(/^f:\d+:\d+: \S[^\n]*$/.test(error), JSON.stringify(error));
    }),
    { numRuns: 3_000 },
  );
});
