/**
 * Each alert of examples/monitoring fires in a real Prometheus. It scrapes real programs in the state that the alert is
 * about, wherever a program gets there within seconds. The other states take a cluster or a window: there, the
 * program's own metrics, in this process, are told of them. The rules are the real ones with shorter times.
 *
 * @module
 */

import { deepEqual, doesNotMatch, equal, match } from "node:assert/strict";
import { parseGroup } from "../../src/lock/identity.ts";
import { Metrics } from "../../src/telemetry/metrics.ts";
import { until } from "../support/condition.ts";
import { kubeconfig, withFolder } from "../support/kubeconfigs.ts";
import { type Program, startProgram } from "../support/program.ts";
import { readRules, type RuleFile, SKIPPED, startPrometheus } from "../support/prometheus.ts";
import { preReboot, steadyState } from "../support/zincati.ts";

const ALICE = "c988d2509fdf5cdcbed39037c56406fb";
const BOB = "5dbb4d4b0f5b4b3c8b8f7a3e1c0d9a11";
const DAY_MS = 86_400_000;

/**
 * For how many scrapes, one a second, the window of the stand-in is open: fewer than hosts have to wait for another
 * alert.
 */
const OPEN_SCRAPES = 4;

/**
 * What makes the times of the rules short, in seconds instead of minutes, hours and days. Each must be in the rules.
 */
const SHORTER: readonly (readonly [string, string])[] = [
  ["> 3600", "> 1"],
  ["[5m]", "[5s]"],
  ["[15m]", "[15s]"],
  ["[3d:1h]\n) >= 64", "[12s:1s]\n) >= 10"],
  ["[3d:1h]", "[12s:1s]"],
  ["[3d]", "[12s]"],
  ["[1d:5m]", "[60s:1s]"],
  ["[1d]", "[60s]"],
];

/** The states that no program of this test gets into. */
interface StandIn extends AsyncDisposable {
  readonly host: string;
}

/**
 * Serves the program's metrics of a server with a stuck lock, a blocked drain, a window and a rule without an answer.
 */
