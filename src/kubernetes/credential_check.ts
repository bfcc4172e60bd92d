/**
 * Checks secrets when they are read, so that none reaches an error or the log
 * later: the runtime's own errors quote a header that it cannot send, and the URL
 * of a failed call. No error of this module repeats what it checks.
 *
 * @module
 */

import { ConfigError } from "../config/config_error.ts";

/** A user name and password for a proxy. */
export interface ProxyCredentials {
  /** The user name. */
  readonly username: string;
  /** The password; may be empty. */
  readonly password: string;
}

/**
 * Checks the value of a header, such as a token.
 *
 * @param what What it is and where it comes from, such as `token of the user "a" in the kubeconfig b`, for the error.
 * @throws {ConfigError} A character of it is not printable ASCII.
 */
export function checkHeaderValue(value: string, what: string): void {
  if (/^[\x20-\x7e]*$/.test(value)) return;
  throw new ConfigError(
    `The ${what} has a line break, a control character or a character outside ASCII, which a header cannot hold: ` +
      "write it again",
  );
}

/**
 * Checks a text that is sent encoded, such as a password.
 *
 * @param what See {@link checkHeaderValue}.
 * @throws {ConfigError} It has a control character.
 */
export function checkText(value: string, what: string): void {
  if (!/\p{Cc}/u.test(value)) return;
  throw new ConfigError(`The ${what} has a line break or another control character: write it again`);
}

/** Encodes a user name and password for the header `authorization`, as UTF-8. */
export function basicAuthorization(username: string, password: string): string {
  return `Basic ${new TextEncoder().encode(`${username}:${password}`).toBase64()}`;
}

/**
 * Encodes a text as the UTF-8 bytes that a header sends for it, one character a byte.
 *
 * @param what See {@link checkHeaderValue}.
 * @throws {ConfigError} It has a control character.
 */
export function encodeHeaderText(value: string, what: string): string {
  checkText(value, what);
  return String.fromCharCode(...new TextEncoder().encode(value));
}

/**
 * Checks the URL of an API server, and makes it one to which a path of the API can be added.
 *
 * @param where Where it comes from, such as `the cluster "a" of the kubeconfig b`, for the error.
 * @returns The URL without a trailing slash, and with single slashes in its path.
 * @throws {ConfigError} It is not an http or https URL, or has a user name, a password, a query or a fragment.
 */
export function parseServerUrl(server: string, where: string): string {
  const url = URL.parse(server);
  if (url === null || !/^https?:$/.test(url.protocol)) {
    throw new ConfigError(`There is an invalid server URL in ${where}: write it as https://HOST:PORT`);
  }
  if (url.username !== "" || url.password !== "") {
    throw new ConfigError(
      `The server URL in ${where} has a user name or password: write them into the kubeconfig's user instead`,
    );
  }
  if (url.search !== "" || url.hash !== "") {
    throw new ConfigError(`The server URL in ${where} has a query or fragment: write it as https://HOST:PORT`);
  }
  return url.origin + url.pathname.replaceAll(/\/{2,}/g, "/").replace(/\/$/, "");
}

/**
 * Separates the URL of a proxy from the user name and password in it.
 *
 * @param where See {@link checkServerUrl}.
 * @throws {ConfigError} It is not an http, https or socks5 URL, or its user name or password cannot be used.
 */
export function splitProxyUrl(
  proxy: string,
  where: string,
): { readonly url: string; readonly credentials?: ProxyCredentials } {
  if (/\s/.test(proxy)) {
    throw new ConfigError(`The proxy-url in ${where} has a space or a line break: remove it, or write it as %20`);
  }
  const url = URL.parse(proxy);
  if (url === null || !/^(https?|socks5h?):$/.test(url.protocol) || url.hostname === "") {
    throw new ConfigError(
      `The proxy-url in ${where} is not valid: write it as http://HOST:PORT, with http, https or socks5`,
    );
  }
  if (url.username === "" && url.password === "") return { url: url.href };
  const credentials = { username: decode(url.username, where), password: decode(url.password, where) };
  url.username = "";
  url.password = "";
  return { url: url.href, credentials };
}

/** Decodes a user name or password of a URL. */
function decode(text: string, where: string): string {
  const what = `user name or password of the proxy-url in ${where}`;
  let decoded: string;
  try {
    decoded = decodeURIComponent(text);
  } catch {
    throw new ConfigError(`The ${what} has a "%" that begins no character: write it as %25`);
  }
  checkText(decoded, what);
  return decoded;
}
