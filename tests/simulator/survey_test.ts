/**
 * What the simulator does about slots that others hold, servers that are not as its options say, and servers that
 * end; and that it leaves no slot taken.
 *
 * @module
 */

import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { parseClientId, parseGroup } from "../../src/lock/identity.ts";
import { parseSimulationOptions, type SimulationOptions } from "../../src/simulator/options.ts";
import { type Summary, verdict } from "../../src/simulator/report.ts";
import { runSimulation } from "../../src/simulator/simulator.ts";
import { until } from "../support/condition.ts";
import { ProtocolServer } from "./protocol_server.ts";

const FAST = { clients: "12", groups: "2", speed: "6000", seed: "1" };

async function simulate(
  server: ProtocolServer,
  changes: Partial<SimulationOptions> = {},
  signal?: AbortSignal,
): Promise<{ summary: Summary; shown: string }> {
  let shown = "";
  const options = { ...parseSimulationOptions({ ...FAST, target: server.url.href }), ...changes };
  const progress = { write: (text: string) => void (shown += text), isTerminal: false };
  const summary = await runSimulation(options, { write: () => {}, progress, startMs: 500 }, signal);
  return { summary, shown };
}

/** Takes a slot beside the simulation. */
async function take(server: ProtocolServer, id: string, group = "sim-1"): Promise<void> {
  equal((await server.locks.preReboot(parseClientId(id)!, parseGroup(group)!)).kind, "granted");
}

/** Whether every slot of the groups of a simulation is free. */
async function nothingHeld(server: ProtocolServer, groups = ["sim-1", "sim-2"]): Promise<void> {
  for (const group of groups) {
    await take(server, "other", group);
    await server.locks.steadyState(parseClientId("other")!, parseGroup(group)!);
  }
}

Deno.test("a run does not start while a simulated host of an earlier run holds a slot", async () => {
  await using server = new ProtocolServer(1);
  await take(server, "sim7-simulated");
  await rejects(simulate(server), {
    name: "SimulationOptionsError",
    message: 'A simulated host holds a slot of group "sim-1": an earlier simulation left it, or another one is ' +
      "running (lock_held, held by sim7-si…); add --clear to release what an earlier one left",
  });
  await nothingHeld(server, ["sim-2"]);
});

for (const id of ["sim7-simulated", "sim900-simulated", "simp1-simulated"]) {
  Deno.test(`with --clear, a run releases the slot that ${id} of an earlier run holds`, async () => {
    await using server = new ProtocolServer(1);
    await take(server, id);
    const { summary, shown } = await simulate(server, { clear: true });
    equal(summary.turns.total, 12);
    equal(summary.violationCount, 0);
    // The client with which a simulation asks before its run takes over the slot that it held before.
    equal(summary.cleared, id === "simp1-simulated" ? 0 : 1);
    equal(shown.includes("Released 1 slot that an earlier run had left"), id !== "simp1-simulated");
  });
}

Deno.test("with --clear, a run releases the slots of its hosts when the server does not name the holders", async () => {
  await using server = new ProtocolServer(1, { namesNobody: true });
  await take(server, "sim7-simulated");
  const { summary } = await simulate(server, { clear: true });
  deepEqual([summary.cleared, summary.turns.total, summary.violationCount], [1, 12, 0]);
});

for (const clear of [false, true]) {
  Deno.test(`a run ${clear ? "with --clear " : ""}does not start while a real host holds a slot, and leaves it`, async () => {
    await using server = new ProtocolServer(1);
    await take(server, "stranger");
    await rejects(simulate(server, { clear }), /Another client holds the slot of group "sim-1" \(.*held by stra…\)/);
    equal((await server.locks.preReboot(parseClientId("sim1-simulated")!, parseGroup("sim-1")!)).kind, "refused");
  });
}

for (const clear of [false, true]) {
  Deno.test(`a run with more slots than the server grants does not start${clear ? ", also with --clear" : ""}`, async () => {
    await using server = new ProtocolServer(1);
    if (clear) await take(server, "sim7-simulated");
    await rejects(
      simulate(server, { slots: 2, clear }),
      /--slots is 2, but only 1 of group "sim-[12]" can be held .*; use --slots 1, or a server with as many slots/,
    );
    await nothingHeld(server);
  });
}

