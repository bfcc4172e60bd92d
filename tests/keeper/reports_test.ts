import { deepEqual, equal } from "node:assert/strict";
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
