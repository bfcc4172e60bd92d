/**
 * Client ids and group names. Each is parsed once, where it enters the program,
 * and branded; every other module takes the branded type and trusts it.
 *
 * @module
 */

/**
 * A host's id as its update agent sends it: 1 to 253 printable ASCII
 * characters (0x21 to 0x7e) without a comma, since the ids of one group are
 * joined by commas in a Lease's `holderIdentity`. Zincati sends 32 lower-case
 * hexadecimal digits.
 */
export type ClientId = string & { readonly __brand: "ClientId" };

/**
 * A reboot group: 1 to 63 characters of `[a-zA-Z0-9.-]`, case-sensitive.
 * The pattern is the protocol's own.
 *
 * @see https://coreos.github.io/zincati/development/fleetlock/protocol/
 */
export type Group = string & { readonly __brand: "Group" };

/** The longest id accepted, in characters: the length limit of a Kubernetes object name. */
export const MAX_ID_LENGTH = 253;

/** The longest group accepted, in characters: the length limit of a Kubernetes label. */
export const MAX_GROUP_LENGTH = 63;

const ID = /^[\x21-\x2b\x2d-\x7e]{1,253}$/;
const GROUP = /^[a-zA-Z0-9.-]{1,63}$/;
const ID128 = /^(?:[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})$/i;

/**
 * Parses a client's id.
 *
 * @param raw Anything, typically a value out of parsed JSON.
 * @returns The id, or undefined if `raw` is not a valid one.
 */
export function parseClientId(raw: unknown): ClientId | undefined {
  return typeof raw === "string" && ID.test(raw) ? raw as ClientId : undefined;
}

/**
 * Parses a group's name.
 *
 * @param raw Anything, typically a value out of parsed JSON.
 * @returns The group, or undefined if `raw` is not a valid one.
 */
export function parseGroup(raw: unknown): Group | undefined {
  return typeof raw === "string" && GROUP.test(raw) ? raw as Group : undefined;
}

/** Whether an id has 128 bits in hexadecimal digits, with or without a UUID's dashes, as the ids of hosts have. */
export function isId128(id: string): boolean {
  return ID128.test(id);
}

/**
 * Normalizes an id for comparison, since a UUID may be written with dashes and in either case.
 *
 * @param id Any client's id. One that is not a UUID stays as it is.
 */
export function comparableId(id: string): string {
  return isId128(id) ? id.replaceAll("-", "").toLowerCase() : id;
}
