/**
 * Where the API server is and the credentials for it, from the files of a pod's
 * service account. It opens no connection. kubeconfig.ts reads kubeconfigs.
 *
 * @module
 */

import { getLogger, type Logger } from "@logtape/logtape";
import { ConfigError } from "../config/config_error.ts";
import { type Clock, systemClock } from "../lock/clock.ts";
import { checkHeaderValue, type ProxyCredentials } from "./credential_check.ts";

/** How to reach a cluster. */
export interface Access {
  /** The API server's base URL without a trailing slash, such as `https://10.0.0.1:443`. */
  readonly server: string;
  /** The namespace that the configuration names, if any. */
  readonly namespace?: string;
  /**
   * Gets the credentials for one call.
   *
   * @param refused Whether the server has just refused the last ones, so that they must be read again.
   * @throws {ConfigError} The credentials cannot be read.
   */
  credentials(refused: boolean): Promise<Credentials>;
}

/** Credentials for calls to the API server. */
export interface Credentials {
  /** Headers of each call, by lower-case name. A list is sent as one header line a value. */
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  /** What a connection needs. It is the same object as long as open connections may be used. */
  readonly tls: ConnectionOptions;
}

/** What a connection to the API server needs. */
export interface ConnectionOptions {
  /** Where they come from, such as `the cluster "a" of the kubeconfig b`, for errors. */
  readonly source: string;
  /** The authorities to trust, PEM. */
  readonly ca?: string;
  /** The client's certificate, PEM. */
  readonly cert?: string;
  /** The key of `cert`, PEM. */
  readonly key?: string;
  /** The URL of a proxy, http, https or socks5, without a user name and password. */
  readonly proxy?: string;
  /** The user name and password for the proxy, if it needs them. */
  readonly proxyCredentials?: ProxyCredentials;
  /** Whether to skip the check of the server's certificate. */
  readonly insecure?: boolean;
  /** The name that the server's certificate must have, where it is not the host. */
  readonly serverName?: string;
}

/** A request's headers as pairs, so that a name may come more than once, and other options of `fetch`. */
export type ConnectionRequest = Omit<RequestInit, "headers"> & { readonly headers: [string, string][] };

/** Connections that share their certificates. */
export interface Connections {
  /** Works like the global `fetch`, with a string as body. */
  fetch(url: string, init: ConnectionRequest): Promise<Response>;
  /** Closes all connections. */
  close(): void;
}

/** Where the kubelet mounts the files of a pod's service account. */
export const SERVICE_ACCOUNT_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount";

/**
 * How long to use a file's content before it is read again, in milliseconds.
 * The kubelet renews a token long before it expires.
 */
const AGE_MS = 60_000;

/** Options of {@link RotatingFile}. */
export interface RotatingFileOptions {
  /** What to do if the file cannot be read, for errors, such as "check the path". */
  readonly advice: string;
  /** Throws a ConfigError if the content cannot be used. */
  readonly check?: (content: string) => void;
  /** The content to use until the file can be read. */
  readonly initial?: string;
  /** Tells when the content is old. @default {systemClock} */
  readonly clock?: Clock;
  /** Is told when the file cannot be read any more, and when it can be read again. */
  readonly log?: Pick<Logger, "info" | "warning">;
}

/**
 * A file that others replace from time to time, such as a token. While the file is
 * missing, empty or not usable, its last good content stays in use, which is valid
 * for longer than most replacements take.
 */
export class RotatingFile {
  readonly #path: string;
  readonly #what: string;
  readonly #advice: string;
  readonly #check: (content: string) => void;
  readonly #clock: Clock;
  readonly #log: Pick<Logger, "info" | "warning">;
  #content: string | undefined;
  #readAt = -Infinity;
  #hasFailed = false;

  /** Names the file at `path`, which is read later. Errors and the log say `what` it holds. */
  constructor(path: string, what: string, options: RotatingFileOptions) {
    this.#path = path;
    this.#what = what;
    this.#advice = options.advice;
    this.#check = options.check ?? (() => {});
    this.#content = options.initial;
    this.#clock = options.clock ?? systemClock;
    this.#log = options.log ?? getLogger("fleetlock");
  }