function startStandIn(): StandIn {
  const metrics = new Metrics({ version: "0.0.0" });
  const [group, stuck] = [parseGroup("windows")!, parseGroup("stuck")!];
  let scrapes = 0;
  metrics.setWatchSynced(true);
  metrics.addDrains();
  metrics.collectHolds(() => [
    { group: stuck, holder: { stage: "node-gone", isStuck: true } },
    { group: stuck, holder: { stage: "blocked", isStuck: true } },
  ]);
  metrics.collectWaiting(() => new Map([[group, 1]]));
  metrics.collectLocks({
    groups: () => Promise.resolve(new Map([[group, { state: { holders: [], transitions: 7 }, version: 1 }]])),
    slotsOf: () => 1,
    nextOpeningOf: () => Date.now() + (scrapes <= OPEN_SCRAPES ? 0 : DAY_MS),
  });
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async () => {
    scrapes++;
    metrics.policyRefused("policy_undecided");
    return new Response(await metrics.render(), { headers: { "content-type": metrics.contentType } });
  });
  return {
    host: `127.0.0.1:${server.addr.port}`,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

/** The rules with short times. */
async function shortRules(): Promise<RuleFile> {
  const rules = await readRules();
  const used = new Set<string>();
  for (const rule of rules.groups.flatMap((group) => group.rules)) {
    delete rule.for;
    for (const [long, short] of SHORTER) {
      if (!rule.expr.includes(long)) continue;
      used.add(long);
      rule.expr = rule.expr.replaceAll(long, short);
    }
  }
  deepEqual([...used].sort(), SHORTER.map(([long]) => long).sort(), "these times are not in the rules any more");
  return rules;
}

const hostOf = ({ url }: Program) => new URL(url).host;

async function readiness({ url }: Program): Promise<number> {
  const reply = await fetch(`${url}/-/ready`);
  await reply.body?.cancel();
  return reply.status;
}

Deno.test({
  name: `each alert fires in a real Prometheus, and none for a healthy server${SKIPPED}`,
  ignore: SKIPPED !== "",
  fn: () =>
    withFolder(async (folder) => {
      const file = (name: string) => `${folder}/${name}`;
      await Deno.writeTextFile(file("kubeconfig"), kubeconfig({ token: "t" }));
      for (const name of ["a", "b"]) await Deno.writeTextFile(file(name), `{} # ${name}\n`);
      await using healthy = await startProgram(["--store=memory"]);
      await using waits = await startProgram(["--store=memory"]);
      await using gone = await startProgram(["--store=memory"]);
      await using storeless = await startProgram([], { KUBECONFIG: file("kubeconfig") });
      await using first = await startProgram(["--store=memory", `--config=${file("a")}`]);
      await using second = await startProgram(["--store=memory", `--config=${file("b")}`]);
      await using standIn = startStandIn();

      equal(await readiness(healthy), 200);
      equal((await preReboot(healthy.url, ALICE)).status, 200);
      equal((await preReboot(healthy.url, BOB)).status, 423);
      equal((await steadyState(healthy.url, ALICE)).status, 200);
      equal((await preReboot(healthy.url, BOB)).status, 200);
      equal((await steadyState(healthy.url, BOB)).status, 200);
      equal((await preReboot(waits.url, ALICE)).status, 200);
      equal((await preReboot(waits.url, BOB)).status, 423);
      equal(await readiness(storeless), 503);
      equal(await readiness(gone), 200);

      const job = (name: string, targets: string[], more = {}) => {
        return { job_name: name, static_configs: [{ targets }], ...more };
      };
      await using prometheus = await startPrometheus([
        job("healthy", [hostOf(healthy)]),
        job("waits", [hostOf(waits)]),
        job("gone", [hostOf(gone)]),
        // A page without a store comes after three seconds, without the groups.
        job("storeless", [hostOf(storeless)], { scrape_interval: "5s", scrape_timeout: "4s" }),
        job("config", [hostOf(first), hostOf(second)]),
        job("stand-in", [standIn.host]),
      ], await shortRules());

      await until(async () => await prometheus.query('fleetlock_ready{job="gone"}') === 1, { timeoutMs: 60_000 });
      equal((await gone.stop()).code, 0);
      await Deno.writeTextFile(file("b"), "slot: 1\n");

      const expected = [
        "config FleetlockConfigDiffers",
        `config FleetlockConfigInvalid instance=${hostOf(second)}`,
        "gone FleetlockNoReplicaReady",
        "stand-in FleetlockDrainBlocked group=stuck",
        "stand-in FleetlockLockStuck group=stuck state=node-gone",
        "stand-in FleetlockPolicyUndecided",
        "stand-in FleetlockWindowMissed group=windows",
        "storeless FleetlockNoReplicaReady",
        `storeless FleetlockStoreUnavailable instance=${hostOf(storeless)}`,
        "waits FleetlockLockHeldLong group=default",
        "waits FleetlockNoGrants group=default",
      ];
      const fired = new Set<string>();
      await until(async () => {
        for (const { state, labels: { alertname, job, severity, ...rest }, annotations } of await prometheus.alerts()) {
          equal(state, "firing");
          equal(severity, "warning");
          const { summary, description } = annotations as { summary: string; description: string };
          doesNotMatch(summary + description, /no value|error/i);
          match(description, new RegExp(`section ${alertname}\\.$`));
          const labels = Object.entries(rest).map(([name, value]) => ` ${name}=${value}`).sort();
          fired.add(`${job} ${alertname}${labels.join("")}`);
        }
        return expected.every((each) => fired.has(each));
      }, { timeoutMs: 120_000, what: () => `${expected.join(", ")}; fired: ${[...fired].sort().join(", ")}` });
      deepEqual([...fired].sort(), expected);
      const rules = (await readRules()).groups.flatMap((group) => group.rules).map(({ alert }) => alert);
      deepEqual([...new Set(expected.map((each) => each.split(" ")[1]))].sort(), rules.sort());
    }),
});
