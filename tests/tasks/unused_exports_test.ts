/** The check for exports that nothing imports. @module */

import { deepEqual } from "node:assert/strict";
import { findUnusedExports } from "../../src/tasks/unused_exports.ts";

/** The unused exports of `src/a.ts`, given its text and the text of another file. */
function unusedIn(text: string, importer = "", importerPath = "src/room/b.ts"): string[] {
  const sources = new Map([["src/a.ts", text], [importerPath, importer]]);
  return findUnusedExports(sources, (file) => file === "src/a.ts").map(({ line, name }) => `${line} ${name}`);
}

const DECLARATIONS: [text: string, name: string][] = [
  ["export const used = 1;", "used"],
  ["export let used = 1;", "used"],
  ["export function used(): void {}", "used"],
  ["export async function used(): Promise<void> {}", "used"],
  ["export async function* used() {}", "used"],
  ["export class used {}", "used"],
  ["export abstract class used {}", "used"],
  ["export interface used {}", "used"],
  ["export type used = string;", "used"],
  ["export enum used {}", "used"],
  ["const used = 1;\nexport { used };", "used"],
  ["const inner = 1;\nexport { inner as used };", "used"],
  ['export { used } from "./c.ts";', "used"],
  ['export type { inner as used } from "./c.ts";', "used"],
  ["const plugin = {};\nexport default plugin;", "default"],
];

for (const [text, name] of DECLARATIONS) {
  Deno.test(`${JSON.stringify(text)} is found when nothing imports it`, () => {
    deepEqual(unusedIn(text), [`${text.split("\n").length} ${name}`]);
  });
}

const IMPORTS = [
  'import { used } from "../a.ts";',
  'import { type used } from "../a.ts";',
  'import type { used } from "../a.ts";',
  'import { used as other } from "../a.ts";',
  'import {\n  another,\n  used,\n} from "../a.ts";',
  'import byDefault, { used } from "../a.ts";',
  'import * as all from "../a.ts";',
  'import type * as all from "../a.ts";',
  'const all = await import("../a.ts");',
  'export { used } from "../a.ts";',
  'export type { used as other } from "../a.ts";',
  'export * from "../a.ts";',
];

for (const statement of IMPORTS) {
  Deno.test(`${JSON.stringify(statement)} uses an export`, () => {
    deepEqual(unusedIn("export const used = 1;", statement), []);
  });
}

Deno.test("a default import uses the default export and nothing else", () => {
  deepEqual(unusedIn("export const other = 1;\nexport default 1;", 'import a from "../a.ts";'), ["1 other"]);
});

Deno.test("a test uses what it imports", () => {
  deepEqual(unusedIn("export const used = 1;", 'import { used } from "../src/a.ts";', "tests/a_test.ts"), []);
});

Deno.test("an import of the same name from another module does not use an export", () => {
  const statements = 'import { used } from "./a.ts";\nimport { used as other } from "a";';
  deepEqual(unusedIn("export const used = 1;", statements), ["1 used"]);
});

Deno.test("a use in the file itself does not count", () => {
  deepEqual(unusedIn("export const used = 1;\nconsole.log(used);"), ["1 used"]);
});

Deno.test("an import in a file that is not checked leaves that file's own exports alone", () => {
  deepEqual(unusedIn("const own = 1;", "export const foreign = 1;"), []);
});

const RUN_AND_CLASS = 'import { Class, run } from "../a.ts";';

const MENTIONS: [where: string, text: string][] = [
  ["a parameter", "export function run(options: Named): void {\n}"],
  ["a parameter on a line of its own", "export function run(\n  options: Named,\n): void {\n}"],
  ["a result", "export function run(): Named {\n  return 1;\n}"],
  ["a constant's type", "export const run: Named = 1;"],
  ["a base class", "export class Class extends Named {\n}"],
  ["a public member", "export class Class {\n  readonly a: Named = 1;\n}"],
  ["a public method", "export class Class {\n  /** Runs. */\n  run(named: Named): void {\n  }\n}"],
];

for (const [where, text] of MENTIONS) {
  Deno.test(`a type in the signature of an export is in use: ${where}`, () => {
    deepEqual(unusedIn(`export type Named = number;\n\n${text}\n`, RUN_AND_CLASS), []);
  });
}

const HIDDEN: [where: string, text: string][] = [
  ["a function's body", "export function run(): void {\n  const a: Named = 1;\n}"],
  ["a method's body", "export class Class {\n  run(): void {\n    const a: Named = 1;\n  }\n}"],
  ["a private member", "export class Class {\n  readonly #a: Named = 1;\n}"],
  ["a private method", "export class Class {\n  #run(a: Named): void {\n  }\n}"],
  ["documentation", "/** See {@link Named}. */\nexport const run = 1;"],
  ["a declaration that is not exported", "function other(a: Named): void {\n}"],
];

for (const [where, text] of HIDDEN) {
  Deno.test(`a type in the inside of a file is not in use: ${where}`, () => {
    deepEqual(unusedIn(`export type Named = number;\n\n${text}\n`, RUN_AND_CLASS), ["1 Named"]);
  });
}
