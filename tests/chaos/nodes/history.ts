/**
 * What the API server stored, version by version: the facts of Nodes, pods and
 * Leases that a yes rests on. Revisions of one etcd order all changes of all
 * objects. Nothing here uses the program's own code.
 *
 * @module
 */

/** A version of an object. */
export interface Version<T> {
  /** The revision that stored it, or that deleted the object. */
  readonly revision: number;
  /** When the observer saw it, in milliseconds since the epoch. */
  readonly at: number;
  /** Undefined if the object was deleted. */
  readonly fact?: T;
}

/** What matters of a Node. */
export interface NodeFact {
  readonly uid: string;
  readonly machineId: string;
  readonly bootId: string;
  /** The annotation `fleetlock.internal/id`. */
  readonly namedId?: string;
  readonly unschedulable: boolean;
  /** The annotation `fleetlock.internal/cordoned-for`. */
  readonly cordonedFor?: string;
  /** The status of the condition Ready. */
  readonly ready?: string;
}

/** What matters of a pod. */
export interface PodFact {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly node?: string;
  readonly controller?: { readonly kind: string; readonly uid: string };
  readonly isMirror: boolean;
  readonly isFinished: boolean;
  /** The end of its grace, in milliseconds since the epoch, if it is being deleted. */
  readonly deletionAt?: number;
  /** Whether it tolerates a cordon. */
  readonly toleratesCordon: boolean;
}

/** What matters of a group's Lease. */
export interface LeaseFact {
  readonly holders: readonly string[];
  /** The holders whose record names a node. */
  readonly noted: readonly string[];
  readonly record: string;
}

/** The versions of the objects of one kind. */
export class Track<T> {
  readonly #versions = new Map<string, Version<T>[]>();

  /** Adds the next version of an object. */
  add(key: string, version: Version<T>): void {
    const versions = this.#versions.get(key);
    if (versions === undefined) this.#versions.set(key, [version]);
    else if (version.revision > versions.at(-1)!.revision) versions.push(version);
  }

  /** The keys of all objects that there have been. */
  get keys(): Iterable<string> {
    return this.#versions.keys();
  }

  /** All versions of an object, oldest first. */
  versions(key: string): readonly Version<T>[] {
    return this.#versions.get(key) ?? [];
  }

  /** An object as of a revision; undefined if it was not there. */
  at(key: string, revision: number): T | undefined {
    return this.versions(key).findLast((version) => version.revision <= revision)?.fact;
  }

  /** An object as of the last version seen. */
  now(key: string): T | undefined {
    return this.versions(key).at(-1)?.fact;
  }
}

/** Everything that was seen. */
export class History {
  /** By name. */
  readonly nodes: Track<NodeFact> = new Track();
  /** By UID. */
  readonly pods: Track<PodFact> = new Track();
  /** By group. */
  readonly leases: Track<LeaseFact> = new Track();
  /** Which pods have ever been bound to a node, by its name. */
  readonly #bound = new Map<string, Set<string>>();
  #arrivals: { at: number; revision: number }[] = [];

  /** Notes that a revision was seen. Call it before the version is added to its track. */
  arrived(at: number, revision: number): void {
    const last = this.#arrivals.at(-1)?.revision ?? 0;
    // The watches of several kinds may run one after the other.
    this.#arrivals.push({ at, revision: Math.max(last, revision) });
  }

  /** Adds a version of a pod. */
  addPod(uid: string, version: Version<PodFact>): void {
    const node = version.fact?.node;
    if (node !== undefined) {
      const bound = this.#bound.get(node) ?? new Set();
      this.#bound.set(node, bound.add(uid));
    }
    this.pods.add(uid, version);
  }

  /** The UIDs of all pods that have ever been bound to a node. */
  boundTo(node: string): ReadonlySet<string> {
    return this.#bound.get(node) ?? new Set();
  }

