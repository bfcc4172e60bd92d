/**
 * The kinds of objects that the modelled API server keeps, and their shape as far as the model reads it.
 *
 * @module
 */

/** An object as it is stored. It is never changed, only replaced. */
// deno-lint-ignore no-explicit-any
export type Stored = any;

/** A kind of object. */
export interface Kind {
  /** The plural in paths. */
  readonly plural: string;
  /** Its API group; empty for the core. */
  readonly group: string;
  /** Its API version with the group. */
  readonly apiVersion: string;
  /** Its name. */
  readonly kind: string;
  /** Whether its objects are in namespaces. */
  readonly isNamespaced: boolean;
}

function kindOf(group: string, version: string, kind: string, plural: string, isNamespaced: boolean): Kind {
  return { plural, group, apiVersion: group === "" ? version : `${group}/${version}`, kind, isNamespaced };
}

/** The kinds that are stored, by their plural. */
export const KINDS: Readonly<Record<string, Kind>> = {
  leases: kindOf("coordination.k8s.io", "v1", "Lease", "leases", true),
  nodes: kindOf("", "v1", "Node", "nodes", false),
  pods: kindOf("", "v1", "Pod", "pods", true),
  persistentvolumeclaims: kindOf("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", true),
  volumeattachments: kindOf("storage.k8s.io", "v1", "VolumeAttachment", "volumeattachments", false),
};

/** The key of an object among those of its kind. */
export function keyOf(kind: Kind, namespace: string | undefined, name: string): string {
  return kind.isNamespaced ? `${namespace}/${name}` : name;
}
