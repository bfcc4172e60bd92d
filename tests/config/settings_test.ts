/**
 * The table of the settings.
 *
 * @module
 */

import { deepEqual, equal, notEqual } from "node:assert/strict";
import manifest from "../../deno.json" with { type: "json" };
import { type Setting, SETTINGS, variableOf, VARIABLES } from "../../src/config/settings.ts";

Deno.test("the name of a setting's variable derives from its flag", () => {
  equal(variableOf("log-level"), "FLEETLOCK_LOG_LEVEL");
});

for (const setting of SETTINGS as readonly Setting[]) {
  Deno.test(`the default of --${setting.flag} is valid`, () => {
    notEqual(setting.parser.parse(setting.default), undefined);
  });
}

Deno.test("every flag appears once", () => {
  const flags = SETTINGS.map((setting) => setting.flag);
  deepEqual(flags, [...new Set(flags)]);
});

Deno.test("the program's permissions let it read every variable that it knows", () => {
  const { allow } = manifest.permissions.default.env;
  const isAllowed = (name: string) =>
    allow.some((each) => each === name || (each.endsWith("*") && name.startsWith(each.slice(0, -1))));
  const known = [...VARIABLES, ...SETTINGS.map((setting) => variableOf(setting.flag))];
  deepEqual(known.filter((name) => !isAllowed(name)), []);
});
