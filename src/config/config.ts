/**
 * Flags and environment to one frozen, checked {@link Config}. The only module
 * that reads the environment. It opens no file and no connection.
 *
 * @module
 */

import { ConfigError } from "./config_error.ts";
import { type LogFormat, type LogLevel, parseLogLevel } from "../telemetry/log.ts";

/** Where the locks are kept. */
export type StoreChoice =
  | { readonly kind: "kubernetes" }
  | { readonly kind: "sqlite"; readonly path: string }
  | { readonly kind: "memory" };

/** The access to the Kubernetes API, as the environment gives it. */
export interface KubernetesAccess {
  /** Path of a kubeconfig file; undefined in a pod. */
  readonly kubeconfig?: string;
  /** The API server's host as a pod's environment names it: a name, an IPv4 or IPv6 address. */
  readonly serviceHost?: string;
  /** The API server's port as a pod's environment names it. */
  readonly servicePort?: string;
  /** The namespace of the Leases; undefined: the pod's own, or "default". */
  readonly namespace?: string;
  /** The server's own pod, which is evicted last; undefined outside a pod. */
  readonly podName?: string;
}

/** Everything an operator decides. */
export interface Config {
  /** Where to listen. Port 0 takes a free one. */
  readonly address: { readonly hostname: string; readonly port: number };
  /** The least severe level that is logged. */
  readonly logLevel: LogLevel;
  /** What a line of the log looks like. */
  readonly logFormat: LogFormat;
  /** Whether Deno exports telemetry over OpenTelemetry, so that the log should take part. */
  readonly openTelemetry: boolean;
  /** Where the locks are. */
  readonly store: StoreChoice;
  /** The access to the Kubernetes API. */
  readonly kubernetes: KubernetesAccess;
  /** How many groups there may be, 1 or more. */
  readonly maxGroups: number;
  /** How many calls to the API server may be under way at a time, 1 or more. */
  readonly kubeConcurrency: number;
  /** How long an answer may wait for a drain or for a node's return, in milliseconds. */
  readonly replyWaitMs: number;
  /** How Kubernetes nodes are drained; undefined where they are not. */
  readonly drain?: DrainConfig;
}

/** How Kubernetes nodes are drained before their hosts reboot. */
export interface DrainConfig {
  /** How long a drain may take, from the grant on, in milliseconds. */
  readonly timeoutMs: number;
  /** What becomes of one that takes longer: no yes, a yes all the same, or its pods are deleted past their budgets. */
  readonly onTimeout: "refuse" | "proceed" | "delete";
  /** How many evictions of a node are under way at a time, 1 or more. */
  readonly concurrency: number;
  /** Pods with these labels stay; empty: none. */
  readonly skipSelector: string;
  /** What becomes of pods that no controller makes anew. */
  readonly unmanaged: "evict" | "refuse";
  /** What becomes of pods whose emptyDir goes with them. */
  readonly emptyDir: "evict" | "refuse";
  /** Whether a slot is kept until the node is ready again. */
  readonly releaseWaitReady: boolean;
}

/** One setting: a flag, and the same as a variable of the environment. */
export interface Setting {
  /** The flag's name without dashes, such as `log-level`. */
  readonly flag: string;
  /** What stands for the value in the help, such as `host:port`. */
  readonly value: string;
  /** What it is for. */
  readonly description: string;
  /** Its value where nothing is said. */
  readonly default: string;
}

