/**
 * Merge patches, JSON patches, and who owns which field of a Node as `metadata.managedFields` tells it.
 *
 * @module
 */

import type { Stored } from "./objects.ts";

/** Applies a merge patch (RFC 7386). */
export function mergePatch(target: Stored, patch: Stored): Stored {
  if (typeof patch !== "object" || patch === null || Array.isArray(patch)) return patch;
  const merged = typeof target === "object" && target !== null && !Array.isArray(target) ? { ...target } : {};
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete merged[name];
    else merged[name] = mergePatch(merged[name], value);
  }
  return merged;
}

/**
 * Applies a JSON patch (RFC 6902) of the operations "test" and "remove".
 *
 * @returns Undefined where a test fails or a removed field is absent.
 */
export function jsonPatch(target: Stored, patch: readonly Stored[]): Stored | undefined {
  const patched = structuredClone(target);
  for (const { op, path, value } of patch) {
    const names: string[] = path.split("/").slice(1).map((name: string) =>
      name.replaceAll("~1", "/").replaceAll("~0", "~")
    );
    const last = names.pop()!;
    const parent = names.reduce((object: Stored, name) => object?.[name], patched);
    if (parent?.[last] === undefined) return undefined;
    if (op === "remove") delete parent[last];
    else if (op !== "test") throw new Error(`the operation ${op} of a JSON patch is unknown`);
    else if (JSON.stringify(parent[last]) !== JSON.stringify(value)) return undefined;
  }
  return patched;
}

/** The annotation that says for whom a node is cordoned. */
const CORDONED_FOR = "fleetlock.internal/cordoned-for";

/**
 * Notes who owns the two fields of a Node that matter: whoever changes one owns it alone, and nobody owns one that is
 * gone.
 */
export function ownFields(before: Stored | undefined, after: Stored, manager: string, time: string): Stored {
  const fields: [string, (object: Stored) => unknown][] = [
    ["cordon", (object) => object?.spec?.unschedulable],
    ["annotation", (object) => object?.metadata.annotations?.[CORDONED_FOR]],
  ];
  const owners = new Map<string, Set<string>>();
  for (const entry of before?.metadata.managedFields ?? []) {
    const { "f:spec": spec, "f:metadata": metadata } = entry.fieldsV1;
    if (spec?.["f:unschedulable"]) own(owners, "cordon").add(entry.manager);
    if (metadata?.["f:annotations"]?.[`f:${CORDONED_FOR}`]) own(owners, "annotation").add(entry.manager);
  }
  for (const [field, value] of fields) {
    if (value(after) === undefined) owners.delete(field);
    else if (value(after) !== value(before)) owners.set(field, new Set([manager]));
  }
  const managers = new Set([...owners.values()].flatMap((each) => [...each]));
  const managedFields = [...managers].sort().map((name) => ({
    manager: name,
    operation: "Update",
    apiVersion: "v1",
    time,
    fieldsType: "FieldsV1",
    fieldsV1: {
      ...(owners.get("annotation")?.has(name) &&
        { "f:metadata": { "f:annotations": { [`f:${CORDONED_FOR}`]: {} } } }),
      ...(owners.get("cordon")?.has(name) && { "f:spec": { "f:unschedulable": {} } }),
    },
  }));
  return { ...after, metadata: { ...after.metadata, managedFields } };
}

function own(owners: Map<string, Set<string>>, field: string): Set<string> {
  const known = owners.get(field) ?? new Set();
  owners.set(field, known);
  return known;
}