  /** The pods on a node as of a revision. */
  podsOn(node: string, revision: number): PodFact[] {
    // A restore from a backup may bind a pod to another node.
    return [...this.boundTo(node)].map((uid) => this.pods.at(uid, revision)).filter((pod) =>
      pod?.node === node
    ) as PodFact[];
  }

  /** The newest revision seen at a time, which the API server had then stored. */
  revisionAt(at: number): number {
    return this.#arrivals.findLast((arrival) => arrival.at <= at)?.revision ?? 0;
  }
}

/** Takes the facts from a Node. */
// deno-lint-ignore no-explicit-any
export function nodeFact(node: any): NodeFact {
  const annotations = node.metadata.annotations ?? {};
  // deno-lint-ignore no-explicit-any
  const ready = node.status?.conditions?.find((condition: any) => condition.type === "Ready");
  return {
    uid: node.metadata.uid,
    machineId: node.status?.nodeInfo?.machineID ?? "",
    bootId: node.status?.nodeInfo?.bootID ?? "",
    namedId: annotations["fleetlock.internal/id"],
    unschedulable: node.spec?.unschedulable === true,
    cordonedFor: annotations["fleetlock.internal/cordoned-for"],
    ready: ready?.status,
  };
}

/** Takes the facts from a pod. */
// deno-lint-ignore no-explicit-any
export function podFact(pod: any): PodFact {
  const { metadata, spec, status } = pod;
  // deno-lint-ignore no-explicit-any
  const controller = metadata.ownerReferences?.find((owner: any) => owner.controller);
  return {
    namespace: metadata.namespace,
    name: metadata.name,
    uid: metadata.uid,
    node: spec.nodeName,
    controller: controller && { kind: controller.kind, uid: controller.uid },
    isMirror: metadata.annotations?.["kubernetes.io/config.mirror"] !== undefined,
    isFinished: status?.phase === "Succeeded" || status?.phase === "Failed",
    deletionAt: metadata.deletionTimestamp ? Date.parse(metadata.deletionTimestamp) : undefined,
    toleratesCordon: (spec.tolerations ?? []).some(toleratesCordon),
  };
}

/** @see https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/ */
function toleratesCordon(
  { key, operator, value, effect }: { key?: string; operator?: string; value?: string; effect?: string },
): boolean {
  if (effect && effect !== "NoSchedule") return false;
  if (!key) return operator === "Exists";
  return key === "node.kubernetes.io/unschedulable" && (operator === "Exists" || !value);
}

/** Takes the facts from a Lease. */
// deno-lint-ignore no-explicit-any
export function leaseFact(lease: any): LeaseFact {
  const record = lease.metadata.annotations?.["fleetlock.internal/holders"] ?? "";
  const ids = (lease.spec?.holderIdentity ?? "").split(",").map((id: string) => id.trim());
  return { holders: ids.filter((id: string) => id !== ""), noted: notedIn(record), record };
}

/** What is used of a holder's record. Somebody may have edited it, so that any field may be missing. */
export interface HolderRecord {
  readonly id: string;
  /** The name of its Node. */
  readonly node?: string;
  /** The UID of its Node. */
  readonly uid?: string;
  /** When it was granted. */
  readonly since?: string;
  /** When it was last renewed. */
  readonly renewed?: string;
  /** How many slots its grant notes. */
  readonly slots?: number;
  /** How far its drain is. */
  readonly phase?: string;
  /** Whether its client may have had its yes. */
  readonly hadYes?: boolean;
}

/** Finds the record of a holder among those of a Lease. Undefined where there is none that can be read. */
export function recordIn(records: string, id: string): HolderRecord | undefined {
  return readRecords(records).find((holder) => holder.id === id);
}

function notedIn(records: string): string[] {
  return readRecords(records).filter((holder) => holder.node).map((holder) => holder.id);
}

/** Reads the records of a Lease's holders; none where they cannot be read. */
export function readRecords(records: string): HolderRecord[] {
  try {
    const holders: unknown = JSON.parse(records);
    return Array.isArray(holders) && holders.every((holder) => holder instanceof Object) ? holders : [];
  } catch {
    return [];
  }
}
