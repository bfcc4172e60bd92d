/** Leaving methods out of classes. @module */

import { deepEqual, equal, throws } from "node:assert/strict";
import { keepMethods } from "../../src/tasks/kept_methods.ts";

const SOURCE = `import { base } from "./base.js";
/** It is used. */
export class Api extends base {
  constructor(api) { super(); this.api = api; this.get = 1; }
  /** A } and a \`\${template}\`. */
  async list(a = { b: "}" }) { return /[}]/.test(a.b) ? \`\${a} }\` : this.get(a); }
  get(a) { return { list() { return a; } }; }
  static make() { return new Api(); }
  get name() { return "api"; }
  ["computed"]() { return 1; }
  listAll() { return class { get() { return 2; } }; }
}
class Inner { get(a) { return a; } other() { return 3; } }
export function list() { return new Inner(); }
export { Inner };
`;

Deno.test("methods that are not kept are left out of each class of a module, and everything else stays", async () => {
  const kept = keepMethods(
    SOURCE.replace("./base.js", "data:text/javascript,export class base {}"),
    (name) => name === "get",
  );
  const { Api, Inner, list } = await import(`data:text/javascript,${encodeURIComponent(kept)}`);
  const methods = (one: { prototype: object }) => Object.getOwnPropertyNames(one.prototype);
  deepEqual(methods(Api), ["constructor", "get", "name", "computed"]);
  deepEqual(Object.getOwnPropertyNames(Api).includes("make"), false);
  deepEqual(methods(Inner), ["constructor", "get"]);
  equal(new Api("x").name, "api");
  equal(Api.prototype.get(4).list(), 4);
  equal(list().get(5), 5);
});

Deno.test("a module whose methods are all kept stays as it is, and what is no module is refused", () => {
  equal(keepMethods(SOURCE, () => true), SOURCE);
  throws(() => keepMethods("class {", () => true), SyntaxError);
});
