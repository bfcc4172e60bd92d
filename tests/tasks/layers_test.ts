/** The lint rules for the layers of the program. @module */

import { deepEqual, equal, match } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import layers from "../../src/tasks/layers.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** What the plugin reports about a file with this source. */
function lint(file: string, source: string): string[] {
  return Deno.lint.runPlugin(layers, root + file, source).map(({ id, message }) => `${id}: ${message}`);
}

const breaches: [file: string, source: string, message: RegExp][] = [
  ["src/lock/semaphore.ts", 'import { x } from "../stores/sqlite.ts";', /imports: lock must not import stores/],
  ["src/lock/semaphore.ts", 'import type { X } from "../telemetry/log.ts";', /lock must not import telemetry/],
  ["src/lock/semaphore.ts", 'import { getLogger } from "@logtape/logtape";', /lock must not import packages/],
  ["src/lock/semaphore.ts", 'import { join } from "node:path";', /lock must not import packages/],
  ["src/operate/release.ts", 'import { x } from "../cli/terminal.ts";', /operate must not import cli/],
  ["src/operate/look.ts", 'import { x } from "../service/service.ts";', /operate must not import service/],
  ["src/cli/status.ts", 'import { x } from "../kubernetes/client.ts";', /cli must not import kubernetes/],
  ["src/http/handler.ts", 'import { x } from "../stores/sqlite.ts";', /http must not import stores/],
  ["src/http/handler.ts", 'export { x } from "../kubernetes/client.ts";', /http must not import kubernetes/],
  ["src/http/handler.ts", 'export * from "../kubernetes/client.ts";', /http must not import kubernetes/],
  ["src/http/handler.ts", 'await import("../service/service.ts");', /http must not import service/],
  [
    "src/stores/lease/store.ts",
    'import { x } from "../../keeper/nodes/node.ts";',
    /lease must not import keeper\/nodes/,
  ],
  ["src/stores/sqlite.ts", 'import { x } from "../keeper/node_keeper.ts";', /stores must not import keeper/],
  [
    "src/kubernetes/watch.ts",
    'import { x } from "../keeper/nodes/node.ts";',
    /kubernetes must not import keeper\/nodes/,
  ],
  ["src/kubernetes/watch.ts", 'import { x } from "../stores/lease/leases.ts";', /must not import stores\/lease/],
  ["src/keeper/drain/drain.ts", 'import { x } from "../node_keeper.ts";', /keeper\/drain must not import keeper:/],
  [
    "src/keeper/nodes/node_calls.ts",
    'import { x } from "../drain/pods.ts";',
    /keeper\/nodes must not import keeper\/drain/,
  ],
  ["src/keeper/node_keeper.ts", 'import { x } from "../telemetry/log.ts";', /keeper must not import telemetry/],
  ["src/kubernetes/client.ts", 'import { x } from "../http/handler.ts";', /kubernetes must not import http/],
  ["src/telemetry/metrics.ts", 'import { x } from "../config/config.ts";', /telemetry must not import config/],
  ["src/cli/cli.ts", 'import { x } from "../keeper/node_keeper.ts";', /cli must not import keeper/],
  ["src/simulator/options.ts", 'import { x } from "../config/settings.ts";', /simulator must not import config:/],
  ["src/config/values.ts", 'import { x } from "../telemetry/log.ts";', /config\/values must not import telemetry/],
  ["main.ts", 'import { x } from "./src/service/service.ts";', /main must not import service/],
  ["src/service/service.ts", 'import { x } from "../tasks/bundle.ts";', /service must not import tasks/],
  [
    "src/service/service.ts",
    'import { x } from "../../tests/support/fake_clock.ts";',
    /tests\/support\/fake_clock\.ts, which is not/,
  ],
  ["src/newcomer/new.ts", 'import { x } from "../lock/semaphore.ts";', /The room newcomer is unknown/],
  [
    "src/service/service.ts",
    'import { KubeConfig } from "@kubernetes/client-node";',
    /must not import @kubernetes\/client-node/,
  ],
  [
    "src/service/service.ts",
    'import type { V1Pod } from "npm:@kubernetes/client-node@2.0.1";',
    /must not import @kubernetes\/client-node/,
  ],
  ["src/stores/lease/store.ts", 'import { V1Lease } from "@kubernetes/client-node";', /may import only types/],
  [
    "src/stores/sqlite.ts",
    'import type { V1Lease } from "@kubernetes/client-node";',
    /must not import @kubernetes\/client-node/,
  ],
  [
    "src/http/handler.ts",
    'import { Registry } from "prom-client/lib/registry.js";',
    /must not import prom-client/,
  ],
  ["src/telemetry/log.ts", 'import type { Registry } from "prom-client";', /must not import prom-client/],
  ["src/cli/cli.ts", "Deno.exit(1);", /owners: Only main\.ts ends the process/],
  ["src/service/service.ts", "process.exit(1);", /Only main\.ts ends the process/],
  ["src/service/service.ts", 'Deno["exit"](1);', /Only main\.ts ends the process/],
  ["src/cli/cli.ts", 'Deno.env.get("HOME");', /Only src\/config\/ reads the environment/],
  ["src/kubernetes/client.ts", "const { HOME } = process.env;", /Only src\/config\/ reads the environment/],
];

for (const [file, source, message] of breaches) {
  Deno.test(`${file} may not contain ${source}`, () => {
    const found = lint(file, source);
    equal(found.length, 1, found.join("\n"));
    match(found[0]!, message);
  });
}

const allowed: [file: string, source: string][] = [
  ["main.ts", 'import { run } from "./src/cli/cli.ts"; Deno.exit(await run());'],
  ["src/cli/cli.ts", 'import { startService } from "../service/service.ts"; import { Command } from "commander";'],
  ["src/cli/cli.ts", 'import manifest from "../../deno.json" with { type: "json" };'],
  ["src/config/config.ts", 'Deno.env.get("KUBECONFIG");'],
  ["src/simulator/options.ts", 'import { duration } from "../config/values.ts";'],
  [
    "src/service/service.ts",
    'import { x } from "../kubernetes/client.ts"; import { y } from "../stores/lease/store.ts";',
  ],
  [
    "src/http/handler.ts",
    'import type { Metrics } from "../telemetry/metrics.ts"; export { x } from "./fleetlock.ts";',
  ],
  ["src/stores/lease/store.ts", 'import type { V1Lease } from "@kubernetes/client-node/dist/gen/models/V1Lease.js";'],
  ["src/kubernetes/client.ts", 'import { of } from "@kubernetes/client-node/dist/gen/rxjsStub.js";'],
  ["src/telemetry/metrics.ts", 'import { Registry } from "prom-client/lib/registry.js";'],
  ["src/lock/lock_service.ts", 'import { acquire } from "./semaphore.ts"; process();'],
  ["src/tasks/bundle.ts", 'import * as esbuild from "esbuild"; Deno.env.get("REVISION");'],
  [
    "tests/lock/semaphore_test.ts",
    'import { x } from "../../src/service/service.ts"; Deno.env.get("X"); Deno.exit(1);',
  ],
];

for (const [file, source] of allowed) {
  Deno.test(`${file} may contain ${source}`, () => deepEqual(lint(file, source), []));
}
