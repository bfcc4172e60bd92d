/**
 * The simulator's flags.
 *
 * @module
 */

import { deepEqual, equal, ok, throws } from "node:assert/strict";
import {
  parseSimulationOptions,
  type SimulationFlagName,
  SimulationOptionsError,
} from "../../src/simulator/options.ts";

type Flags = Partial<Record<SimulationFlagName, string | boolean>>;

Deno.test("the defaults suit the development server", () => {
  const { targets, ...rest } = parseSimulationOptions({}, () => 0.5);
  deepEqual(targets.map(String), ["http://127.0.0.1:8080/"]);
  deepEqual(rest, {
    clients: 20,
    groups: 2,
    slots: 1,
    speed: 60,
    rounds: 1,
    durationMs: undefined,
    seed: 2 ** 31,
    format: "text",
    history: undefined,
    clear: false,
    giveUpMs: 30_000,
  });
});

Deno.test("a duration alone removes the limit of rounds", () => {
  equal(parseSimulationOptions({ duration: "1.5m" }).rounds, Infinity);
  equal(parseSimulationOptions({ duration: "1.5m" }).durationMs, 90_000);
  equal(parseSimulationOptions({ duration: "90s", rounds: "2" }).rounds, 2);
});

for (
  const target of ["http://localhost:1", "http://127.8.9.1", "https://[::1]:1/a/", "http://LOCALHOST,http://127.1"]
) {
  Deno.test(`${target} is on loopback`, () => {
    equal(parseSimulationOptions({ target }).targets.length, target.split(",").length);
  });
}

for (
  const target of [
    "http://example.com",
    "http://127.0.0.1.example.com",
    "http://localhost.example.com",
    "http://10.0.0.1:8080",
    "http://[::2]",
    "http://0.0.0.0",
    "http://127.0.0.1@example.com",
    "http://127.0.0.1:8080,http://example.com",
  ]
) {
  Deno.test(`${target} is not on loopback and needs --i-know-this-is-not-loopback`, () => {
    throws(() => parseSimulationOptions({ target }), /must be on this machine .*--i-know-this-is-not-loopback/);
    ok(parseSimulationOptions({ target, "i-know-this-is-not-loopback": true }));
  });
}

const WRONG: { flags: Flags; message: RegExp }[] = [
  { flags: { target: "127.0.0.1:8080" }, message: /^--target must be http or https URLs .*: it is "127.0.0.1:8080"$/ },
  { flags: { target: "file:///etc" }, message: /^--target must be/ },
  { flags: { target: "http://127.0.0.1," }, message: /^--target must be/ },
  { flags: { clients: "0" }, message: /^--clients must be an integer from 1 to 999999: it is "0"$/ },
  { flags: { clients: "1000001" }, message: /^--clients must be an integer from 1 to 999999: it is "1000001"$/ },
  { flags: { "give-up-after": "0s" }, message: /^--give-up-after must be a duration/ },
  { flags: { clients: "1e3" }, message: /^--clients must be/ },
  { flags: { groups: "21" }, message: /^--groups must be an integer from 1 to 20, the number of hosts: it is "21"$/ },
  { flags: { slots: "-1" }, message: /^--slots must be/ },
  { flags: { speed: "0" }, message: /^--speed must be a number above 0/ },
  { flags: { speed: "fast" }, message: /^--speed must be/ },
  { flags: { rounds: "1.5" }, message: /^--rounds must be/ },
  {
    flags: { duration: "10" },
    message: /^--duration must be a duration from 1ms to 596h, as in 90s, 15m or 1h30m: it is "10"$/,
  },
  { flags: { duration: "0s" }, message: /^--duration must be/ },
  { flags: { duration: "999999h" }, message: /^--duration must be/ },
  { flags: { seed: "x" }, message: /^--seed must be an integer/ },
  { flags: { format: "xml" }, message: /^--format must be text or json: it is "xml"$/ },
];

for (const { flags, message } of WRONG) {
  Deno.test(`${JSON.stringify(flags)} is invalid`, () => {
    throws(
      () => parseSimulationOptions(flags),
      (error) => error instanceof SimulationOptionsError && message.test(error.message),
    );
  });
}
