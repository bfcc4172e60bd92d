/** The account of the state as the service wires it. @module */

import { deepEqual } from "node:assert/strict";
import { parseConfig } from "../../src/config/config.ts";
import { type ClientId, parseGroup } from "../../src/lock/identity.ts";
import type { LockService } from "../../src/lock/lock_service.ts";
import { DEFAULT_STUCK, NO_POLICIES, type PolicyOptions } from "../../src/policies/options.ts";
import { Status, type StatusParts } from "../../src/service/status.ts";
import { Metrics } from "../../src/telemetry/metrics.ts";

const MINUTE = 60_000;
const NOW = Date.parse("2026-11-26T12:00:00Z");

Deno.test("a hold is stuck by the thresholds of the file in force, and by the time limit of its group's drains", () => {
  const clock = {
    now: () => NOW,
    monotonic: () => 7_000,
    sleep: () => Promise.reject(new Error("nothing waits here")),
  };
  const config = parseConfig({ "drain-timeout": "15m" }, { KUBECONFIG: "/nowhere" });
  const status = new Status(config, { version: "1", clock: clock as never });
  const name = parseGroup("workers")!;
  const node = { name: "node-a", uid: "u", phase: "draining" as const };
  const holders = [{ id: "h1" as ClientId, since: NOW - 30 * MINUTE, node }];
  const locks = {
    isInStep: true,
    seenForMs: () => 0,
    knownGroups: new Map([[name, { version: 1, state: { holders, transitions: 1 } }]]),
  };
  let timeoutMs: number | undefined;
  const answer = { slots: 1, reasons: [], ignored: [] };
  const file = { hash: "0", errors: [], current: NO_POLICIES };
  status.begin({
    locks: locks as unknown as LockService,
    policy: {
      slotsOf: () => 1,
      drainOf: () => timeoutMs === undefined ? {} : { timeoutMs },
      goneAfter: () => undefined,
      peek: () => answer,
      judge: () => Promise.resolve(answer),
      nextOpening: () => undefined,
    } satisfies StatusParts["policy"],
    file,
    metrics: new Metrics({ version: "1", clock: clock as never }),
    signal: new AbortController().signal,
  });
  const isStuck = (current: PolicyOptions, drainTimeoutMs?: number) => {
    file.current = current;
    timeoutMs = drainTimeoutMs;
    return status.account().groups[0]!.holders[0]!.isStuck;
  };
  const say = (draining: number) => ({ ...NO_POLICIES, stuck: { ...DEFAULT_STUCK, draining } });
  deepEqual(
    {
      // The hold is thirty minutes old.
      "20 min by default": isStuck(NO_POLICIES),
      "31 min by the file": isStuck(say(31 * MINUTE)),
      "30 min by the file": isStuck(say(30 * MINUTE)),
      "an hour for the group's drains": isStuck(NO_POLICIES, 60 * MINUTE),
      "the file before the group's drains": isStuck(say(30 * MINUTE), 60 * MINUTE),
    },
    {
      "20 min by default": true,
      "31 min by the file": false,
      "30 min by the file": true,
      "an hour for the group's drains": false,
      "the file before the group's drains": true,
    },
  );
});
