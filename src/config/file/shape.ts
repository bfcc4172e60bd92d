/**
 * Finds what the schemas alone would overlook: keys that none of them knows, and
 * lists in the place of mappings.
 *
 * @module
 */

import type { KeyPath, Problem, SourceNode } from "./source.ts";

/** What is said about a value that is not a mapping and should be. */
export const MAPPING = "must be a mapping of keys to values";

/** The parts of a schema that this module looks at. */
interface AnySchema {
  readonly type: string;
  readonly entries?: Readonly<Record<string, AnySchema>>;
  readonly item?: AnySchema;
  readonly wrapped?: AnySchema;
}

/**
 * Finds the keys that a schema does not know, and lists in the place of mappings, at any depth.
 *
 * @param schema A schema of valibot, with mappings, lists and optional values.
 */
export function checkShape(schema: unknown, node: SourceNode, path: KeyPath = []): Problem[] {
  const { entries, item, wrapped } = schema as AnySchema;
  if (wrapped !== undefined) return checkShape(wrapped, node, path);
  if (item !== undefined && node.kind === "sequence") {
    return node.items.flatMap((each, index) => checkShape(item, each, [...path, index]));
  }
  if (entries === undefined) return [];
  if (node.kind === "sequence") return [{ offset: node.offset, path, message: `${MAPPING}: it is a list` }];
  if (node.kind === "scalar") return [];
  return node.pairs.flatMap(({ key, keyOffset, value }) => {
    const at = [...path, key];
    if (Object.hasOwn(entries, key)) return checkShape(entries[key], value, at);
    return [{ offset: keyOffset, path: at, message: `is unknown: ${suggest(key, Object.keys(entries))}` }];
  });
}

/** Names the key that was probably meant, or else all keys. */
function suggest(key: string, known: readonly string[]): string {
  const lower = key.toLowerCase();
  const near = known
    .map((each) => ({ each, distance: editDistance(lower, each.toLowerCase()) }))
    .filter(({ each, distance }) => distance <= Math.max(1, Math.floor(each.length / 3)))
    .sort((a, b) => a.distance - b.distance)[0];
  const keys = known.filter((each) => !each.startsWith("$")).join(", ");
  return near === undefined ? `the keys here are ${keys}` : `did you mean "${near.each}"?`;
}

/** How many letters to change, add or remove to make one text out of another. */
function editDistance(from: string, to: string): number {
  // A longer key is not a slip of a short one, and would only cost time.
  if (from.length > 2 * to.length + 2) return Infinity;
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (const [index, letter] of [...from].entries()) {
    const next = [index + 1];
    for (let column = 1; column <= to.length; column++) {
      const replaced = row[column - 1]! + (to[column - 1] === letter ? 0 : 1);
      next.push(Math.min(replaced, row[column]! + 1, next[column - 1]! + 1));
    }
    row = next;
  }
  return row[to.length]!;
}
