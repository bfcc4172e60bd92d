import { deepEqual, equal } from "node:assert/strict";
import type { DrainEnd } from "../../src/keeper/drain/drain.ts";
import type { DrainTask } from "../../src/keeper/drain/drain_task.ts";
import { DrainReports } from "../../src/keeper/reports.ts";
import { parseClientId, parseGroup } from "../../src/lock/identity.ts";
import type { StayingPod } from "../../src/lock/yes.ts";
import { FakeClock } from "../support/fake_clock.ts";

const HOLD = { group: parseGroup("default")!, id: parseClientId("alice")!, since: 1 };
const POD = { namespace: "apps", name: "web", toleratesCordon: true, controller: "c" };
const STAYING: StayingPod[] = [{ pod: POD, why: "tolerates_cordon" }];

for (
  const [phase, staying, expected] of [
    ["draining", [], 'info "the node is drained"'],
    ["draining", STAYING, 'warning "the node is drained, and some pods stay" apps/web'],
    // The host asks again before it reboots.
    ["drained", [], undefined],
    ["drained", STAYING, 'warning "the node is drained, and some pods stay" apps/web'],
  ] as const
) {
  Deno.test(`a yes in phase ${phase} with ${staying.length} pods that stay is told: ${expected ?? "not again"}`, () => {
    const told: string[] = [];
    const notes: string[] = [];
    const log = (level: string) => (message: string, { pods }: Record<string, unknown>) => {
      const names = ((pods ?? []) as { namespace: string; name: string }[]).map((pod) =>
        ` ${pod.namespace}/${pod.name}`
      );
      told.push(`${level} "${message}"${names.join("")}`);
    };
    const reports = new DrainReports({
      log: { info: log("info"), warning: log("warning"), error: log("error") },
      events: {
        record: (subject, reason, note) => {
          deepEqual([subject, reason], [{ kind: "Node", name: "a" }, "Drained"]);
          notes.push(note);
        },
      },
    }, new FakeClock());
    reports.proven(HOLD, { name: "a", uid: "u", phase }, staying);
    deepEqual(told, expected === undefined ? [] : [expected]);
    equal(notes.length, told.length);
    if (staying.length > 0) equal(/apps\/web: it tolerates the cordon/.test(notes[0]!), true);
  });
}

/** How drains end, and what the metrics call it. */
const ENDS: [end: DrainEnd | undefined, result: string, level: string][] = [
  [{ kind: "emptied" }, "drained", "info"],
  [{ kind: "proceed", node: "a", pods: [] }, "proceeded", "warning"],
  [{ kind: "failed", node: "a", pods: [] }, "failed", "error"],
  [{ kind: "failed", node: "a", pods: [], yields: true }, "failed", "warning"],
  [{ kind: "draining", node: "a", pods: [] }, "interrupted", "info"],
  [{ kind: "abandoned" }, "abandoned", "warning"],
  [undefined, "error", "error"],
];

for (const [end, result, level] of ENDS) {
  Deno.test(`the end of a drain is told with its duration in seconds: ${JSON.stringify(end)}`, async () => {
    const clock = new FakeClock();
    const told: unknown[][] = [];
    const log = (level: string) => (_: string, fields: Record<string, unknown>) => {
      if ("seconds" in fields) told.push([level, fields.seconds]);
    };
    const reports = new DrainReports({
      log: { info: log("info"), warning: log("warning"), error: log("error") },
      observer: { drainEnded: (...ended) => void told.push(ended) },
    }, clock);
    const task = { node: "a", uid: "u", owner: HOLD, again: false } as unknown as DrainTask;
    reports.drainBegan(task);
    await clock.advance(90_500);
    reports.drainEnded(task, end);
    deepEqual(told, [[HOLD.group, result, 90.5], [level, 90.5]]);
    // Of a drain whose beginning nobody told, no duration is known.
    reports.drainEnded(task, end);
    deepEqual(told.slice(2), [[HOLD.group, result, 0], [level, 0]]);
  });
}