/** Every setting of the server, in the order of the help. */
export const SETTINGS = [
  { flag: "address", value: "host:port", description: "HTTP listen address", default: "0.0.0.0:8080" },
  {
    flag: "store",
    value: "store",
    description: "where the locks are kept: kubernetes, sqlite:PATH or memory",
    default: "kubernetes",
  },
  { flag: "max-groups", value: "number", description: "how many groups there may be", default: "64" },
  {
    flag: "kube-concurrency",
    value: "number",
    description: "how many calls to the Kubernetes API may be under way at a time",
    default: "32",
  },
  { flag: "drain", value: "bool", description: "drain a host's Kubernetes node before it may reboot", default: "true" },
  {
    flag: "drain-timeout",
    value: "duration",
    description: "how long a drain may take from the grant on, as in 90s, 15m or 1h30m",
    default: "15m",
  },
  {
    flag: "drain-on-timeout",
    value: "policy",
    description: "what then: refuse the reboot, proceed with it, or delete the pods past their budgets",
    default: "refuse",
  },
  {
    flag: "drain-concurrency",
    value: "number",
    description: "how many evictions of a node are under way at a time",
    default: "10",
  },
  { flag: "drain-skip-selector", value: "selector", description: "pods with these labels stay", default: "" },
  {
    flag: "drain-unmanaged",
    value: "policy",
    description: "pods without a controller: evict them, or refuse the reboot",
    default: "evict",
  },
  {
    flag: "drain-empty-dir",
    value: "policy",
    description: "pods with an emptyDir: evict them, or refuse the reboot",
    default: "evict",
  },
  {
    flag: "release-wait-ready",
    value: "bool",
    description: "keep a slot until the host's node is ready again",
    default: "true",
  },
  {
    flag: "reply-wait",
    value: "duration",
    description: "how long an answer may wait for a drain or a node's return",
    default: "4m",
  },
  {
    flag: "log-level",
    value: "level",
    description: "what is logged: trace, debug, info, warning or error",
    default: "info",
  },
  { flag: "log-format", value: "format", description: "how it is logged: json or text", default: "json" },
] as const satisfies readonly Setting[];

/** The name of a setting. */
export type SettingName = typeof SETTINGS[number]["flag"];

/** The variables of the environment that are read beside those of the settings. */
export const VARIABLES = [
  "KUBECONFIG",
  "NAMESPACE",
  "OTEL_DENO",
  "POD_NAME",
  "KUBERNETES_SERVICE_HOST",
  "KUBERNETES_SERVICE_PORT",
] as const satisfies readonly string[];

/** Variables of the environment by name. */
export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Names the variable that sets a setting.
 *
 * @returns For `log-level`, say, `FLEETLOCK_LOG_LEVEL`.
 */
export function variableOf(flag: SettingName): string {
  return `FLEETLOCK_${flag.replaceAll("-", "_").toUpperCase()}`;
}

/** Reads those variables of the process's environment that the program knows. Needs permission for just them. */
export function readEnvironment(): Environment {
  const names = [...VARIABLES, ...SETTINGS.map((setting) => variableOf(setting.flag))];
  return Object.fromEntries(names.map((name) => [name, Deno.env.get(name)]));
}

/**
 * Checks everything and puts it together. A flag goes before its variable, that
 * before the default; an empty variable counts as unset.
 *
 * @param flags The flags given, by name.
 * @throws {ConfigError} A value is not as it must be, or no cluster is there and no other store named.
 */
