/**
 * Small faults of the program, as data. Each is honest: somebody could write it, and most were in the program once. The
 * exploration must find each within its number of seeds. One that it does not find means that the model or a check is
 * missing.
 *
 * @module
 */

/** One fault. */
export interface Mutant {
  /** Its name. */
  readonly name: string;
  /** What goes wrong. */
  readonly about: string;
  /** The file, as a path from the project's root. */
  readonly file: string;
  /** The text to replace. It is in the file exactly once. */
  readonly find: string;
  /** What replaces it. */
  readonly replace: string;
  /** Within how many seeds it is found, from the first one. */
  readonly seeds: number;
}

/** See the module. */
export const MUTANTS: readonly Mutant[] = [
  {
    name: "one holder too many",
    about: "a group of one slot gets a second holder",
    file: "src/lock/lock_service.ts",
    find: "this.#slotsOf = options.slotsOf ?? (() => 1);",
    replace: "this.#slotsOf = options.slotsOf ?? (() => 2);",
    seeds: 3,
  },
  {
    name: "writes are not conditional",
    about: "the last of two replicas that grant at once wins, and both say yes",
    file: "src/stores/lease/leases.ts",
    find: "const parameters = { name: body.metadata!.name!, namespace: this.namespace, body };",
    replace: `const last = await this.get(body.metadata!.name!, signal);
    const metadata = { ...body.metadata, resourceVersion: last?.metadata?.resourceVersion };
    const parameters = { name: body.metadata!.name!, namespace: this.namespace, body: { ...body, metadata } };`,
    seeds: 20,
  },
  {
    name: "grant on a Lease that is being deleted",
    about: "a grant and its yes rest on a Lease that ends in a moment",
    file: "src/stores/lease/store.ts",
    find: "const ending = deletionTimestamp ?",
    replace: "const ending = deletionTimestamp === null ?",
    seeds: 40,
  },
  {
    name: "yes on an uncordoned node",
    about: "pods may come to the node between the proof and the reboot",
    file: "src/lock/yes.ts",
    find: `if (!node.unschedulable) return { kind: "uncordoned" };`,
    replace: "",
    seeds: 60,
  },
  {
    name: "the proof trusts the drain",
    about: "the list of pods before the yes is not looked at",
    file: "src/keeper/drain/proof.ts",
    find: "pods: pods.map((pod) => seenPod(pod, policy)),",
    replace: "pods: pods.slice(0, 0).map((pod) => seenPod(pod, policy)),",
    seeds: 80,
  },
  {
    name: "pods that tolerate the cordon always stay",
    about: "a pod that was there before the grant counts as put back",
    file: "src/lock/yes.ts",
    find: "if (pod.toleratesCordon && isAfter(pod.createdAt, grantedAt))",
    replace: "if (pod.toleratesCordon)",
    seeds: 10,
  },
  {
    name: "one eviction exhausts a controller",
    about: "a pod that was put back once may stay",
    file: "src/lock/yes.ts",
    find: "export const MAX_EVICTIONS = 3;",
    replace: "export const MAX_EVICTIONS = 1;",
    seeds: 40,
  },
  {
    name: "endless evictions",
    about: "a controller that puts its pods back fights with the drain for ever",
    file: "src/lock/yes.ts",
    find: "export const MAX_EVICTIONS = 3;",
    replace: "export const MAX_EVICTIONS = 300;",
    seeds: 40,
  },
  {
    name: "a dead kubelet's pods are gone at once",
    about: "the grace period of a pod whose kubelet does not answer is not waited for",
    file: "src/lock/yes.ts",
    find: "if (isDead && isAfter(now, pod.graceEndsAt, DEAD_KUBELET_MS))",
    replace: "if (isDead && pod.graceEndsAt !== undefined)",
    seeds: 80,
  },
  {
    name: "proofs do not age",
    about: "a process that was paused after its reads says yes by them",
    file: "src/lock/yes.ts",
    find: "export const PROOF_TTL_MS = 15_000;",
    replace: "export const PROOF_TTL_MS = 15_000_000;",
    seeds: 100,
  },
  {
    name: "a late release frees the next hold",
    about: "a steady-state that waited for long ends whatever hold it finds in the end",
    file: "src/lock/holds.ts",
    find: "if (!isSameStage(holder, hold)) return CONTENDED;",
    replace: "",
    seeds: 200,
  },
  {
    name: "back as soon as the node is ready",
    about: "a Node that looks as before the reboot counts as back",
    file: "src/keeper/nodes/node_return.ts",
    find: "if (ready.some((node) => !mayBeSameBoot(node))) return",
    replace: "if (ready.length > 0) return",
    seeds: 10,
  },
  {
    name: "the kubelet's first renewal is enough",
    about: "the new bootID may follow the renewal of the Lease by a moment",
    file: "src/keeper/nodes/node_return.ts",
    find: "await clock.sleep(SETTLE_MS, signal).catch(() => {});",
    replace: "",
    seeds: 60,
  },
  {
    name: "an administrator's cordon counts as ours",
    about: "a node that was uncordoned and cordoned again by others is uncordoned by us",
    file: "src/keeper/nodes/node.ts",
    find: "return manager !== FIELD_MANAGER && annotations",
    replace: 'return manager === "" && annotations',
    seeds: 60,
  },
  {
    name: "evictions go on after an uncordon",
    about: "a drain looks at the cordon once",
    file: "src/keeper/drain/cordon_guard.ts",
    find: "if (this.#state !== undefined && seen === this.#checked) return this.#state;",
    replace: "if (this.#state !== undefined) return this.#state;",
    seeds: 60,
  },
  {
    name: "evictions without the pod's UID",
    about: "the next pod of the name, on another node, is evicted",
    file: "src/keeper/drain/pod_calls.ts",
    find: "deleteOptions: { preconditions: { uid } },",
    replace: "deleteOptions: { preconditions: { uid: uid && undefined } },",
    seeds: 80,
  },
  {
    name: "budgets are overridden at once",
    about: "pods are deleted past their budgets before the time-out",
    file: "src/keeper/drain/next_step.ts",
    find: "return isLate ? timeOut(situation, policy) : undefined;",
    replace: "return timeOut(situation, policy) ?? (isLate ? undefined : undefined);",
    seeds: 30,
  },
  {
    name: "watches are opened again without a pause",
    about: "a hot loop against an API server that fails",
    file: "src/kubernetes/watch.ts",
    find: "await clock.sleep(pauseAfter(error, failures, options), signal).catch(() => {});",
    replace: "pauseAfter(error, failures, options);",
    seeds: 10,
  },
  {
    name: "a silent watch is never noticed",
    about: "a replica refuses for ever by what it saw last",
    file: "src/kubernetes/watch.ts",
    find: "this.rang = true;\n    ring();",
    replace: "this.rang = ring === undefined;",
    seeds: 60,
  },
  {
    name: "a silent connection is never given up",
    about: "every call on it waits for its deadline, for ever",
    file: "src/kubernetes/call_deadline.ts",
    find: ">= timeoutMs / 2) this.#blamed.pool.retire();",
    replace: ">= timeoutMs * 2) this.#blamed.pool.retire();",
    seeds: 40,
  },
  {
    name: "a cache brings a deleted Lease back",
    about: "a read that is older than the deletion puts the group into the view again",
    file: "src/lock/group_view.ts",
    find: "(this.#groups.get(group)?.version ?? this.#moment)) this.#set(group, versioned);",
    replace: "(this.#groups.get(group)?.version ?? 0)) this.#set(group, versioned);",
    seeds: 200,
  },
  {
    name: "the cordon is lifted before the release",
    about: "a node is uncordoned for a hold on which another replica rests a yes",
    file: "src/lock/lock_service.ts",
    find: "const over = await this.#holds.release(first.holder, group, arrival);",
    replace: `await this.#keeper?.uncordon(group, id, first.holder.since);
    const over = await this.#holds.release(first.holder, group, arrival);`,
    seeds: 200,
  },
  {
    name: "stale cordons are not cleaned up",
    about: "what a killed replica or an administrator's edit leaves behind stays",
    file: "src/keeper/cordon_repair.ts",
    find: "for (const owner of ours) if (!(await clientHolds(owner))) gone.add(owner.group);",
    replace: "for (const owner of ours) if (!(await clientHolds(owner))) gone.delete(owner.group);",
    seeds: 40,
  },
  {
    name: "our annotation goes and the cordon stays",
    about: "nobody uncordons a node whose release was answered",
    file: "src/keeper/nodes/cordon.ts",
    find: "return left.length === 0 ? { unschedulable: null, cordon: null }",
    replace: "return left.length === 0 ? { cordon: null }",
    seeds: 5,
  },
  {
    name: "a fault nobody handles",
    about: "the end of a drain that fails is awaited by nobody",
    file: "src/keeper/drain/drain.ts",
    find: "this.end.catch(() => {});",
    replace: "",
    seeds: 60,
  },
  {
    name: "the watch of a drain is left open",
    about: "each drain leaves a watch behind",
    file: "src/keeper/drain/pods_on_node.ts",
    find: "AbortSignal.any([options.signal, this.#ended.signal]));",
    replace: "AbortSignal.any([options.signal]));",
    seeds: 5,
  },
  {
    name: "yes while the Node is being deleted",
    about: "a yes while the Node is being deleted, whose successor is not cordoned",
    file: "src/lock/yes.ts",
    find: `if (node.deleting) return { kind: "node_ending" };`,
    replace: "",
    seeds: 100,
  },
  {
    name: "a drain goes on after its hold has ended",
    about: "a drain does not look whether its hold is still there, and evicts",
    file: "src/keeper/node_keeper.ts",
    find: "for (const owner of owners) if (!(await this.#holdExists(owner))) this.#drains.end(owner);",
    replace: "for (const owner of owners) if (!(await this.#holdExists(owner))) void owner;",
    seeds: 60,
  },
];
