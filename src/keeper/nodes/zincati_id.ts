/**
 * The id that Zincati sends for a host, computed from the host's machine-id. Pure; it knows nothing of Nodes.
 *
 * @module
 */

import { createHmac } from "node:crypto";
import { type ClientId, comparableId, isId128 } from "../../lock/identity.ts";

/** Zincati's application id for systemd's app-specific machine ids. */
const APPLICATION_ID = Buffer.from("de35106b6ec24688b63afddaa156679b", "hex");

/**
 * Computes the id that Zincati sends for a host, which is systemd's app-specific machine id: HMAC-SHA256 with the
 * machine-id as the key and Zincati's application id as the message, truncated to 16 bytes and marked as a version 4
 * UUID.
 *
 * @param machineId A machine-id as in a Node's `status.nodeInfo.machineID`: 32 hexadecimal digits of either case, with
 * or without a UUID's dashes.
 * @returns 32 lower-case hexadecimal digits; undefined where `machineId` is malformed.
 *
 * @see https://www.freedesktop.org/software/systemd/man/latest/sd_id128_get_machine.html
 * @see https://coreos.github.io/zincati/usage/agent-identity/
 */
export function zincatiId(machineId: string): string | undefined {
  if (!isId128(machineId)) return undefined;
  const key = Buffer.from(comparableId(machineId), "hex");
  const id = createHmac("sha256", key).update(APPLICATION_ID).digest().subarray(0, 16);
  id[6] = (id[6]! & 0x0f) | 0x40;
  id[8] = (id[8]! & 0x3f) | 0x80;
  return id.toString("hex");
}

/** Whether two ids name the same client. */
export function isSameClient(one: ClientId, other: ClientId): boolean {
  return comparableId(one) === comparableId(other);
}
