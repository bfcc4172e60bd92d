/**
 * Reads a kubeconfig with the client library's own loader and runs its
 * authentication plugins. Imported only where a kubeconfig is used, since the
 * loader costs 30 MB of memory.
 *
 * @module
 */

import { KubeConfig } from "@kubernetes/client-node/dist/config.js";
import { load as loadYaml, YAMLException } from "js-yaml";
import type { RequestOptions } from "node:https";
import { dirname, resolve } from "node:path";
import { type Access, type ConnectionOptions, type Credentials, readFile, RotatingFile } from "./access.ts";
import { ConfigError } from "../config/config_error.ts";

/** What the loader leaves out of a kubeconfig. */
interface RawConfig {
  users?: { name?: string; user?: { tokenFile?: string } }[];
}

/**
 * The access that a kubeconfig's current context describes: client certificates,
 * tokens, token files, passwords, exec plugins, impersonation, proxies,
 * insecure-skip-tls-verify and tls-server-name.
 *
 * @param path The file; several are joined by `:` as in kubectl, and the first to name something wins.
 * @param reloadMs How long after reading the files a refusal makes us read them again, in milliseconds.
 * @param pluginTimeoutMs How long a call waits for an exec plugin, in milliseconds. The plugin is not ended: a later
 * call waits for the same run.
 * @throws {ConfigError} A file cannot be read or used.
 */
export async function kubeconfigAccess(path: string, reloadMs = 10_000, pluginTimeoutMs = 10_000): Promise<Access> {
  let user = await load(path);
  let loadedAt = performance.now();
  let tls: ConnectionOptions = {};
  let running: Promise<Credentials> | undefined;

  const get = async (refused: boolean): Promise<Credentials> => {
    // A refusal may mean that the files have changed, or that a plugin's result, which the loader keeps, is worn out.
    if (refused && performance.now() - loadedAt >= reloadMs) {
      user = await load(path);
      loadedAt = performance.now();
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
      let timer;
      const late = new Promise<never>((_, reject) => {
        const why = `did not end within ${pluginTimeoutMs / 1000} s: run it by hand to see what it waits for`;
        timer = setTimeout(() => reject(pluginError(path, plugin, why)), pluginTimeoutMs);
      });
      try {
        return await Promise.race([running, late]);
      } finally {
        clearTimeout(timer);
      }
    },
  };
}

interface User {
  readonly server: string;
  /** The command of the exec plugin that gives the credentials, if one does. */
  readonly plugin?: string;
  authenticate(refused: boolean): Promise<Credentials>;
}

async function load(path: string): Promise<User> {
  const config = new KubeConfig();
  const tokenFiles = new Map<string, string>();
  const paths = path.split(":").filter((each) => each !== "");
  for (const each of paths) {
    const text = await readFile(each, "kubeconfig");
    try {
      const raw = loadYaml(text) as RawConfig | null;
      if (typeof raw !== "object" || raw === null) throw new Error("it is no YAML object");
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
        // Neither its message nor the error itself: they quote the file, which holds secrets.
        const place = error.mark === undefined ? "" : ` in line ${error.mark.line + 1}`;
        throw new ConfigError(`The kubeconfig ${each} cannot be used: ${error.reason}${place}; ${check}`);
      }
      throw new ConfigError(`The kubeconfig ${each} cannot be used: ${messageOf(error)}; ${check}`, { cause: error });
    }
  }
  return prepare(config, path, tokenFiles);
}

function prepare(config: KubeConfig, path: string, tokenFiles: ReadonlyMap<string, string>): User {
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
  if (!URL.canParse(cluster.server)) {
    throw new ConfigError(`The kubeconfig ${path} names no valid server URL: it is "${cluster.server}"`);
  }
  const { proxyUrl: proxy, skipTLSVerify: insecure = false, tlsServerName: serverName } = cluster;
  if (proxy && !/^(https?|socks5h?):\/\//.test(proxy)) {
    throw new ConfigError(
      `The kubeconfig ${path} names the proxy "${proxy}": only http, https and socks5 proxies are supported`,
    );
  }
  if (proxy && (insecure || serverName)) {
    throw new ConfigError(
      `The kubeconfig ${path} has a proxy-url together with insecure-skip-tls-verify or tls-server-name, ` +
        "which is not supported: give the cluster a certificate-authority and a server name that it has",
    );
  }
  // The loader would make an agent of its own for a proxy, and refuse plain http (kubectl proxy).
  config.clusters = [{ ...cluster, proxyUrl: undefined, skipTLSVerify: true }];
  const tokenFile = tokenFiles.has(user.name) ? new RotatingFile(tokenFiles.get(user.name)!, "token") : undefined;

  return {
    server: cluster.server,
    plugin: user.exec?.command,
    async authenticate(refused) {
      const options: RequestOptions = {};
      try {
        await config.applyToHTTPSOptions(options);
      } catch (error) {
        throw authenticationError(path, user.exec?.command, error);
      }
      const headers: Record<string, string> = {};
      for (const [header, value] of Object.entries(options.headers ?? {})) headers[header.toLowerCase()] = `${value}`;
      if (options.auth) headers.authorization = `Basic ${btoa(options.auth)}`;
      if (tokenFile !== undefined) headers.authorization = `Bearer ${await tokenFile.read(refused)}`;
      return {
        headers,
        tls: {
          ca: pem(options.ca),
          cert: pem(options.cert),
          key: pem(options.key),
          proxy: proxy || undefined,
          insecure,
          serverName,
        },
      };
    },
  };
}

function authenticationError(path: string, command: string | undefined, error: unknown): ConfigError {
  if (command === undefined) {
    return new ConfigError(`The kubeconfig ${path} cannot be used: ${messageOf(error)}`, { cause: error });
  }
  // Its message would quote what the command printed, which may be the credentials.
  if (error instanceof SyntaxError) return pluginError(path, command, "printed no JSON: run it by hand to see it");
  const why = error instanceof Deno.errors.NotCapable || (error as { code?: string }).code === "EPERM"
    ? `Deno was started without the permission to run it (--allow-run=${command})`
    : messageOf(error).trim() || "it gave no reason";
  return pluginError(path, command, `failed: ${why}`, error);
}

function pluginError(path: string, command: string, what: string, cause?: unknown): ConfigError {
  return new ConfigError(`The kubeconfig ${path} gets its credentials from the command "${command}", which ${what}`, {
    cause,
  });
}

function pem(value: unknown): string | undefined {
  if (value === undefined || value === null) return undefined;
  return typeof value === "string" ? value : new TextDecoder().decode(value as Uint8Array);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
