/**
 * Checks flags and environment and combines them into one frozen {@link Config}.
 * It opens no files and no connections.
 *
 * @module
 */

import type { LogFormat, LogLevel } from "../telemetry/log.ts";
import { ConfigError } from "./config_error.ts";
import {
  type Environment,
  type Setting,
  type SettingName,
  SETTINGS,
  type SettingTexts,
  type SettingValue,
  variableOf,
} from "./settings.ts";
import { boolean, type ListenAddress, namespaceName, type StoreChoice } from "./values.ts";

export type { StoreChoice };

/** How to reach the Kubernetes API, as the environment describes it. */
export interface KubernetesAccess {
  /** Path of a kubeconfig file; undefined in a pod. */
  readonly kubeconfig?: string;
  /** The API server's host, as a pod's environment names it: a name, an IPv4 or an IPv6 address. */
  readonly serviceHost?: string;
  /** The API server's port, as a pod's environment names it. */
  readonly servicePort?: string;
  /** The namespace of the Leases. If undefined, the pod's own namespace, or "default" outside a pod. */
  readonly namespace?: string;
  /** The name of the server's own pod, which a drain leaves on its node; undefined outside a pod. */
  readonly podName?: string;
}

/** A text that is parsed later, and what an error about it names. */
export interface GivenText {
  /** The text; empty for nothing. */
  readonly text: string;
  /** The flag with its dashes, or the variable, that gave it. */
  readonly source: string;
}

/** Everything that an operator configures. */
export interface Config {
  /** Where to listen. Port 0 takes a free port. */
  readonly address: ListenAddress;
  /** What stands before the paths of the protocol, such as `/fleetlock`; empty for nothing. */
  readonly basePath: string;
  /** The minimum level to log. */
  readonly logLevel: LogLevel;
  /** The format of the log. */
  readonly logFormat: LogFormat;
  /** Whether Deno exports telemetry over OpenTelemetry, in which case the log is exported too. */
  readonly openTelemetry: boolean;
  /** Where the locks are stored. */
  readonly store: StoreChoice;
  /** How to reach the Kubernetes API. */
  readonly kubernetes: KubernetesAccess;
  /** The maximum number of groups, 1 or more. */
  readonly maxGroups: number;
  /** The maximum number of concurrent calls to the API server, 1 or more. */
  readonly kubeConcurrency: number;
  /** The maximum time that a reply waits for a drain or for a node's return, in milliseconds. */
  readonly replyWaitMs: number;
  /** Whether to serve the page with the state of the locks. */
  readonly statusPage: boolean;
  /** Label selectors of pods that a drain leaves on the node: those that any of them matches. Not parsed yet. */
  readonly drainSkipSelectors: readonly GivenText[];
  /** Path of the configuration file of the policies; undefined for none. */
  readonly policyFile?: string;
  /** How to drain Kubernetes nodes; undefined if nodes are not drained. */
  readonly drain?: DrainConfig;
}

/** How to drain Kubernetes nodes before their hosts reboot. */
export interface DrainConfig {
  /** The time limit of a drain, counted from the grant, in milliseconds. */
  readonly timeoutMs: number;
  /**
   * What to do when a drain times out: refuse the reboot, allow it, delete the pods despite their budgets, or yield the
   * slot.
   */
  readonly onTimeout: "refuse" | "proceed" | "delete" | "yield";
  /** The maximum number of concurrent evictions on a node, 1 or more. */
  readonly concurrency: number;
  /** What to do with pods that no controller would recreate. */
  readonly unmanaged: "evict" | "refuse";
  /** What to do with pods that have an emptyDir volume, whose data an eviction deletes. */
  readonly emptyDir: "evict" | "refuse";
  /** Whether the client keeps its slot until its node is ready again. */
  readonly releaseWaitReady: boolean;
}

/**
 * Checks all settings and combines them. Flags take precedence over environment
 * variables, and variables over defaults. An empty variable counts as unset.
 *
 * @param flags The flags that were given, by name.
 * @throws {ConfigError} A value is not valid, or the locks should be stored in Kubernetes and no cluster is configured.
 */
