/**
 * Small faults of the program, as data. Each is honest: somebody could write it, and most were in the program once. The
 * exploration must find each under one of its seeds, which `deno task mutants --search 1-100` finds. A mutant that it does not
 * find means that the model or a check is missing.
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
  /** Seeds that find it, the first one first: a change of the program may change what happens under a seed. */
  readonly seeds: readonly number[];
  /** The places of the incidents of the seed that happen; all where undefined. */
  readonly incidents?: readonly number[];
}

/**
 * See the module.
 *
 * These were tried under 24 to 62 seeds and not found, so they are left to the unit tests. Races of a few milliseconds
 * between two replicas, which faults that are drawn at random hit once in hundreds of seeds: a late release that frees the
 * next hold, a cache that brings a deleted Lease back, a cordon that is lifted before the release, a yield or a grant that
 * does not look at the group again before its write, a proof that is too old. Situations that need several incidents in
 * one order: evictions without the pod's UID, a yes while the Node is being deleted, an administrator's cordon taken for
 * ours, a drain that goes on after its hold, an eviction whose answer is lost and does not count, the kubelet's first
 * renewal. What nothing here notices, since a watch ends after some minutes anyway and a call that waits for its
 * deadline is tried again: a silent watch or connection that is never given up, and the end of a drain that nobody awaits.
 *
 * These were tried under 6 to 60 seeds only: a request of a client that is gone frees a slot, which hardly a seed reaches;
 * a hold of another stage that is freed because its Node is gone; a host without a Node whose Nodes are not listed
 * afresh, or whose hold is not read again. Of the wait for the watch of the Nodes, under 16 seeds that do that: what our
 * own calls show ahead of the watch, a call's answer that takes a Node away which the watch has shown since, and a
 * reading that later requests share. An eviction that leaves although the node was uncordoned while it waited for its turn
 * was found by one of 4,000 seeds.
 */
