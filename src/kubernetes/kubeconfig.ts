/**
 * Makes the access to a cluster from a kubeconfig: runs its authentication plugins
 * with the client library. kubeconfig_files.ts reads the files. Import it only
 * where a kubeconfig is used, since the library's part costs 30 MB of memory.
 *
 * @module
 */

import { KubeConfig } from "@kubernetes/client-node/dist/config.js";
import type { User as LibraryUser } from "@kubernetes/client-node/dist/config_types.js";
import type { RequestOptions } from "node:https";
import { ConfigError } from "../config/config_error.ts";
import { type Clock, systemClock } from "../lock/clock.ts";
import { type Access, type ConnectionOptions, type Credentials, type RotatingFile, tokenFile } from "./access.ts";
import { basicAuthorization, checkHeaderValue, checkText, parseServerUrl, splitProxyUrl } from "./credential_check.ts";
import { oneLine } from "./errors.ts";
import { impersonationHeaders } from "./impersonation.ts";
import { type KubeconfigEntry, readKubeconfig } from "./kubeconfig_files.ts";
import { abortable } from "../lock/abort.ts";

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
 * @param path See {@link readKubeconfig}.
 * @throws {ConfigError} A file cannot be read or used.
 */
export async function kubeconfigAccess(path: string, options: KubeconfigOptions = {}): Promise<Access> {
  const { reloadMs = 10_000, pluginTimeoutMs = 10_000, clock = systemClock } = options;
  const tokenFiles = new TokenFiles(clock);
  let user = await load(path, tokenFiles);
  let loadedAt = clock.monotonic();
  let tls: ConnectionOptions | undefined;
  let running: Promise<Credentials> | undefined;

  const get = async (refused: boolean): Promise<Credentials> => {
    // The files may have changed, or a plugin's result, which the loader keeps, may have expired.
    if (refused && clock.monotonic() - loadedAt >= reloadMs) {
      user = await load(path, tokenFiles);
      loadedAt = clock.monotonic();
    }
    const { headers, tls: fresh } = await user.authenticate(refused);
    if (tls === undefined || JSON.stringify(fresh) !== JSON.stringify(tls)) tls = fresh;
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
        late.abort(pluginError(plugin, why));
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
  /** The exec plugin that provides the credentials, if there is one. */
  readonly plugin: Plugin | undefined;
  authenticate(refused: boolean): Promise<Credentials>;
}

/** An exec plugin: its command, the user that names it, and the field of the user. */
interface Plugin {
  readonly command: string;
  readonly where: string;
  readonly exec: Readonly<Record<string, unknown>>;
}

/** The token files in use. A kubeconfig that is read again keeps their last good content. */
class TokenFiles {
  readonly #clock: Clock;
  readonly #files = new Map<string, RotatingFile>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** @param initial The token to use until the file can be read. */
  get(path: string, initial: string | undefined): RotatingFile {
    let file = this.#files.get(path);
    if (file === undefined) {
      file = tokenFile(path, { clock: this.#clock, advice: "correct the kubeconfig's tokenFile", initial });
      this.#files.set(path, file);
    }
    return file;
  }
}

/** What is known of a user before its credentials are made. */
interface UserParts {
  readonly config: KubeConfig;
  readonly entry: KubeconfigEntry;
  readonly plugin: Plugin | undefined;
  readonly tokenFile: RotatingFile | undefined;
  /** Headers that do not change. */
  readonly headers: Credentials["headers"];
  /** What a connection needs besides certificates. */
  readonly connection: ConnectionOptions;
}

async function load(path: string, tokenFiles: TokenFiles): Promise<User> {
  const { cluster, user: entry } = await readKubeconfig(path);
  const url = cluster.text("server");
  if (url === undefined) throw new ConfigError(`There is no server in ${cluster.where}: write it as https://HOST:PORT`);
  const server = parseServerUrl(url, cluster.where);
  const plugin = findPlugin(entry);
  const token = entry.text("token");
  if (token !== undefined) checkHeaderValue(token, `token of ${entry.where}`);
  const tokenPath = entry.path("tokenFile");
  const parts: UserParts = {
    config: makeConfig(server, cluster, entry, plugin),
    entry,
    plugin,
    tokenFile: tokenPath === undefined ? undefined : tokenFiles.get(tokenPath, token),
    headers: { ...passwordHeaders(entry), ...impersonationHeaders(entry) },
    connection: connectionOptions(cluster),
  };
  return { server, plugin, authenticate: (refused) => authenticate(parts, refused) };
}

/** Makes what the client library needs to run the authentication plugins and read the certificates. */
function makeConfig(
  server: string,
  cluster: KubeconfigEntry,
  user: KubeconfigEntry,
  plugin: Plugin | undefined,
): KubeConfig {
  const certificate = dataOrFile(user, "client-certificate");
  const key = dataOrFile(user, "client-key");
  if ((certificate.data ?? certificate.file) !== undefined && (key.data ?? key.file) === undefined) {
    throw new ConfigError(`There is a client-certificate in ${user.where}, but not its client-key: add that`);
  }
  const ca = dataOrFile(cluster, "certificate-authority");
  const libraryUser: LibraryUser = {
    name: "user",
    token: user.text("token"),
    authProvider: user.object("auth-provider"),
    exec: plugin?.exec,
    certData: certificate.data,
    certFile: certificate.file,
    keyData: key.data,
    keyFile: key.file,
  };
  const config = new KubeConfig();
  config.loadFromOptions({
    // With another value, the library would refuse plain http, as of kubectl proxy. It does not connect itself.
    clusters: [{ name: "cluster", server, caData: ca.data, caFile: ca.file, skipTLSVerify: true }],
    users: [libraryUser],
    contexts: [{ name: "context", cluster: "cluster", user: "user" }],
    currentContext: "context",
  });
  return config;
}

/** Gets a certificate or key. As in kubectl, one in the kubeconfig itself takes precedence over a file. */
function dataOrFile(entry: KubeconfigEntry, field: string): { readonly data?: string; readonly file?: string } {
  const data = entry.text(`${field}-data`);
  return data === undefined ? { file: entry.path(field) } : { data };
}

/** Finds the exec plugin of a user. */
function findPlugin(user: KubeconfigEntry): Plugin | undefined {
  const exec = user.object("exec");
  if (exec === undefined) return undefined;
  const { command } = exec;
  if (typeof command !== "string" || command === "") {
    throw new ConfigError(`The exec plugin of ${user.where} has no command: name its program`);
  }
  const resolved = user.resolveCommand(command);
  // Some plugins refuse to run without what kubectl tells them in this variable.
  const info = { kind: "ExecCredential", apiVersion: exec.apiVersion, spec: { interactive: false } };
  const env = [exec.env ?? [], { name: "KUBERNETES_EXEC_INFO", value: JSON.stringify(info) }].flat();
  return { command: resolved, where: user.where, exec: { ...exec, command: resolved, env } };
}

/** Makes the header of a user name and password, if there are any. */
function passwordHeaders(user: KubeconfigEntry): Credentials["headers"] {
  const username = user.text("username");
  if (username === undefined) return {};
  if (user.text("token") !== undefined) {
    throw new ConfigError(`There is both a token and a username in ${user.where}: remove one`);
  }
  const password = user.text("password") ?? "";
  for (const text of [username, password]) checkText(text, `user name or password of ${user.where}`);
  return { authorization: basicAuthorization(username, password) };
}

/**
 * Gets what a connection to a cluster needs besides certificates.
 *
 * @throws {ConfigError} An option is wrong or not supported.
 */
function connectionOptions(cluster: KubeconfigEntry): ConnectionOptions {
  const proxyUrl = cluster.text("proxy-url");
  const insecure = cluster.flag("insecure-skip-tls-verify");
  const serverName = cluster.text("tls-server-name");
  if (proxyUrl !== undefined && (insecure || serverName !== undefined)) {
    throw new ConfigError(
      `There is a proxy-url together with insecure-skip-tls-verify or tls-server-name in ${cluster.where}, ` +
        "which is not supported: set the cluster's certificate-authority, and a server name that its certificate has",
    );
  }
  const proxy = proxyUrl === undefined ? undefined : splitProxyUrl(proxyUrl, cluster.where);
  return { source: cluster.where, proxy: proxy?.url, proxyCredentials: proxy?.credentials, insecure, serverName };
}

/** Makes the credentials of one call. */
async function authenticate(parts: UserParts, refused: boolean): Promise<Credentials> {
  const { config, entry, plugin, tokenFile, connection } = parts;
  const options: RequestOptions = {};
  try {
    await config.applyToHTTPSOptions(options);
  } catch (error) {
    throw authenticationError(entry, plugin, error);
  }
  const headers: Record<string, string | readonly string[]> = {};
  for (const [header, value] of Object.entries(options.headers ?? {})) {
    const name = header.toLowerCase();
    checkHeaderValue(`${value}`, `${name === "authorization" ? "token" : `header ${name}`} of ${entry.where}`);
    headers[name] = `${value}`;
  }
  Object.assign(headers, parts.headers);
  if (tokenFile !== undefined) headers.authorization = `Bearer ${await tokenFile.read(refused)}`;
  const { ca, cert, key } = options;
  return { headers, tls: { ca: pem(ca), cert: pem(cert), key: pem(key), ...connection } };
}

function authenticationError(user: KubeconfigEntry, plugin: Plugin | undefined, error: unknown): ConfigError {
  const isOfSystem = typeof (error as { code?: unknown } | null)?.code === "string";
  if (plugin === undefined) {
    // The message of another error may quote the credentials.
    if (!isOfSystem) return new ConfigError(`No credentials can be made for ${user.where}: check its auth-provider`);
    return new ConfigError(
      `A certificate or key for ${user.where} cannot be read: ${messageOf(error)}; correct its path in the kubeconfig`,
    );
  }
  // Where it is missing, an executable of Deno makes a process without streams, at which the library fails.
  if (Deno.permissions.querySync({ name: "run", command: plugin.command }).state !== "granted") {
    const flag = `--allow-run=${plugin.command}`;
    return pluginError(
      plugin,
      `failed: Deno was started without the permission to run it (${flag}), which the executable and the image never ` +
        "have: run fleetlock from source",
    );
  }
  // Its message would quote what the command printed, which may be the credentials.
  if (error instanceof SyntaxError) return pluginError(plugin, "did not print JSON: run it by hand to see");
  if (error instanceof TypeError) {
    return pluginError(plugin, "did not print an ExecCredential with a status: run it by hand to see");
  }
  return pluginError(plugin, `failed: ${oneLine(messageOf(error)) || "it did not say why"}`);
}

function pluginError({ command, where }: Plugin, what: string): ConfigError {
  const user = `${where.charAt(0).toUpperCase()}${where.slice(1)}`;
  return new ConfigError(`${user} gets its credentials from the command "${command}", which ${what}`);
}

function pem(value: unknown): string | undefined {
  if (value === undefined || value === null) return undefined;
  return typeof value === "string" ? value : new TextDecoder().decode(value as Uint8Array);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
