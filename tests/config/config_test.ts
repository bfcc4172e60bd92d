import assert from "node:assert/strict";
import manifest from "../../deno.json" with { type: "json" };
import { parseConfig, SETTINGS, variableOf, VARIABLES } from "../../src/config/config.ts";
import { ConfigError } from "../../src/config/config_error.ts";

const inPod = { KUBERNETES_SERVICE_HOST: "10.3.0.1", KUBERNETES_SERVICE_PORT: "443" };

Deno.test("the defaults are the Go program's", () => {
  const config = parseConfig({}, inPod);
  assert.deepEqual(config.address, { hostname: "0.0.0.0", port: 8080 });
  assert.equal(config.logLevel, "info");
  assert.equal(config.logFormat, "json");
  assert.deepEqual(config.store, { kind: "kubernetes" });
  assert.equal(config.maxGroups, 64);
  assert(Object.isFrozen(config));
});

Deno.test("a flag goes before its variable, that before the default, and an empty variable is none", () => {
  const environment = { ...inPod, FLEETLOCK_ADDRESS: "127.0.0.1:1", FLEETLOCK_LOG_LEVEL: "", NAMESPACE: "" };
  assert.equal(parseConfig({ address: "127.0.0.1:2" }, environment).address.port, 2);
  assert.equal(parseConfig({}, environment).address.port, 1);
  assert.equal(parseConfig({}, environment).logLevel, "info");
  assert.equal(parseConfig({}, environment).kubernetes.namespace, undefined);
  assert.equal(parseConfig({}, { ...inPod, NAMESPACE: "reboots" }).kubernetes.namespace, "reboots");
});

const addresses: [string, { hostname: string; port: number } | undefined][] = [
  ["0.0.0.0:8080", { hostname: "0.0.0.0", port: 8080 }],
  ["[::]:8080", { hostname: "::", port: 8080 }],
  ["[::1]:0", { hostname: "::1", port: 0 }],
  [":8080", { hostname: "0.0.0.0", port: 8080 }],
  ["localhost:65535", { hostname: "localhost", port: 65535 }],
  ["8080", undefined],
  ["localhost", undefined],
  ["localhost:", undefined],
  ["localhost:65536", undefined],
  ["localhost:-1", undefined],
  ["localhost:http", undefined],
  ["::1:8080", undefined],
  ["http://localhost:8080", undefined],
  ["a b:80", undefined],
  ["", undefined],
];

for (const [raw, expected] of addresses) {
  Deno.test(`the address ${JSON.stringify(raw)} is ${expected ? "understood" : "refused"}`, () => {
    if (expected) assert.deepEqual(parseConfig({ address: raw }, inPod).address, expected);
    else assert.throws(() => parseConfig({ address: raw }, inPod), /^ConfigError: --address must be host:port/);
  });
}

const refused: [Parameters<typeof parseConfig>[0], Record<string, string>, RegExp][] = [
  [{ "log-level": "loud" }, inPod, /^--log-level must be trace, debug, info, warning or error: it is "loud"$/],
  [{}, { ...inPod, FLEETLOCK_LOG_FORMAT: "xml" }, /^FLEETLOCK_LOG_FORMAT must be json or text: it is "xml"$/],
  [{ "max-groups": "0" }, inPod, /^--max-groups must be a positive integer: it is "0"$/],
  [{ "max-groups": "1.5" }, inPod, /^--max-groups must be/],
  [{ "max-groups": "1e3" }, inPod, /^--max-groups must be/],
  [{ drain: "maybe" }, inPod, /^--drain must be true or false/],
  [{ "drain-timeout": "15" }, inPod, /^--drain-timeout must be a duration, as in 90s, 15m or 1h30m: it is "15"$/],
  [{ "drain-timeout": "0s" }, inPod, /^--drain-timeout must be/],
  [{ "drain-timeout": "1000h" }, inPod, /^--drain-timeout must be/],
  [{ "drain-on-timeout": "wait" }, inPod, /^--drain-on-timeout must be refuse, proceed or delete/],
  [{ store: "sqlite:" }, inPod, /^--store must be/],
  [{ store: "postgres" }, inPod, /^--store must be/],
  [{}, {}, /^no Kubernetes cluster found: .*KUBECONFIG.*--store sqlite:PATH$/],
];

for (const [flags, environment, message] of refused) {
  Deno.test(`${JSON.stringify(flags)} with ${Object.keys(environment).join(", ")} is refused in a sentence`, () => {
    assert.throws(() => parseConfig(flags, environment), (error) => {
      assert(error instanceof ConfigError);
      assert.match(error.message, message);
      return true;
    });
  });
}

Deno.test("nodes are drained, and how is set, only where the locks are in Kubernetes", () => {
  const flags = { "drain-timeout": "1h30m", "drain-empty-dir": "refuse" };
  const { drain, replyWaitMs } = parseConfig(flags, inPod);
  assert.deepEqual(drain, {
    timeoutMs: 5_400_000,
    onTimeout: "refuse",
    concurrency: 10,
    skipSelector: "",
    unmanaged: "evict",
    emptyDir: "refuse",
    releaseWaitReady: true,
  });
  assert.equal(replyWaitMs, 240_000);
  assert.equal(parseConfig({ drain: "false" }, inPod).drain, undefined);
  assert.equal(parseConfig({ store: "memory" }, inPod).drain, undefined);
});

Deno.test("a store that is named needs no cluster", () => {
  assert.deepEqual(parseConfig({ store: "sqlite:/a b/locks.db" }, {}).store, { kind: "sqlite", path: "/a b/locks.db" });
  assert.deepEqual(parseConfig({}, { FLEETLOCK_STORE: "memory" }).store, { kind: "memory" });
});

Deno.test("the program's permissions let it read every variable that it knows", () => {
  const { allow } = manifest.permissions.default.env;
  const isAllowed = (name: string) =>
    allow.some((each) => each === name || (each.endsWith("*") && name.startsWith(each.slice(0, -1))));
  const known = [...VARIABLES, ...SETTINGS.map((setting) => variableOf(setting.flag))];
  assert.deepEqual(known.filter((name) => !isAllowed(name)), []);
});