export const MUTANTS: readonly Mutant[] = [
  {
    name: "one holder too many",
    about: "a group gets one more holder than it has slots",
    file: "src/lock/semaphore.ts",
    find: `if (state.holders.length >= slots) return { kind: "full" };`,
    replace: `if (state.holders.length > slots) return { kind: "full" };`,
    seeds: [1],
  },
  {
    name: "writes are not conditional",
    about: "the last of two replicas that grant at once wins, and both say yes",
    file: "src/stores/lease/leases.ts",
    find: "const parameters = { name: body.metadata!.name!, namespace: this.namespace, body };",
    replace: `const last = await this.get(body.metadata!.name!, signal);
    const metadata = { ...body.metadata, resourceVersion: last?.metadata?.resourceVersion };
    const parameters = { name: body.metadata!.name!, namespace: this.namespace, body: { ...body, metadata } };`,
    seeds: [13],
  },
  {
    name: "grant on a Lease that is being deleted",
    about: "a grant and its yes rest on a Lease that ends in a moment",
    file: "src/stores/lease/store.ts",
    find: "const ending = deletionTimestamp ?",
    replace: "const ending = deletionTimestamp === null ?",
    seeds: [5],
  },
  {
    name: "yes on an uncordoned node",
    about: "pods may come to the node between the proof and the reboot",
    file: "src/lock/yes.ts",
    find: `if (!node.unschedulable) return { kind: "uncordoned" };`,
    replace: "",
    seeds: [11],
  },
  {
    name: "the proof trusts the drain",
    about: "the list of pods before the yes is not looked at",
    file: "src/keeper/drain/proof.ts",
    find: "pods: pods.map((pod) => seenPod(pod, policy)),",
    replace: "pods: pods.slice(0, 0).map((pod) => seenPod(pod, policy)),",
    seeds: [57],
  },
  {
    name: "pods that tolerate the cordon always stay",
    about: "a pod that was there before the grant counts as put back",
    file: "src/lock/yes.ts",
    find: "if (pod.toleratesCordon && isAfter(pod.createdAt, grantedAt))",
    replace: "if (pod.toleratesCordon)",
    seeds: [2],
  },
  {
    name: "one eviction exhausts a controller",
    about: "a pod that was put back once may stay",
    file: "src/lock/yes.ts",
    find: "export const MAX_EVICTIONS = 3;",
    replace: "export const MAX_EVICTIONS = 1;",
    seeds: [4],
  },
  {
    name: "endless evictions",
    about: "a controller that puts its pods back fights with the drain for ever",
    file: "src/lock/yes.ts",
    find: "export const MAX_EVICTIONS = 3;",
    replace: "export const MAX_EVICTIONS = 300;",
    seeds: [4],
  },
  {
    name: "a dead kubelet's pods are gone at once",
    about: "the grace period of a pod whose kubelet does not answer is not waited for",
    file: "src/lock/yes.ts",
    find: "if (isDead && isAfter(now, pod.graceEndsAt, DEAD_KUBELET_MS))",
    replace: "if (isDead && pod.graceEndsAt !== undefined)",
    seeds: [6],
  },
  {
    name: "back as soon as the node is ready",
    about: "a Node that looks as before the reboot counts as back",
    file: "src/keeper/nodes/node_return.ts",
    find: "if (ready.some((node) => !mayBeSameBoot(node))) return",
    replace: "if (ready.length > 0) return",
    seeds: [9],
  },
  {
    name: "evictions go on after an uncordon",
    about: "a drain looks at the cordon once",
    file: "src/keeper/drain/cordon_guard.ts",
    find: "return !this.isGone && seen?.uid === this.#options.task.uid && seen.unschedulable;",
    replace: "return !this.isGone && seen?.uid === this.#options.task.uid;",
    seeds: [6],
  },
  {
    name: "budgets are overridden at once",
    about: "pods are deleted past their budgets before the time-out",
    file: "src/keeper/drain/next_step.ts",
    find: "return isLate ? timeOut(situation, policy) : undefined;",
    replace: "return timeOut(situation, policy) ?? (isLate ? undefined : undefined);",
    seeds: [6],
  },
  {
    name: "watches are opened again without a pause",
    about: "a hot loop against an API server that fails",
    file: "src/kubernetes/watch.ts",
    find: "await clock.sleep(pauseAfter(error, failures, options), signal).catch(() => {});",
    replace: "pauseAfter(error, failures, options);",
    seeds: [1],
  },
  {
    name: "stale cordons are not cleaned up",
    about: "what a killed replica or an administrator's edit leaves behind stays",
    file: "src/keeper/cordon_repair.ts",
    find: "for (const owner of ours) if (!(await clientHolds(owner))) gone.add(owner.group);",
    replace: "for (const owner of ours) if (!(await clientHolds(owner))) gone.delete(owner.group);",
    seeds: [2],
  },
  {
    name: "our annotation goes and the cordon stays",
    about: "nobody uncordons a node whose release was answered",
    file: "src/keeper/nodes/cordon.ts",
    find: "return left.length === 0 ? { unschedulable: null, cordon: null }",
    replace: "return left.length === 0 ? { cordon: null }",
    seeds: [1],
  },
  {
    name: "the watch of a drain is left open",
    about: "each drain leaves a watch behind",
    file: "src/keeper/drain/pods_on_node.ts",
    find: "AbortSignal.any([options.signal, this.#ended.signal]));",
    replace: "AbortSignal.any([options.signal]));",
    seeds: [1],
  },
  {
    name: "the watch tells where else a host runs",
    about: "a yes while the host has registered another Node, which a watch that lags does not show",
    file: "src/keeper/hold_proof.ts",
    find: "(await nodes.listById(hold.id))",
    replace: "(nodes as unknown as { peekById(id: unknown): NodeView[] }).peekById(hold.id)",
    seeds: [43],
    incidents: [21, 25, 27, 36, 42, 49, 52, 53, 57, 61, 63, 80, 104, 111],
  },
  {
    name: "an answer counts although the watch is ahead of it",
    about: "evictions from a node that the watch has shown uncordoned",
    file: "src/keeper/drain/cordon_guard.ts",
    find: `      case "already":
        return this.#is("cordoned", seen);`,
    replace: `      case "already":
        return this.#is("cordoned", this.#seen);`,
    seeds: [101],
  },
  {
    name: "hosts yield after their yes",
    about: "a pause or a time-out frees the slot of a host that may be rebooting",
    file: "src/lock/semaphore.ts",
    find: 'return node === undefined || node.phase === "drained" || hadYes',
    replace: "return node === undefined || hadYes",
    seeds: [10],
  },
  {
    name: "a pause holds nobody back",
    about: "a slot of a paused group is granted",
    file: "src/policies/rules.ts",
    find: `  { name: "paused", judge: paused },`,
    replace: "",
    seeds: [5],
  },
  {
    name: "a write drops the pause",
    about: "the first write to a group's Lease takes away what an administrator has noted",
    file: "src/stores/lease/codec.ts",
    find: "[PAUSED_ANNOTATION]: toText(written.paused, { value: before.paused, text: paused }),",
    replace:
      "[PAUSED_ANNOTATION]: paused === undefined ? toText(written.paused, { value: before.paused, text: paused }) : undefined,",
    seeds: [5],
  },
  {
    name: "a Node that is gone for a moment frees the slot",
    about: "the slot of a host that reboots is freed without a grace period, while it may still come back",
    file: "src/lock/gone_nodes.ts",
    find: "return began + grace - this.#options.clock.monotonic();",
    replace: "return began - this.#options.clock.monotonic();",
    seeds: [7],
  },
  {
    name: "Nodes are listed from a cache",
    about: "what proves that no other Node has the host's id may be from before the request",
    file: "src/kubernetes/list_pages.ts",
    find: "const options = { path, query, limit: VERSIONS_PER_PAGE, metadataOnly: true };",
    replace:
      `const options = { path, query: { ...query, resourceVersion: "0" }, limit: VERSIONS_PER_PAGE, metadataOnly: true };`,
    seeds: [1],
  },
  {
    name: "the watch need not reach the version of the Nodes",
    about: "a yes while the host has joined again as another Node, which a watch that has gone silent does not show",
    file: "src/keeper/nodes/fresh_nodes.ts",
    find: `if (!isReached()) return "late";`,
    replace: `if (!seen.isSynced) return "late";`,
    seeds: [3],
  },
  {
    name: "a version of the Nodes that went back is reached",
    about: "a yes by what a watch has seen before etcd was restored from a backup",
    file: "src/keeper/nodes/fresh_nodes.ts",
    find: `if (version < moment) return "went_back";`,
    replace: "",
    seeds: [27],
  },
  {
    name: "what a search reads of Nodes is not told to the drains",
    about: "evictions from a node that a search had shown uncordoned",
    file: "src/keeper/nodes/fresh_nodes.ts",
    find: "for (const { node } of read) if (node !== undefined) seen.learn(node);",
    replace: "",
    seeds: [32391],
  },
  {
    name: "an existing group is refused at the limit",
    about: "no group gets a slot once there are as many groups as may be",
    file: "src/lock/lock_service.ts",
    find: "using place = await this.#places.reserve(group);",
    replace:
      "using place = (await this.groups()).size >= this.#places.limit ? undefined : await this.#places.reserve(group);",
    seeds: [54095],
    incidents: [0],
  },
];
