/** What the log says of the locks. @module */

import { deepEqual } from "node:assert/strict";
import type { Logger } from "@logtape/logtape";
import { parseGroup } from "../../src/lock/identity.ts";
import type { Pause } from "../../src/lock/policy.ts";
import { lockObserver } from "../../src/service/observers.ts";

const NOW = Date.parse("2026-11-26T12:00:00Z");

Deno.test("the log says of a pause until when it is, and does not call a group paused whose pause is over", () => {
  const told: unknown[] = [];
  const tell = (level: string) => (message: string, { pause }: { pause?: unknown }) =>
    told.push([level, message, pause]);
  const logger = { info: tell("info"), warning: tell("warning"), error: tell("error") } as unknown as Logger;
  const observer = lockObserver({} as never, logger, () => NOW);
  const pauses: (Pause | undefined)[] = [{}, { until: NOW + 1 }, { until: NOW }, { isUnreadable: true }, undefined];
  for (const pause of pauses) observer.pauseChanged!(parseGroup("workers")!, pause);
  deepEqual(told, [
    ["warning", "a group is paused", {}],
    ["warning", "a group is paused", { until: "2026-11-26T12:00:00.001Z" }],
    ["info", "the pause of a group is over", { until: "2026-11-26T12:00:00.000Z" }],
    ["error", "a group is paused", { isUnreadable: true }],
    ["info", "the pause of a group is lifted", undefined],
  ]);
});
