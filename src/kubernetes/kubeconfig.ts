/**
 * Reads a kubeconfig with the client library's own loader and runs its
 * authentication plugins. Import it only where a kubeconfig is used, since the
 * loader costs 30 MB of memory.
 *
 * @module
 */

import { KubeConfig } from "@kubernetes/client-node/dist/config.js";
import type { Cluster, User as KubeconfigUser } from "@kubernetes/client-node/dist/config_types.js";
import { load as loadYaml, YAMLException } from "js-yaml";
import type { RequestOptions } from "node:https";
import { dirname, resolve } from "node:path";
import { ConfigError } from "../config/config_error.ts";
import { type Clock, systemClock } from "../lock/clock.ts";
import {
  type Access,
  type ConnectionOptions,
  type Credentials,
  readFile,
  type RotatingFile,
  tokenFile as openTokenFile,
} from "./access.ts";
import {
  basicAuthorization,
  checkHeaderValue,
  checkPassword,
  checkServerUrl,
  splitProxyUrl,
} from "./credential_check.ts";
import { oneLine } from "./errors.ts";
import { abortable } from "../lock/abort.ts";

/** The part of a kubeconfig that the loader ignores. */
interface RawConfig {
  users?: { name?: string; user?: { tokenFile?: string } }[];
}

/** Options of {@link kubeconfigAccess}. */
export interface KubeconfigOptions {
  /** After a refusal, read the files again if that was this long ago, in milliseconds. @default {10_000} */
  readonly reloadMs?: number;
  /**
   * How long a call waits for an exec plugin, in milliseconds. The plugin goes on
   * after that, and a later call waits for the same run.
   * @default {10_000}
   */
  readonly pluginTimeoutMs?: number;
  /** Measures the two above and the age of token files. @default {systemClock} */
  readonly clock?: Clock;
}

/**
 * Gets the access that a kubeconfig's current context describes. Supports client
 * certificates, tokens, token files, passwords, exec plugins, impersonation,
 * proxies, insecure-skip-tls-verify and tls-server-name.
 *
 * @param path The file, or several joined by `:`. As in kubectl, the first to name something wins.
 * @throws {ConfigError} A file cannot be read or used.
 */
export async function kubeconfigAccess(path: string, options: KubeconfigOptions = {}): Promise<Access> {
  const { reloadMs = 10_000, pluginTimeoutMs = 10_000, clock = systemClock } = options;
  let user = await load(path, clock);
  let loadedAt = clock.monotonic();
  let tls: ConnectionOptions = {};
  let running: Promise<Credentials> | undefined;

  const get = async (refused: boolean): Promise<Credentials> => {
    // The files may have changed, or a plugin's result, which the loader keeps, may have expired.
    if (refused && clock.monotonic() - loadedAt >= reloadMs) {
      user = await load(path, clock);
      loadedAt = clock.monotonic();
    }
    const { headers, tls: fresh } = await user.authenticate(refused);
    if (JSON.stringify(fresh) !== JSON.stringify(tls)) tls = fresh;
    return { headers, tls };
  };

  return {
    server: user.server,
    async credentials(refused) {
      running ??= get(refused).finally(() => running = undefined);
      const { plugin } = user;
      if (plugin === undefined) return await running;
      const late = new AbortController();
      const timer = new AbortController();
      clock.sleep(pluginTimeoutMs, timer.signal).then(() => {
        const why = `did not end within ${pluginTimeoutMs / 1000} s: run it by hand to see what it waits for`;
        late.abort(pluginError(path, plugin, why));
      }, () => {});
      try {
        return await abortable(running, late.signal);
      } finally {
        timer.abort();
      }
    },
  };
}

/** The user of a kubeconfig's current context, and the server of its cluster. */
interface User {
  readonly server: string;
  /** The command of the exec plugin that provides the credentials, if there is one. */
  readonly plugin?: string;
  authenticate(refused: boolean): Promise<Credentials>;
}

async function load(path: string, clock: Clock): Promise<User> {
  const config = new KubeConfig();
  const tokenFiles = new Map<string, string>();
  const paths = path.split(":").filter((each) => each !== "");
  for (const each of paths) {
    const text = await readFile(each, "kubeconfig");
    try {
      const raw = loadYaml(text) as RawConfig | null;
      if (typeof raw !== "object" || raw === null) throw new Error("it is not a YAML object");
      const part = new KubeConfig();
      part.loadFromString(text);
      part.makePathsAbsolute(dirname(resolve(each)));
      if (config.getCurrentContext() === undefined) config.setCurrentContext(part.getCurrentContext());
      config.mergeConfig(part, true);
      for (const { name, user } of raw.users ?? []) {
        if (name && user?.tokenFile) tokenFiles.set(name, resolve(dirname(each), user.tokenFile));
      }
    } catch (error) {
      const check = 'check it with "kubectl config view"';
      if (error instanceof YAMLException) {
        // Its message, and the error as a cause, would quote the file, which holds secrets.
        const place = error.mark === undefined ? "" : ` in line ${error.mark.line + 1}`;
        throw new ConfigError(`The kubeconfig ${each} cannot be used: ${error.reason}${place}; ${check}`);
      }
      throw new ConfigError(`The kubeconfig ${each} cannot be used: ${messageOf(error)}; ${check}`, { cause: error });
    }
  }
  const { cluster, user } = currentContext(config, path);
  // The loader would make its own agent for a proxy, and refuse plain http (kubectl proxy).
  config.clusters = [{ ...cluster, proxyUrl: undefined, skipTLSVerify: true }];
  const tokenPath = tokenFiles.get(user.name);
  const tokenFile = tokenPath === undefined ? undefined : openTokenFile(tokenPath, clock);
  return makeUser(config, path, { cluster, user, tokenFile });
}

