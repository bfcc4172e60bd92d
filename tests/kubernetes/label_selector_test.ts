import { equal, throws } from "node:assert/strict";
import fc from "fast-check";
import { parseLabelSelector } from "../../src/kubernetes/label_selector.ts";

const LABELS = { app: "web", "example.com/tier": "front", empty: "" };

const CASES: [selector: string, matches: boolean][] = [
  ["", false],
  ["app=web", true],
  ["app==web", true],
  ["app = web", true],
  ["app=db", false],
  ["app!=db", true],
  ["app!=web", false],
  ["other!=web", true],
  ["app", true],
  ["!app", false],
  ["other", false],
  ["!other", true],
  ["empty=", true],
  ["app in (db, web)", true],
  ["app in (db)", false],
  ["app notin (db)", true],
  ["app notin (db,web)", false],
  ["other in (web)", false],
  ["other notin (web)", true],
  ["app=web,example.com/tier in (front,back)", true],
  ["app=web, example.com/tier=back", false],
  ["constructor", false],
];

for (const [selector, matches] of CASES) {
  Deno.test(`the selector '${selector}' ${matches ? "matches" : "does not match"}`, () => {
    equal(parseLabelSelector(selector)(LABELS), matches);
  });
}

for (const selector of ["app=", "other="]) {
  Deno.test(`the selector '${selector}' does not match an object without labels`, () => {
    equal(parseLabelSelector(selector)(undefined), false);
  });
}

for (
  const selector of [
    "app=web,",
    ",",
    "app in ()",
    "app in (a",
    "a b",
    "-app=web",
    "app=we b",
    "/app",
    "app=web=db",
    "app>1",
  ]
) {
  Deno.test(`'${selector}' is refused, since it is not a label selector`, () => {
    throws(() => parseLabelSelector(selector), { name: "SyntaxError", message: /label selector/ });
  });
}

Deno.test("a selector and its negation never agree", () => {
  const name = fc.stringMatching(/^[a-z][a-z0-9]{0,8}$/);
  fc.assert(fc.property(name, name, fc.dictionary(name, name), (key, value, labels) => {
    const agree = (one: string, other: string) => parseLabelSelector(one)(labels) === parseLabelSelector(other)(labels);
    return !agree(`${key}=${value}`, `${key}!=${value}`) && !agree(key, `!${key}`) &&
      !agree(`${key} in (${value},x)`, `${key} notin (x,${value})`);
  }));
});