export function parseConfig(flags: Readonly<Partial<Record<SettingName, string>>>, environment: Environment): Config {
  const read = <T>(name: SettingName, parse: (raw: string) => T | undefined, expected: string): T => {
    const setting = SETTINGS.find((each) => each.flag === name)!;
    const variable = environment[variableOf(name)] || undefined;
    const raw = flags[name] ?? variable ?? setting.default;
    const parsed = parse(raw);
    if (parsed !== undefined) return parsed;
    const source = flags[name] !== undefined ? `--${name}` : variableOf(name);
    throw new ConfigError(`${source} must be ${expected}: it is ${JSON.stringify(raw)}`);
  };

  const kubernetes: KubernetesAccess = Object.freeze({
    kubeconfig: environment.KUBECONFIG || undefined,
    serviceHost: environment.KUBERNETES_SERVICE_HOST || undefined,
    servicePort: environment.KUBERNETES_SERVICE_PORT || undefined,
    namespace: environment.NAMESPACE || undefined,
    podName: environment.POD_NAME || undefined,
  });
  const store = read(
    "store",
    parseStore,
    'kubernetes, sqlite:PATH or memory, as in "sqlite:/var/lib/fleetlock/locks.db"',
  );
  const evict = oneOf("evict", "refuse");
  const onTimeout = oneOf("refuse", "proceed", "delete");
  const drain: DrainConfig = Object.freeze({
    timeoutMs: read("drain-timeout", parseDuration, DURATION),
    onTimeout: read("drain-on-timeout", onTimeout, "refuse, proceed or delete"),
    concurrency: read("drain-concurrency", parsePositive, "a positive integer"),
    skipSelector: read("drain-skip-selector", (raw) => raw, "a label selector"),
    unmanaged: read("drain-unmanaged", evict, "evict or refuse"),
    emptyDir: read("drain-empty-dir", evict, "evict or refuse"),
    releaseWaitReady: read("release-wait-ready", parseBoolean, BOOLEAN),
  });
  const config: Config = Object.freeze({
    address: read("address", parseAddress, 'host:port, as in "0.0.0.0:8080" or "[::]:8080"'),
    logLevel: read("log-level", parseLogLevel, "trace, debug, info, warning or error"),
    logFormat: read("log-format", oneOf("json", "text"), "json or text"),
    openTelemetry: parseBoolean(environment.OTEL_DENO ?? "") ?? false,
    store,
    kubernetes,
    maxGroups: read("max-groups", parsePositive, "a positive integer"),
    kubeConcurrency: read("kube-concurrency", parsePositive, "a positive integer"),
    replyWaitMs: read("reply-wait", parseDuration, DURATION),
    drain: read("drain", parseBoolean, BOOLEAN) && store.kind === "kubernetes" ? drain : undefined,
  });
  if (store.kind === "kubernetes" && !kubernetes.kubeconfig && !kubernetes.serviceHost) {
    throw new ConfigError(
      "no Kubernetes cluster found: run in a pod, set KUBECONFIG to a kubeconfig file, " +
        "or keep the locks elsewhere with --store sqlite:PATH",
    );
  }
  return config;
}

const DURATION = "a duration, as in 90s, 15m or 1h30m";
const BOOLEAN = "true or false";

function parseStore(raw: string): StoreChoice | undefined {
  if (raw === "kubernetes" || raw === "memory") return { kind: raw };
  const path = /^sqlite:(.+)$/s.exec(raw)?.[1];
  return path === undefined ? undefined : { kind: "sqlite", path };
}

/** `host:port`, `[v6]:port` or `:port`, which listens on all addresses as in the Go program. */
function parseAddress(raw: string): Config["address"] | undefined {
  const match = /^(?:\[(?<v6>[0-9a-fA-F:.%a-z]+)\]|(?<host>[^\s:[\]/]*)):(?<port>\d{1,5})$/.exec(raw);
  const port = Number(match?.groups?.port);
  if (match === null || port > 65_535) return undefined;
  return { hostname: match.groups?.v6 ?? (match.groups?.host || "0.0.0.0"), port };
}

function parsePositive(raw: string): number | undefined {
  const value = /^\d{1,9}$/.test(raw) ? Number(raw) : 0;
  return value >= 1 ? value : undefined;
}

function oneOf<const T extends string>(...words: T[]): (raw: string) => T | undefined {
  return (raw) => words.find((word) => word === raw);
}

/** What Go's flag package takes for a boolean. */
function parseBoolean(raw: string): boolean | undefined {
  if (/^(1|t|true)$/i.test(raw)) return true;
  return /^(0|f|false)$/i.test(raw) ? false : undefined;
}

const UNITS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 } as const;

/** A duration as Go writes it, in milliseconds: positive, and at most some weeks. */
function parseDuration(raw: string): number | undefined {
  if (!/^(\d{1,9}(\.\d+)?(ms|s|m|h))+$/.test(raw)) return undefined;
  let total = 0;
  for (const [, amount, unit] of raw.matchAll(/([\d.]+)(ms|s|m|h)/g)) {
    total += Number(amount) * UNITS[unit as keyof typeof UNITS];
  }
  // A timer of more than 2^31 ms would fire at once.
  return total >= 1 && total < 2 ** 31 ? total : undefined;
}
