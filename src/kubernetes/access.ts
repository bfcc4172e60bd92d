/**
 * Where the API server is and what proves who we are, from the files that a pod
 * has. It opens no connection; a kubeconfig is read by kubeconfig.ts.
 *
 * @module
 */

import { ConfigError } from "../config/config_error.ts";

/** How to reach a cluster. */
export interface Access {
  /** The API server's base URL without a slash at its end, such as `https://10.0.0.1:443`. */
  readonly server: string;
  /** The namespace that the configuration names, if any. */
  readonly namespace?: string;
  /**
   * What proves who we are, for one call.
   *
   * @param refused Whether the server has just refused what this gave before, so that it is to be had anew.
   * @throws {ConfigError} It cannot be had.
   */
  credentials(refused: boolean): Promise<Credentials>;
}

/** What proves who we are. */
export interface Credentials {
  /** Headers of each call. */
  readonly headers: Readonly<Record<string, string>>;
  /** What a connection needs. The same object as long as connections may be used again. */
  readonly tls: ConnectionOptions;
}

/** What a connection to the API server needs. */
export interface ConnectionOptions {
  /** Certificates to trust, PEM. */
  readonly ca?: string;
  /** The client's certificate, PEM. */
  readonly cert?: string;
  /** The key of `cert`, PEM. */
  readonly key?: string;
  /** URL of a proxy: http, https or socks5. */
  readonly proxy?: string;
  /** Whether the server's certificate goes unchecked. */
  readonly insecure?: boolean;
  /** The name to ask the server's certificate for, where it is not the host. */
  readonly serverName?: string;
}

/** Where the kubelet puts the files of a pod's service account. */
export const SERVICE_ACCOUNT_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount";

/**
 * How long a file's content is used before it is read again, in milliseconds.
 * The kubelet renews a token long before it expires.
 */
const AGE_MS = 60_000;

/** A file that is replaced from time to time, such as a token's. */
export class RotatingFile {
  readonly #path: string;
  readonly #what: string;
  #content = "";
  #readAt = -Infinity;
  readonly #ageMs: number;

  /** Makes one for the file at `path`, which is read later; `what` it holds stands in errors. */
  constructor(path: string, what: string, ageMs = AGE_MS) {
    this.#path = path;
    this.#what = what;
    this.#ageMs = ageMs;
  }

  /**
   * The content without blanks around it, read again when it is older than `ageMs`, a minute as a rule.
   *
   * @param refused Whether to read it again in any case.
   * @throws {ConfigError} The file cannot be read or is empty.
   */
  async read(refused: boolean): Promise<string> {
    if (!refused && performance.now() - this.#readAt < this.#ageMs) return this.#content;
    const content = (await readFile(this.#path, this.#what)).trim();
    if (content === "") {
      throw new ConfigError(`The ${this.#what} at ${this.#path} is empty: put it there again`);
    }
    this.#content = content;
    this.#readAt = performance.now();
    return content;
  }
}

/**
 * The access of a pod, by its service account.
 *
 * @param host The API server's host: a name, or an IPv4 or IPv6 address.
 * @param folder Where `token`, `ca.crt` and `namespace` are.
 * @throws {ConfigError} A file is missing.
 */
export async function podAccess(host: string, port = "443", folder: string = SERVICE_ACCOUNT_FOLDER): Promise<Access> {
  const token = new RotatingFile(`${folder}/token`, "token");
  const ca = new RotatingFile(`${folder}/ca.crt`, "cluster's certificate");
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
 * Reads a file of the access.
 *
 * @param what What it holds, for the error's sentence.
 * @throws {ConfigError} It cannot be read.
 */
export async function readFile(path: string, what: string): Promise<string> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    const why = error instanceof Deno.errors.NotFound
      ? "there is no such file"
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
