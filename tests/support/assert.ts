/**
 * What `node:assert/strict` gives in the tests: `deno.json` maps the one to the other. In Deno 2.9, the named `equal`,
 * `deepEqual`, `notEqual` and `notDeepEqual` of that module are the loose ones, for which `null` equals `undefined`,
 * and `1` equals `"1"` and `true`. These are strict, as in Node.
 *
 * @module
 */

export {
  deepStrictEqual as deepEqual,
  doesNotMatch,
  doesNotReject,
  doesNotThrow,
  fail,
  match,
  notDeepStrictEqual as notDeepEqual,
  notStrictEqual as notEqual,
  ok,
  rejects,
  strictEqual as equal,
  throws,
} from "node:assert";
