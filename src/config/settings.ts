/**
 * The table of the server's settings: the flag, help text, default and parser of
 * each, and the environment variables. This is the only module that reads the
 * environment. What a setting does is up to the part of the program that uses it.
 *
 * @module
 */

import { parseLogLevel } from "../telemetry/log.ts";
import {
  basePath,
  boolean,
  duration,
  listenAddress,
  oneOf,
  positiveInteger,
  storeChoice,
  text,
  type ValueParser,
} from "./values.ts";

/** One setting: a flag and the environment variable of the same name. */
export interface Setting {
  /** The flag's name without dashes, such as `log-level`. */
  readonly flag: string;
  /** What stands for the value in the help, such as `host:port`. */
  readonly placeholder: string;
  /** What the setting does, for the help. */
  readonly description: string;
  /** The value that applies if neither the flag nor the variable is set. */
  readonly default: string;
  /** Checks and parses the value. */
  readonly parser: ValueParser<unknown>;
  /** Whether the flag may be given several times. The variable holds one value. @default {false} */
  readonly repeatable?: boolean;
}

/** Every setting of the server, in the order of the help. */
export const SETTINGS = [
  {
    flag: "address",
    placeholder: "host:port",
    description: "HTTP listen address; 0.0.0.0 or no host for every IPv4 and IPv6 address",
    default: "0.0.0.0:8080",
    parser: listenAddress,
  },
  {
    flag: "base-path",
    placeholder: "path",
    description: "path before the endpoints of the protocol, for a proxy that forwards whole paths",
    default: "/",
    parser: basePath,
  },
  {
    flag: "store",
    placeholder: "store",
    description: "where to store the locks: kubernetes, sqlite:PATH or memory",
    default: "kubernetes",
    parser: storeChoice,
  },
  {
    flag: "max-groups",
    placeholder: "number",
    description: "maximum number of groups",
    default: "64",
    parser: positiveInteger,
  },
  {
    flag: "kube-concurrency",
    placeholder: "number",
    description: "maximum number of concurrent calls to the Kubernetes API",
    default: "32",
    parser: positiveInteger,
  },
  {
    flag: "drain",
    placeholder: "bool",
    description: "drain the host's Kubernetes node before allowing a reboot",
    default: "true",
    parser: boolean,
  },
  {
    flag: "drain-timeout",
    placeholder: "duration",
    description: "time limit of a drain, counted from the grant, such as 90s, 15m or 1h30m",
    default: "15m",
    parser: duration,
  },
  {
    flag: "drain-on-timeout",
    placeholder: "policy",
    description:
      "when a drain times out: refuse the reboot, proceed with it, delete the pods despite their budgets, or yield the slot",
    default: "refuse",
    parser: oneOf("refuse", "proceed", "delete", "yield"),
  },
  {
    flag: "drain-concurrency",
    placeholder: "number",
    description: "maximum number of concurrent evictions on a node",
    default: "10",
    parser: positiveInteger,
  },
  {
    flag: "drain-skip-selector",
    placeholder: "selector",
    description: "label selector of pods that a drain leaves on the node; repeat the flag for several selectors",
    default: "",
    parser: text("a label selector"),
    repeatable: true,
  },
  {
    flag: "drain-unmanaged",
    placeholder: "policy",
    description: "pods without a controller: evict them, or refuse the reboot",
    default: "evict",
    parser: oneOf("evict", "refuse"),
  },
  {
    flag: "drain-empty-dir",
    placeholder: "policy",
    description: "pods with an emptyDir volume: evict them, or refuse the reboot",
    default: "evict",
    parser: oneOf("evict", "refuse"),
  },
  {
    flag: "release-wait-ready",
    placeholder: "bool",
    description: "keep the slot until the host's node is ready again",
    default: "true",
    parser: boolean,
  },
  {
    flag: "reply-wait",
    placeholder: "duration",
    description: "maximum time that a reply waits for a drain to end or a node to return",
    default: "4m",
    parser: duration,
  },
  {
    flag: "config",
    placeholder: "file",
    description: "configuration file of the policies, YAML or JSON, which is read again when it changes",
    default: "",
    parser: text("the path of a file"),
  },
  {
    flag: "status-page",
    placeholder: "bool",
    description: "serve the state of the locks to everybody, as a page at / and as JSON at /status.json",
    default: "true",
    parser: boolean,
  },
  {
    flag: "log-level",
    placeholder: "level",
    description: "minimum level to log: trace, debug, info, warning or error",
    default: "info",
    parser: { expected: "trace, debug, info, warning or error", parse: parseLogLevel },
  },
  {
    flag: "log-format",
    placeholder: "format",
    description: "format of the log: json or text",
    default: "json",
    parser: oneOf("json", "text"),
  },
] as const satisfies readonly Setting[];

/** The name of a setting. */
export type SettingName = typeof SETTINGS[number]["flag"];

/** The parsed value of a setting. */
export type SettingValue<Name extends SettingName> =
  Extract<typeof SETTINGS[number], { readonly flag: Name }>["parser"] extends ValueParser<infer T> ? T : never;

/** Values of settings as text, by name: those of flags that were given once, or several times. */
export type SettingTexts = Readonly<Partial<Record<SettingName, string | readonly string[]>>>;

/** The environment variables that the program reads in addition to those of the settings. */
export const VARIABLES = [
  "HOME",
  "KUBECONFIG",
  "NAMESPACE",
  "OTEL_DENO",
  "POD_NAME",
  "KUBERNETES_SERVICE_HOST",
  "KUBERNETES_SERVICE_PORT",
  "USER",
] as const satisfies readonly string[];

/** Environment variables by name. */
export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Names the environment variable of a setting.
 *
 * @returns For example `FLEETLOCK_LOG_LEVEL` for `log-level`.
 */
export function variableOf(flag: SettingName): string {
  return `FLEETLOCK_${flag.replaceAll("-", "_").toUpperCase()}`;
}

/** Reads the environment variables that the program knows. It needs permission for those variables only. */
export function readEnvironment(): Environment {
  const names = [...VARIABLES, ...SETTINGS.map((setting) => variableOf(setting.flag))];
  return Object.fromEntries(names.map((name) => [name, Deno.env.get(name)]));
}
