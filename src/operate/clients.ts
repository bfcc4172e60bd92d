/**
 * Finds the client, the hold or the deferral that a person names: by the name of
 * its Node, by its id, or by the start of its id, which is all that `status`
 * shows. Pure.
 *
 * @module
 */

import { comparableId } from "../keeper/nodes/zincati_id.ts";
import { printable } from "../lock/wording.ts";

/** What a name of a client is compared with. */
export interface Named {
  /** The client's id, or the start of one. */
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

/** The shortest start of an id that names a client, in characters. */
const SHORTEST = 4;

/**
 * Finds what a person names among some.
 *
 * @param name The name of a Node, an id, or the first four or more characters of an id.
 */
export function findNamed<T extends Named>(all: readonly T[], name: string): Found<T> {
  const nodeOf = ({ node }: Named) => typeof node === "string" ? node : node?.name;
  const id = comparableId(name);
  const exact = all.filter((one) => nodeOf(one) === name || comparableId(one.id) === id);
  const found = exact.length > 0 ? exact : name.length < SHORTEST ? [] : all.filter((one) => isStart(one.id, name));
  if (found.length === 0) return { kind: "none" };
  return found.length === 1 ? { kind: "one", value: found[0]! } : { kind: "several", count: found.length };
}

/** Whether an id begins with the start of one that a person typed. */
export function isStart(id: string, typed: string): boolean {
  return id === typed || typed.length >= SHORTEST && id.startsWith(typed);
}

/**
 * Whether an account shows a client's id, or the start of it.
 *
 * @param shown As in the account: a whole id, or its start and an ellipsis.
 * @param id A whole id, or the start of one that a person typed.
 */
export function isShown(shown: string, id: string): boolean {
  if (!shown.endsWith("…")) return isStart(shown, id);
  const start = shown.slice(0, -1);
  return id.startsWith(start) || isStart(start, id);
}

/** Names a client for a person: its Node, or the start of its id. */
export function nameOf({ id, node }: Named): string {
  const name = typeof node === "string" ? node : node?.name;
  return printable(name ?? id.slice(0, 8), 253);
}
