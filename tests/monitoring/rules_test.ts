/**
 * The alerts of examples/monitoring: what promtool says of them, and that metrics, runbook and manifests match. @module
 */

import { deepEqual, equal, match, ok } from "node:assert/strict";
import { load } from "js-yaml";
import { DEFAULT_STUCK } from "../../src/policies/options.ts";
import { thresholdsOf } from "../../src/status/stage.ts";
import { kubeconfig, withFolder } from "../support/kubeconfigs.ts";
import { runProgram, startProgram } from "../support/program.ts";
import { type AlertRule, MONITORING, promtool, readRules, SKIPPED } from "../support/prometheus.ts";

const UNIT_TESTS = ["rules.promtool.yaml", "days.promtool.yaml"];
const STATES = Object.keys(thresholdsOf(DEFAULT_STUCK, 0)).sort();

const alerts = async (): Promise<AlertRule[]> => (await readRules()).groups.flatMap(({ rules }) => [...rules]);
const runbook = () => Deno.readTextFile(new URL("../../docs/runbook.md", import.meta.url));
const unitTest = (name: string) => Deno.readTextFile(new URL(name, import.meta.url));
const manifest = async (path: string) => load(await Deno.readTextFile(new URL(path, MONITORING)));
const found = (text: string, pattern: RegExp) => [...text.matchAll(pattern)].map(([, first]) => first!);

Deno.test({
  name: `promtool accepts the rules, and their unit tests pass${SKIPPED}`,
  ignore: SKIPPED !== "",
  fn: () =>
    withFolder(async (folder) => {
      await Deno.writeTextFile(`${folder}/rules.yaml`, JSON.stringify(await readRules()));
      for (const name of UNIT_TESTS) await Deno.writeTextFile(`${folder}/${name}`, await unitTest(name));
      for (const args of [["check", "rules", "rules.yaml"], ["test", "rules", ...UNIT_TESTS]]) {
        const { success, output } = await promtool(folder, ...args);
        ok(success, output);
      }
    }),
});

Deno.test("each alert has a unit test in which it fires and one moment in which it does not", async () => {
  const tests = (await Promise.all(UNIT_TESTS.map(unitTest))).flatMap((text) =>
    (load(text) as { tests: { promql_expr_test: { exp_samples: { labels: string }[] }[] }[] }).tests
  );
  for (const { alert } of await alerts()) {
    const about = tests.filter((test) =>
      test.promql_expr_test.some(({ exp_samples }) => exp_samples.some(({ labels }) => labels.includes(`"${alert}"`)))
    );
    ok(about.length > 0, `${alert} fires in no unit test`);
    for (const { promql_expr_test: [first] } of about) deepEqual(first!.exp_samples, [], alert);
  }
});

Deno.test("the runbook has a section for each alert, which the alert names, and one for each state of a stuck lock", async () => {
  const text = await runbook();
  const rules = await alerts();
  deepEqual(found(text, /^## (\w+)$/gm), rules.map(({ alert }) => alert));
  for (const { alert, annotations, labels } of rules) {
    match(annotations.description, new RegExp(`See docs/runbook\\.md, section ${alert}\\.$`));
    equal(labels["severity"], "warning", alert);
  }
  // The state "blocked" has an alert of its own.
  deepEqual(found(text, /^### ([a-z-]+)$/gm).sort(), STATES.filter((state) => state !== "blocked"));
  for (const states of rules.flatMap(({ expr }) => found(expr, /state!?[=~]+"([^"]+)"/g))) {
    // That state is about hosts which hold nothing.
    for (const state of states.split("|")) ok(state === "rolled-back" || STATES.includes(state), state);
  }
});

Deno.test("the commands of the runbook exist, with their flags", async () => {
  const helps = new Map<string, string>();
  const typed = found(await runbook(), /(?:^|`|-- )fleetlock ((?:config )?[a-z]+\b[^`\n]*)/gm);
  ok(typed.length > 10, "the commands were not found");
  for (const line of typed) {
    const [name] = /^(config )?[a-z]+/.exec(line)!;
    if (!helps.has(name)) {
      const { code, stdout } = await runProgram([...name.split(" "), "--help"]);
      equal(code, 0, line);
      helps.set(name, stdout);
    }
    for (const flag of found(line, /(--[a-z-]+)/g)) match(helps.get(name)!, new RegExp(`${flag}\\b`), line);
  }
});

Deno.test("the program has every metric that the rules use, with the labels and values that they ask for", () =>
  withFolder(async (folder) => {
    // The API server does not answer, so the program has the metrics of a cluster, and no groups.
    await Deno.writeTextFile(`${folder}/kubeconfig`, kubeconfig({ token: "t" }));
    await Deno.writeTextFile(`${folder}/policies.yaml`, "{}\n");
    await using program = await startProgram([`--config=${folder}/policies.yaml`], {
      KUBECONFIG: `${folder}/kubeconfig`,
    });
    const page = await (await fetch(`${program.url}/metrics`)).text();
    const documented = await Deno.readTextFile(new URL("../../docs/metrics.md", import.meta.url));
    const exprs = (await alerts()).map(({ expr }) => expr);
    const used = new Set(exprs.flatMap((expr) => found(expr, /\b(fleetlock_\w+)/g)));
    ok(used.size > 10, "the metrics were not found");
    for (const metric of used) {
      ok(page.includes(`\n# HELP ${metric} `) || page.startsWith(`# HELP ${metric} `), `there is no metric ${metric}`);
      match(documented, new RegExp(`\`${metric}(\\{[a-z,]+\\})?\``), `docs/metrics.md does not have ${metric}`);
    }
    const selected = exprs.flatMap((expr) => found(expr, /\b(fleetlock_\w+\{(?:result|kind)="\w+"\})/g));
    equal(selected.length, 2);
    for (const selector of selected) {
      const [, metric, label] = /^(\w+)\{(.*)\}$/.exec(selector)!;
      ok(page.split("\n").some((line) => line.startsWith(`${metric}{`) && line.includes(label!)), selector);
    }
  }));

Deno.test("the ServiceMonitor selects the Service of examples/k8s and a port that it has", async () => {
  const service = await manifest("../k8s/service.yaml") as {
    metadata: { labels: Record<string, string> };
    spec: { ports: { name: string }[] };
  };
  const { spec: { jobLabel, selector, endpoints } } = await manifest("service-monitor.yaml") as {
    spec: {
      jobLabel: string;
      selector: { matchLabels: Record<string, string> };
      endpoints: { port: string; path: string }[];
    };
  };
  equal(service.metadata.labels[jobLabel], "fleetlock");
  for (const [label, value] of Object.entries(selector.matchLabels)) equal(service.metadata.labels[label], value);
  deepEqual(endpoints.map(({ port }) => port), service.spec.ports.map(({ name }) => name));
  deepEqual(endpoints.map(({ path }) => path), ["/metrics"]);
  const { resources, namespace } = await manifest("kustomization.yaml") as { resources: string[]; namespace: string };
  const files = [...Deno.readDirSync(MONITORING)].map(({ name }) => name).filter((name) => /\.yaml$/.test(name));
  deepEqual([...resources, "kustomization.yaml"].sort(), files.sort());
  equal(namespace, (await manifest("../k8s/kustomization.yaml") as { namespace: string }).namespace);
});
