/**
 * Makes the headers by which a kubeconfig's user acts as another one. It sends
 * nothing.
 *
 * @see https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation
 * @module
 */

import { ConfigError } from "../config/config_error.ts";
import { encodeHeaderText } from "./credential_check.ts";
import type { KubeconfigEntry } from "./kubeconfig_files.ts";

/**
 * Makes the headers from the fields `as`, `as-uid`, `as-groups` and `as-user-extra`.
 *
 * @returns By lower-case name. Empty if the user acts as itself.
 * @throws {ConfigError} A field cannot be used, or one of the others is there without `as`.
 */
export function impersonationHeaders(user: KubeconfigEntry): Record<string, string | string[]> {
  const name = user.text("as");
  const uid = user.text("as-uid");
  const groups = user.texts("as-groups");
  const extra = Object.entries(user.textLists("as-user-extra"));
  if (name === undefined) {
    if (uid === undefined && groups.length === 0 && extra.length === 0) return {};
    throw new ConfigError(
      `There is as-uid, as-groups or as-user-extra in ${user.where}, but not as: write the user's name into as`,
    );
  }
  const encode = (text: string, field: string) => encodeHeaderText(text, `field "${field}" of ${user.where}`);
  const headers: Record<string, string | string[]> = { "impersonate-user": encode(name, "as") };
  if (uid !== undefined) headers["impersonate-uid"] = encode(uid, "as-uid");
  if (groups.length > 0) headers["impersonate-group"] = groups.map((group) => encode(group, "as-groups"));
  for (const [key, values] of extra) {
    headers[`impersonate-extra-${encodeKey(key)}`] = values.map((value) => encode(value, "as-user-extra"));
  }
  return headers;
}

/** Encodes what a header's name cannot hold, as the API server decodes it. It ignores the case of the rest. */
function encodeKey(key: string): string {
  const bytes = new TextEncoder().encode(key);
  return Array.from(bytes, (byte) => {
    const character = String.fromCharCode(byte);
    return /[a-z0-9!#$&'*+.^_`|~-]/i.test(character)
      ? character.toLowerCase()
      : `%${byte.toString(16).padStart(2, "0")}`;
  }).join("");
}
