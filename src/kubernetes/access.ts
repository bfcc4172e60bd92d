/**
 * Where the API server is and the credentials for it, from the files of a pod's
 * service account. It opens no connection. kubeconfig.ts reads kubeconfigs.
 *
 * @module
 */

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
  /** Headers of each call. */
  readonly headers: Readonly<Record<string, string>>;
  /** What a connection needs. It is the same object as long as open connections may be used. */
  readonly tls: ConnectionOptions;
}

/** What a connection to the API server needs. */
export interface ConnectionOptions {
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

/** Connections that share their certificates. */
export interface Connections {
  /** Works like the global `fetch`, with a string as body. */
  fetch(url: string, init: RequestInit): Promise<Response>;
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

/** A file that others replace from time to time, such as a token. */
export class RotatingFile {
  readonly #path: string;
  readonly #what: string;
  readonly #clock: Clock;
  readonly #check: (content: string) => void;
  #content = "";
  #readAt = -Infinity;

  /**
   * Names the file at `path`, which is read later. Errors say `what` it holds.
   *
   * @param check Throws where the content cannot be used.
   */
  constructor(path: string, what: string, clock: Clock = systemClock, check: (content: string) => void = () => {}) {
    this.#path = path;
    this.#what = what;
    this.#clock = clock;
    this.#check = check;
  }

  /**
   * Gets the content without white space around it. Reads the file again when
   * the content is at least a minute old.
   *
   * @param refused Whether to read the file again in any case.
   * @throws {ConfigError} The file cannot be read or is empty, or its content cannot be used.
   */
  async read(refused: boolean): Promise<string> {
    if (!refused && this.#clock.monotonic() - this.#readAt < AGE_MS) return this.#content;
    const content = (await readFile(this.#path, this.#what)).trim();
    if (content === "") {
      throw new ConfigError(`The ${this.#what} at ${this.#path} is empty: write it again`);
    }
    this.#check(content);
    this.#content = content;
    this.#readAt = this.#clock.monotonic();
    return content;
  }
}

/** Names a file that holds a token, which is read later. */
export function tokenFile(path: string, clock: Clock): RotatingFile {
  return new RotatingFile(path, "token", clock, (token) => checkHeaderValue(token, `token at ${path}`));
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
  const token = tokenFile(`${folder}/token`, clock);
  const ca = new RotatingFile(`${folder}/ca.crt`, "cluster's certificate", clock);
  const namespace = await Deno.readTextFile(`${folder}/namespace`).catch(() => "");
  let tls: ConnectionOptions = { ca: await ca.read(true) };
  await token.read(true);
  return {
    server: `https://${host.includes(":") && !host.startsWith("[") ? `[${host}]` : host}:${port}`,
    namespace: namespace.trim() || undefined,
    async credentials(refused) {
      const trusted = await ca.read(refused);
      if (trusted !== tls.ca) tls = { ca: trusted };
      return { headers: { authorization: `Bearer ${await token.read(refused)}` }, tls };
    },
  };
}

/**
 * Reads a file that the access needs.
 *
 * @param what What it holds, for the error message.
 * @throws {ConfigError} It cannot be read.
 */
export async function readFile(path: string, what: string): Promise<string> {
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
    throw new ConfigError(
      `Cannot read the ${what} at ${path}: ${why}; check the path, and in a pod that its service account is mounted`,
      { cause: error },
    );
  }
}
