/**
 * Finds the client, the hold or the deferral that a person names: by the name of
 * its Node, by its id, or by the start of its id, which is all that `status`
 * shows. Pure.
 *
 * @module
 */

import { comparableId, isId128 } from "../lock/identity.ts";
import { printable, startOfId, withoutEllipsis } from "../lock/wording.ts";
import type { ClientAccount } from "../status/account.ts";
import { clientHash } from "../status/account_text.ts";

/** What a name of a client is compared with. */
export interface Named {
  /** The client's whole id. */
  readonly id: string;
  /** The name of its Node. */
  readonly node?: string | { readonly name: string };
}

/** What was found. */
export type Found<T> =
  | { readonly kind: "one"; readonly value: T }
  | { readonly kind: "none" }
  /** The start of an id fits several. */
  | { readonly kind: "several"; readonly count: number };

/** The shortest start of an id that names a client, in characters. Of a shorter id, all that is shown of it does. */
const SHORTEST = 4;

/**
 * Finds what a person names among some.
 *
 * @param name The name of a Node, an id, or the first four or more characters of an id.
 */
export function findNamed<T extends Named>(all: readonly T[], name: string): Found<T> {
  const id = comparableId(name);
  const exact = all.filter((one) => nodeNameOf(one) === name || comparableId(one.id) === id);
  return foundOf(exact.length > 0 ? exact : all.filter((one) => isStart(one.id, name)));
}

/** Whether an id is one that a person typed, or begins with it, as with `978a225b…`, copied from what is shown. */
export function isStart(id: string, text: string): boolean {
  const typed = withoutEllipsis(text);
  return id === typed || typed !== "" && typed.length >= Math.min(SHORTEST, id.length / 2) && id.startsWith(typed);
}

/** A client that a person names, as far as a cluster and a store tell who it is. */
export interface NamedClient {
  /** What the person typed. */
  readonly name: string;
  /** The name of its Node, where one is found. */
  readonly node?: string;
  /** The whole ids that it may have. They are not for printing. */
  readonly ids: readonly string[];
}

/** What was found in an account, which does not have whole ids. */
export type FoundShown<T> =
  | Found<T>
  /** The name begins as the id of one or several, and may be more of such an id than the account has. */
  | { readonly kind: "unsure"; readonly values: readonly T[] };

/** Finds a client among those that an account shows of a group. */
export function findShown<T extends ClientAccount & { readonly node?: string }>(
  all: readonly T[],
  group: string,
  { name, node, ids }: NamedClient,
): FoundShown<T> {
  const whole = [...ids, name].map(comparableId);
  const isIt = (shown: T) =>
    shown.node !== undefined && (shown.node === node || shown.node === name) ||
    whole.some((id) => clientHash(group, id) === shown.hash && (isId128(id) || startOfId(id) === shown.id));
  const exact = all.filter(isIt);
  // The same hold may be shown for several reasons, and whoever is found first is the oldest.
  if (exact.length > 0) return { kind: "one", value: exact[0]! };
  if (isId128(name) || node !== undefined) return { kind: "none" };
  const typed = all.filter((shown) => isStart(startShown(shown), name));
  if (typed.length > 0) return foundOf(typed);
  const values = name.endsWith("…") ? [] : all.filter((shown) => name.startsWith(startShown(shown)));
  return values.length > 0 ? { kind: "unsure", values } : { kind: "none" };
}

/** Names a client for a person: its Node, or the start of its id. */
export function nameOf({ id, node }: Named): string {
  return printable(nodeNameOf({ id, node }) ?? startOfId(id), 253);
}

/** Names several clients so that each name fits one: as {@link nameOf}, with as much of the ids as tells them apart. */
export function namesOf(all: readonly Named[]): string[] {
  const names = all.map(nameOf);
  return all.map((one, at) => {
    const name = names[at]!;
    if (names.indexOf(name) === names.lastIndexOf(name)) return name;
    const others = all.filter((_, place) => place !== at && names[place] === name);
    const shared = Math.max(...others.map(({ id }) => sharedStart(id, one.id)));
    return printable(one.id, shared + 1);
  });
}

function sharedStart(one: string, other: string): number {
  let length = 0;
  while (length < one.length && one[length] === other[length]) length++;
  return length;
}

function startShown({ id }: ClientAccount): string {
  return withoutEllipsis(id);
}

function nodeNameOf({ node }: Named): string | undefined {
  return typeof node === "string" ? node : node?.name;
}

function foundOf<T>(found: readonly T[]): Found<T> {
  if (found.length === 0) return { kind: "none" };
  return found.length === 1 ? { kind: "one", value: found[0]! } : { kind: "several", count: found.length };
}
