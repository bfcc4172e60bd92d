/**
 * From flags and environment to the Config.
 *
 * @module
 */

import { deepEqual, equal, match, ok, throws } from "node:assert/strict";
import { parseConfig } from "../../src/config/config.ts";
import { ConfigError } from "../../src/config/config_error.ts";

const inPod = { KUBERNETES_SERVICE_HOST: "10.3.0.1", KUBERNETES_SERVICE_PORT: "443" };

Deno.test("the defaults are the Go program's", () => {
  const config = parseConfig({}, inPod);
  deepEqual(config.address, { hostname: "0.0.0.0", port: 8080 });
  equal(config.basePath, "");
  equal(config.logLevel, "info");
  equal(config.logFormat, "json");
  deepEqual(config.store, { kind: "kubernetes" });
  equal(config.maxGroups, 64);
  ok(Object.isFrozen(config));
});

Deno.test("flags take precedence over variables, and variables over defaults; an empty variable counts as unset", () => {
  const environment = { ...inPod, FLEETLOCK_ADDRESS: "127.0.0.1:1", FLEETLOCK_LOG_LEVEL: "", NAMESPACE: "" };
  equal(parseConfig({ address: "127.0.0.1:2" }, environment).address.port, 2);
  equal(parseConfig({}, environment).address.port, 1);
  equal(parseConfig({}, environment).logLevel, "info");
  equal(parseConfig({}, environment).kubernetes.namespace, undefined);
  equal(parseConfig({}, { ...inPod, NAMESPACE: "reboots" }).kubernetes.namespace, "reboots");
});

const refused: [Parameters<typeof parseConfig>[0], Record<string, string>, RegExp][] = [
  [{ "log-level": "loud" }, inPod, /^--log-level must be trace, debug, info, warning or error: it is "loud"$/],
  [{}, { ...inPod, FLEETLOCK_LOG_FORMAT: "xml" }, /^FLEETLOCK_LOG_FORMAT must be json or text: it is "xml"$/],
  [{ "max-groups": "0" }, inPod, /^--max-groups must be an integer from 1 to 999999999: it is "0"$/],
  [{ "max-groups": "1000000000" }, inPod, /^--max-groups must be an integer from 1 to 999999999: it is "1000000000"$/],
  [{ "max-groups": "1.5" }, inPod, /^--max-groups must be/],
  [{ "max-groups": "1e3" }, inPod, /^--max-groups must be/],
  [{ address: "8080" }, inPod, /^--address must be host:port, as in "0.0.0.0:8080" or "\[::\]:8080": it is "8080"$/],
  [
    { "base-path": "x" },
    inPod,
    /^--base-path must be a path of letters, digits and "\._~-", as in "\/fleetlock": it is "x"$/,
  ],
  [{ drain: "maybe" }, inPod, /^--drain must be true or false/],
  [
    { "drain-timeout": "15" },
    inPod,
    /^--drain-timeout must be a duration from 1ms to 596h, as in 90s, 15m or 1h30m: it is "15"$/,
  ],
  [{ "drain-timeout": "0s" }, inPod, /^--drain-timeout must be/],
  [{ "drain-timeout": "600h" }, inPod, /^--drain-timeout must be a duration from 1ms to 596h, .*: it is "600h"$/],
  [{ "reply-wait": "0s" }, inPod, /^--reply-wait must be a duration from 1ms to 596h, .*: it is "0s"$/],
  [
    {},
    { ...inPod, NAMESPACE: "Bad_NS" },
    /^NAMESPACE must be the name of a namespace: up to 63 of a-z, 0-9 and "-", with a letter or .*: it is "Bad_NS"$/,
  ],
  [{ store: "memory" }, { NAMESPACE: "-x" }, /^NAMESPACE must be/],
  [{ "drain-on-timeout": "wait" }, inPod, /^--drain-on-timeout must be refuse, proceed, delete or yield/],
  [{ store: "sqlite:" }, inPod, /^--store must be/],
  [{ store: "postgres" }, inPod, /^--store must be/],
  [{ "drain-empty-dir": "keep" }, inPod, /^--drain-empty-dir must be evict or refuse: it is "keep"$/],
  [{}, {}, /^no Kubernetes cluster found: .*KUBECONFIG.*--store sqlite:PATH$/],
];

for (const [flags, environment, message] of refused) {
  Deno.test(`${JSON.stringify(flags)} with ${Object.keys(environment).join(", ")} fails with one sentence`, () => {
    throws(() => parseConfig(flags, environment), (error) => {
      ok(error instanceof ConfigError);
      match(error.message, message);
      return true;
    });
  });
}

Deno.test("the drain settings apply only if the locks are in Kubernetes", () => {
  const flags = { "drain-timeout": "1h30m", "drain-empty-dir": "refuse" };
  const { drain, replyWaitMs } = parseConfig(flags, inPod);
  deepEqual(drain, {
    timeoutMs: 5_400_000,
    onTimeout: "refuse",
    concurrency: 10,
    unmanaged: "evict",
    emptyDir: "refuse",
    releaseWaitReady: true,
  });
  equal(replyWaitMs, 240_000);
  equal(parseConfig({ drain: "false" }, inPod).drain, undefined);
  equal(parseConfig({ store: "memory" }, inPod).drain, undefined);
});

Deno.test("a flag that is repeatable keeps all its values, and its variable holds one", () => {
  const variable = { ...inPod, FLEETLOCK_DRAIN_SKIP_SELECTOR: "a=b,c=d" };
  const named = "FLEETLOCK_DRAIN_SKIP_SELECTOR";
  deepEqual(parseConfig({}, inPod).drainSkipSelectors, [{ text: "", source: named }]);
  deepEqual(parseConfig({}, variable).drainSkipSelectors, [{ text: "a=b,c=d", source: named }]);
  deepEqual(
    parseConfig({ "drain-skip-selector": ["x", "y"] }, variable).drainSkipSelectors,
    ["x", "y"].map((text) => ({ text, source: "--drain-skip-selector" })),
  );
  throws(() => parseConfig({ address: [":1", ":2"] }, inPod), /^ConfigError: --address is given twice/);
});

Deno.test("the sqlite and memory stores do not need a cluster", () => {
  deepEqual(parseConfig({ store: "sqlite:/a b/locks.db" }, {}).store, { kind: "sqlite", path: "/a b/locks.db" });
  deepEqual(parseConfig({}, { FLEETLOCK_STORE: "memory" }).store, { kind: "memory" });
});