/**
 * Finds the cluster and the user of the current context.
 *
 * @throws {ConfigError} One is missing, or has an option that is not supported.
 */
function currentContext(config: KubeConfig, path: string): { cluster: Cluster; user: KubeconfigUser } {
  const name = config.getCurrentContext();
  if (!name) {
    throw new ConfigError(
      `The kubeconfig ${path} has no current context: choose one with "kubectl config use-context NAME"`,
    );
  }
  const context = config.getContextObject(name);
  const cluster = context && config.getCluster(context.cluster);
  const user = context && config.getUser(context.user);
  if (!context || !cluster || !user) {
    const missing = !context ? "context" : !cluster ? `cluster "${context.cluster}"` : `user "${context.user}"`;
    throw new ConfigError(
      `The kubeconfig ${path} does not have the ${missing} of its current context "${name}": ` +
        `choose another with "kubectl config use-context NAME"`,
    );
  }
  checkServerUrl(cluster.server, clusterIn(path, cluster));
  const { proxyUrl: proxy, skipTLSVerify: insecure = false, tlsServerName: serverName } = cluster;
  if (proxy && (insecure || serverName)) {
    throw new ConfigError(
      `The kubeconfig ${path} has a proxy-url together with insecure-skip-tls-verify or tls-server-name, ` +
        "which is not supported: set the cluster's certificate-authority, and a server name that its certificate has",
    );
  }
  return { cluster, user };
}

/** Names a cluster in errors. */
function clusterIn(path: string, cluster: Cluster): string {
  return `the cluster "${cluster.name}" of the kubeconfig ${path}`;
}

function makeUser(
  config: KubeConfig,
  path: string,
  { cluster, user, tokenFile }: { cluster: Cluster; user: KubeconfigUser; tokenFile?: RotatingFile },
): User {
  const { proxyUrl, skipTLSVerify: insecure = false, tlsServerName: serverName } = cluster;
  const proxy = proxyUrl ? splitProxyUrl(proxyUrl, clusterIn(path, cluster)) : undefined;
  const of = `of the user "${user.name}" of the kubeconfig ${path}`;
  return {
    server: cluster.server,
    plugin: user.exec?.command,
    async authenticate(refused) {
      const options: RequestOptions = {};
      try {
        await config.applyToHTTPSOptions(options);
      } catch (error) {
        throw authenticationError(path, user, error);
      }
      const headers: Record<string, string> = {};
      for (const [header, value] of Object.entries(options.headers ?? {})) {
        const name = header.toLowerCase();
        checkHeaderValue(`${value}`, `${name === "authorization" ? "token" : `header ${name}`} ${of}`);
        headers[name] = `${value}`;
      }
      if (user.username) {
        for (const text of [user.username, user.password ?? ""]) checkPassword(text, `user name or password ${of}`);
        headers.authorization = basicAuthorization(user.username, user.password ?? "");
      }
      if (tokenFile !== undefined) headers.authorization = `Bearer ${await tokenFile.read(refused)}`;
      return {
        headers,
        tls: {
          ca: pem(options.ca),
          cert: pem(options.cert),
          key: pem(options.key),
          proxy: proxy?.url,
          proxyCredentials: proxy?.credentials,
          insecure,
          serverName,
        },
      };
    },
  };
}

function authenticationError(path: string, user: KubeconfigUser, error: unknown): ConfigError {
  const command = user.exec?.command;
  const isOfSystem = typeof (error as { code?: unknown } | null)?.code === "string";
  if (command === undefined) {
    // The message of another error may quote the credentials.
    const why = isOfSystem ? messageOf(error) : `no credentials can be made for its user "${user.name}"`;
    return new ConfigError(`The kubeconfig ${path} cannot be used: ${why}`);
  }
  // Its message would quote what the command printed, which may be the credentials.
  if (error instanceof SyntaxError) return pluginError(path, command, "did not print JSON: run it by hand to see");
  if (error instanceof TypeError) {
    return pluginError(path, command, "did not print an ExecCredential with a status: run it by hand to see");
  }
  const why = error instanceof Deno.errors.NotCapable || (error as { code?: string }).code === "EPERM"
    ? `Deno was started without the permission to run it (--allow-run=${command})`
    : oneLine(messageOf(error)) || "it did not say why";
  return pluginError(path, command, `failed: ${why}`);
}

function pluginError(path: string, command: string, what: string): ConfigError {
  return new ConfigError(`The kubeconfig ${path} gets its credentials from the command "${command}", which ${what}`);
}

function pem(value: unknown): string | undefined {
  if (value === undefined || value === null) return undefined;
  return typeof value === "string" ? value : new TextDecoder().decode(value as Uint8Array);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