Deno.test("with --clear, a run counts the slots of an earlier run that it releases, where a group has several", async () => {
  await using server = new ProtocolServer(2);
  for (const [id, group] of [["sim7-simulated", "sim-1"], ["sim8-simulated", "sim-1"], ["sim9-simulated", "sim-2"]]) {
    await take(server, id!, group);
  }
  const { summary } = await simulate(server, { slots: 2, clear: true });
  deepEqual([summary.cleared, summary.turns.total, summary.violationCount], [3, 12, 0]);
});

Deno.test("a run with more groups than the server allows does not start", async () => {
  await using server = new ProtocolServer(1, { maxGroups: 1 });
  await rejects(simulate(server), /The server refuses group "sim-2": too_many_groups; use fewer --groups/);
  await nothingHeld(server, ["sim-1"]);
});

Deno.test("a run on a server that does not speak the protocol does not start", async () => {
  await using server = new ProtocolServer(1);
  await rejects(simulate(server, { targets: [new URL("/elsewhere", server.url)] }), /does not accept .*: http_404/);
});

Deno.test("an interrupted run releases the slots that its hosts hold, so that the next one can run", async () => {
  await using server = new ProtocolServer(1);
  const stop = new AbortController();
  // At this speed a host that got its yes reboots for a second or more.
  const running = simulate(server, { speed: 60, rounds: 1 }, stop.signal);
  await until(() => [...server.seen].filter((each) => each.path.endsWith("pre-reboot")).length >= 8);
  stop.abort();
  const { summary } = await running;
  equal(summary.ended, "interrupted");
  deepEqual(summary.left, []);
  await nothingHeld(server);
  const { summary: next } = await simulate(server);
  deepEqual([next.turns.total, next.violationCount], [12, 0]);
});

Deno.test("a run ends when its server has been unreachable for too long, and says so", async () => {
  const server = new ProtocolServer(1);
  const running = simulate(server, { rounds: Infinity, giveUpMs: 400 });
  await until(() => server.seen.length >= 50);
  await server[Symbol.asyncDispose]();
  const { summary, shown } = await running;
  equal(summary.ended, "unreachable");
  ok(summary.errors.unreachable! > 0);
  match(verdict(summary), /^The server became unreachable\. /);
  match(shown, /unreachable [1-9]\d* .*SERVER UNREACHABLE/);
});

const VERDICTS: { name: string; changes: Partial<Summary>; verdict: string }[] = [
  { name: "success", changes: {}, verdict: "No two hosts of a group rebooted at once: 20 turns, 0 violations" },
  {
    name: "success with several slots",
    changes: { slots: 3 },
    verdict: "No more than 3 hosts of a group rebooted at once: 20 turns, 0 violations",
  },
  {
    name: "an overlap",
    changes: { violationCount: 1, violations: [{ kind: "exclusion", group: "g", message: "", operations: [] }] },
    verdict: "Two hosts of a group rebooted at once: 20 turns, 1 violation",
  },
  {
    name: "a wrong refusal",
    changes: { violationCount: 2, violations: [{ kind: "refusal", group: "g", message: "", operations: [] }] },
    verdict: "The server broke a promise, although no two hosts of a group rebooted at once: 20 turns, 2 violations",
  },
  {
    name: "a late release",
    changes: { lateOverlaps: 1 },
    verdict: "Two hosts of a group rebooted at once after a lost release took effect late: 20 turns, 0 violations",
  },
  {
    name: "no turns",
    changes: { turns: { least: 0, most: 0, total: 0 } },
    verdict: "No host rebooted, so this run shows nothing: 0 turns, 0 violations",
  },
];

for (const { name, changes, verdict: expected } of VERDICTS) {
  Deno.test(`the verdict on ${name}`, () => {
    const summary = { slots: 1, turns: { least: 1, most: 1, total: 20 }, violations: [], violationCount: 0 };
    equal(verdict({ ...summary, lateOverlaps: 0, ended: "done", ...changes } as unknown as Summary), expected);
  });
}