export function parseConfig(flags: SettingTexts, environment: Environment): Config {
  const readAll = <Name extends SettingName>(name: Name) => readSetting(name, flags, environment);
  const read = <Name extends SettingName>(name: Name) => readAll(name)[0]!;
  const kubernetes: KubernetesAccess = Object.freeze({
    kubeconfig: environment.KUBECONFIG || undefined,
    serviceHost: environment.KUBERNETES_SERVICE_HOST || undefined,
    servicePort: environment.KUBERNETES_SERVICE_PORT || undefined,
    namespace: readNamespace(environment),
    podName: environment.POD_NAME || undefined,
  });
  const store = read("store");
  const source = sourceOf("drain-skip-selector", flags);
  const drain: DrainConfig = Object.freeze({
    timeoutMs: read("drain-timeout"),
    onTimeout: read("drain-on-timeout"),
    concurrency: read("drain-concurrency"),
    unmanaged: read("drain-unmanaged"),
    emptyDir: read("drain-empty-dir"),
    releaseWaitReady: read("release-wait-ready"),
  });
  const config: Config = Object.freeze({
    address: read("address"),
    basePath: read("base-path"),
    logLevel: read("log-level"),
    logFormat: read("log-format"),
    openTelemetry: boolean.parse(environment.OTEL_DENO ?? "") ?? false,
    store,
    kubernetes,
    maxGroups: read("max-groups"),
    kubeConcurrency: read("kube-concurrency"),
    replyWaitMs: read("reply-wait"),
    policyFile: read("config") || undefined,
    statusPage: read("status-page"),
    drainSkipSelectors: Object.freeze(readAll("drain-skip-selector").map((text) => ({ text, source }))),
    drain: read("drain") && store.kind === "kubernetes" ? drain : undefined,
  });
  if (store.kind === "kubernetes" && !kubernetes.kubeconfig && !kubernetes.serviceHost) {
    throw new ConfigError(
      "no Kubernetes cluster found: run in a pod, set KUBECONFIG to a kubeconfig file, " +
        "or store the locks elsewhere with --store sqlite:PATH",
    );
  }
  return config;
}

function readNamespace({ NAMESPACE: raw }: Environment): string | undefined {
  if (!raw) return undefined;
  const parsed = namespaceName.parse(raw);
  if (parsed !== undefined) return parsed;
  throw new ConfigError(`NAMESPACE must be ${namespaceName.expected}: it is ${JSON.stringify(raw)}`);
}

/** What the settings say about the things on which a configuration file depends. */
export interface FileSettings {
  /** Where the locks are stored. */
  readonly store: StoreChoice["kind"];
  /** The time limit of a drain, in milliseconds; undefined if nodes are not drained. */
  readonly drainTimeoutMs?: number;
  /** What to do when a drain times out; undefined if nodes are not drained. */
  readonly drainOnTimeout?: DrainConfig["onTimeout"];
}

/**
 * Checks only the settings on which a configuration file depends.
 *
 * @param flags The flags that were given, by name.
 * @throws {ConfigError} One of them is not valid.
 */
export function parseFileSettings(flags: SettingTexts, environment: Environment): FileSettings {
  const read = <Name extends SettingName>(name: Name) => readSetting(name, flags, environment)[0]!;
  const store = read("store").kind;
  if (store !== "kubernetes" || !read("drain")) return { store };
  return { store, drainTimeoutMs: read("drain-timeout"), drainOnTimeout: read("drain-on-timeout") };
}

/**
 * Finds, checks and parses the values of one setting.
 *
 * @returns One value, or more where the flag may be given several times and was.
 */
function readSetting<Name extends SettingName>(
  name: Name,
  flags: SettingTexts,
  environment: Environment,
): SettingValue<Name>[] {
  const setting: Setting = SETTINGS.find((each) => each.flag === name)!;
  const given = flags[name];
  const texts = given === undefined ? [environment[variableOf(name)] || setting.default] : [given].flat();
  if (texts.length > 1 && !setting.repeatable) {
    throw new ConfigError(`--${name} is given twice: give it once`);
  }
  return texts.map((raw) => {
    const parsed = setting.parser.parse(raw);
    if (parsed !== undefined) return parsed as SettingValue<Name>;
    throw new ConfigError(`${sourceOf(name, flags)} must be ${setting.parser.expected}: it is ${JSON.stringify(raw)}`);
  });
}

/** What an error about a setting names: the flag where it was given, and otherwise the variable. */
function sourceOf(name: SettingName, flags: SettingTexts): string {
  return flags[name] === undefined ? variableOf(name) : `--${name}`;
}
