/** How long a process has tried to drain a Node, as the observer counts it. @module */

import { equal } from "node:assert/strict";
import { DrainTries } from "./drain_tries.ts";
import { SimulatedProcess } from "./engine/process.ts";
import { Scheduler } from "./engine/scheduler.ts";
import { Observer } from "./observer.ts";
import { planOf } from "./plan.ts";
import { Timeline } from "./timeline.ts";
import type { ApiCall } from "./world/api.ts";
import { KINDS, type Stored } from "./world/objects.ts";

/** A hold of "a" in the group "g1" that notes the Node n1. */
function lease(since: string): Stored {
  const record = [{ id: "a", since, node: "n1", uid: "u1" }];
  return {
    metadata: { name: "fleetlock-g1", annotations: { "fleetlock.internal/holders": JSON.stringify(record) } },
    spec: { holderIdentity: "a" },
  } as Stored;
}

/** What is counted where the operator's policy is `onTimeout` and a drain may take 7 minutes. */
async function setUp(onTimeout: string) {
  const scheduler = new Scheduler(Date.UTC(2030, 0, 1));
  const observer = new Observer(scheduler, new Timeline(() => scheduler.now));
  observer.writer = () => "r1";
  const plan = { ...planOf(1), flags: { "drain-on-timeout": onTimeout, "drain-timeout": "7m" } };
  const tries = new DrainTries({ scheduler, observer, plan });
  const hold = (object: Stored, before?: Stored) => {
    const type = before === undefined ? "ADDED" : "MODIFIED";
    observer.changed({ type, kind: KINDS.leases!, key: "ops/fleetlock-g1", object, before, revision: 1 });
  };
  hold(lease("2030-01-01T00:00:00.000Z"));
  await scheduler.run(() => false, scheduler.now + 500_000);
  const process = new SimulatedProcess(scheduler);
  const call = (method: string, path: string) => tries.called(process, { user: "r1", method, path } as ApiCall);
  const pass = (ms: number) => scheduler.run(() => false, scheduler.now + ms);
  return { observer, process, tries, hold, call, pass };
}

for (
  const [method, path] of [
    ["PATCH", "/api/v1/nodes/n1?fieldManager=fleetlock"],
    ["GET", "/api/v1/pods?watch=1&fieldSelector=spec.nodeName%3Dn1"],
  ] as const
) {
  Deno.test(`a process has tried to drain a Node since its first ${method} about it, whatever the age of the hold`, async () => {
    const { process, tries, call, pass } = await setUp("proceed");
    equal(tries.tooShort(process, "n1"), 0);
    call("GET", "/api/v1/nodes/n1");
    call("GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn2");
    await pass(60_000);
    call(method, path);
    await pass(200_000);
    call(method, path);
    equal(tries.tooShort(process, "n1"), 200);
    await pass(100_000);
    equal(tries.tooShort(process, "n1"), undefined);
    equal(tries.tooShort(process, "n2"), undefined);
  });
}

Deno.test("a later hold of the Node is tried anew, and one that an administrator has changed is the same", async () => {
  for (const [by, expected] of [["r1", 0], [undefined, undefined]] as const) {
    const { observer, process, tries, hold, call, pass } = await setUp("delete");
    call("PATCH", "/api/v1/nodes/n1");
    await pass(300_000);
    observer.writer = () => by;
    hold(lease("2030-01-01T00:00:01.000Z"), lease("2030-01-01T00:00:00.000Z"));
    equal(tries.tooShort(process, "n1"), expected);
  }
});