  /**
   * Gets the content without white space around it. Reads the file again when the
   * content is at least a minute old, or when the last read failed. Where that
   * fails, logs one warning and returns the last good content.
   *
   * @param refused Whether to read the file again in any case.
   * @throws {ConfigError} The file cannot be read, is empty, or cannot be used, and never could.
   */
  async read(refused: boolean): Promise<string> {
    const isFresh = this.#clock.monotonic() - this.#readAt < AGE_MS;
    if (this.#content !== undefined && isFresh && !refused && !this.#hasFailed) return this.#content;
    try {
      this.#content = await this.#load();
    } catch (error) {
      if (this.#content === undefined || !(error instanceof ConfigError)) throw error;
      if (!this.#hasFailed) {
        this.#log.warning("the file of a credential cannot be used: its last content stays in use", {
          file: this.#path,
          error,
        });
      }
      this.#hasFailed = true;
      return this.#content;
    }
    if (this.#hasFailed) this.#log.info("the file of a credential can be used again", { file: this.#path });
    this.#hasFailed = false;
    this.#readAt = this.#clock.monotonic();
    return this.#content;
  }

  async #load(): Promise<string> {
    const content = (await readFile(this.#path, this.#what, this.#advice)).trim();
    if (content === "") throw new ConfigError(`The ${this.#what} at ${this.#path} is empty: write it again`);
    this.#check(content);
    return content;
  }
}

/**
 * Names a file that holds a token, which is read later.
 *
 * @param options See {@link RotatingFileOptions}.
 */
export function tokenFile(path: string, options: Omit<RotatingFileOptions, "check">): RotatingFile {
  return new RotatingFile(path, "token", {
    ...options,
    check: (token) => checkHeaderValue(token, `token at ${path}`),
  });
}

/**
 * Gets the access of a pod from its service account.
 *
 * @param host The API server's host: a name, or an IPv4 or IPv6 address.
 * @param folder The folder with `token`, `ca.crt` and `namespace`.
 * @param clock Tells when to read the files again.
 * @throws {ConfigError} A file is missing, or the token cannot be used.
 */
export async function podAccess(
  host: string,
  port = "443",
  folder: string = SERVICE_ACCOUNT_FOLDER,
  clock: Clock = systemClock,
): Promise<Access> {
  const options = { clock, advice: "check that the pod's service account is mounted" };
  const token = tokenFile(`${folder}/token`, options);
  const ca = new RotatingFile(`${folder}/ca.crt`, "cluster's certificate", options);
  const namespace = await Deno.readTextFile(`${folder}/namespace`).catch(() => "");
  const source = `the service account at ${folder}`;
  let tls: ConnectionOptions = { source, ca: await ca.read(true) };
  await token.read(true);
  return {
    server: `https://${host.includes(":") && !host.startsWith("[") ? `[${host}]` : host}:${port}`,
    namespace: namespace.trim() || undefined,
    async credentials(refused) {
      const trusted = await ca.read(refused);
      if (trusted !== tls.ca) tls = { source, ca: trusted };
      return { headers: { authorization: `Bearer ${await token.read(refused)}` }, tls };
    },
  };
}

/**
 * Reads a file that the access needs.
 *
 * @param what What it holds, for the error message.
 * @param advice What to do if it cannot be read, for the error message.
 * @throws {ConfigError} It cannot be read. Its cause is the system's error.
 */
export async function readFile(path: string, what: string, advice: string): Promise<string> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    const why = error instanceof Deno.errors.NotFound
      ? "the file does not exist"
      : error instanceof Deno.errors.NotCapable
      ? "Deno was started without the permission to read it"
      : error instanceof Error
      ? error.message
      : String(error);
    throw new ConfigError(`Cannot read the ${what} at ${path}: ${why}; ${advice}`, { cause: error });
  }
}
