/**
 * Small faults of the program, as data. Each is honest: somebody could write it, and most were in the program once. The
 * exploration must find each under one of its seeds, which `deno task mutants --search 1-100` finds. A mutant that it
 * does not find means that the model or a check is missing.
 *
 * @module
 */

import { KEPT_SEEDS, type KeptSeed } from "../seeds.ts";

/** A seed, and what is chosen instead of it. */
export type Schedule = Pick<KeptSeed, "seed" | "options" | "incidents">;

/** One change of the program. */
export interface Edit {
  /** The file, as a path from the project's root. */
  readonly file: string;
  /** The text to replace. It is in the file exactly once. */
  readonly find: string;
  /** What replaces it. */
  readonly replace: string;
}

/** One fault. */
export interface Mutant extends Edit {
  /** Its name. */
  readonly name: string;
  /** What goes wrong. */
  readonly about: string;
  /** Further changes, where the program guards against the fault twice. */
  readonly also?: readonly Edit[];
  /** A part of the text of the violation that must show it, which is its kind, a colon and its message. */
  readonly expects: string;
  /** What finds it, the first one first: a change of the program may change what happens under a seed. */
  readonly schedules: readonly Schedule[];
}

/**
 * See the module. Those from "an eviction that waits for its turn" on reverse what the history has fixed.
 *
 * These reversals were tried under 24 to 80 seeds and not found. Each is noticed by the unit tests that are named.
 *
 * Races of a few milliseconds between two replicas, or of a write and a request:
 *
 * - a late release frees the client's next hold, or the cordon is lifted before the release: `lock/drain_flow_test.ts`;
 * - a client that has hung up frees its slot: `lock/presence_test.ts`;
 * - a grant does not look at the group again before its write: `lock/policy_flow_test.ts`;
 * - a hold without a Node is not read again after the search: `lock/used_holds_test.ts` (300558);
 * - a request that waited drains once more for a hold that has ended: `keeper/being_deleted_test.ts` (400021);
 * - a reading that is older than a second counts, which the search and the write take only under load:
 *   `lock/yes_flow_test.ts`; and the Node is not read again after a slow search: `keeper/hold_proof_test.ts` (10088);
 * - a cordon is lifted from a version that a restore of etcd has given to an administrator's cordon:
 *   `keeper/nodes/node_uncordon_test.ts` (200043);
 * - of two Nodes of a host of which none is ready, the noted one counts: `keeper/nodes/node_choice_test.ts` (20372).
 *
 * What something else makes good before a promise is broken:
 *
 * - an eviction's 404, which may be about its budget, ends the wait for the pod: the proof lists the pods once more.
 *   `keeper/drain/eviction_queue_test.ts`;
 * - a cache brings a deleted Lease back: only refusals rest on it, until the watch ends after some minutes.
 *   `lock/group_view_test.ts`;
 * - evictions without the pod's UID: `keeper/drain/pod_calls_test.ts`;
 * - an eviction whose answer is lost does not count: `keeper/drain/eviction_queue_test.ts`;
 * - the kubelet's first renewal is enough: `keeper/nodes/node_return_test.ts`;
 * - a silent watch or connection is never given up, though it ends after some minutes anyway:
 *   `kubernetes/watch_test.ts` and `kubernetes/connection_pool_test.ts`;
 * - nobody awaits the end of a drain that fails: `keeper/drain/drain_test.ts`.
 */
export const MUTANTS: readonly Mutant[] = [
  {
    name: "one holder too many",
    about: "a group gets one more holder than it has slots",
    file: "src/lock/semaphore.ts",
    find: `if (state.holders.length >= slots) return { kind: "full" };`,
    replace: `if (state.holders.length > slots) return { kind: "full" };`,
    expects: "as holder number",
    schedules: [{ seed: 1 }],
  },
  {
    name: "writes are not conditional",
    about: "the last of two replicas that grant at once wins, and both say yes",
    file: "src/stores/lease/leases.ts",
    find: "const parameters = { name: body.metadata!.name!, namespace: this.namespace, body };",
    replace: `const last = await this.get(body.metadata!.name!, signal);
    const metadata = { ...body.metadata, resourceVersion: last?.metadata?.resourceVersion };
    const parameters = { name: body.metadata!.name!, namespace: this.namespace, body: { ...body, metadata } };`,
    expects: "wrong grant: ",
    schedules: [{ seed: 13 }],
  },
  {
    name: "grant on a Lease that is being deleted",
    about: "a grant and its yes rest on a Lease that ends in a moment",
    file: "src/stores/lease/store.ts",
    find: "const ending = deletionTimestamp ?",
    replace: "const ending = deletionTimestamp === null ?",
    expects: "got a yes on a Lease that is being deleted",
    schedules: [{ seed: 5 }],
  },
  {
    name: "yes on an uncordoned node",
    about: "pods may come to the node between the proof and the reboot",
    file: "src/lock/yes.ts",
    find: `if (!node.unschedulable) return { kind: "uncordoned" };`,
    replace: "",
    expects: "is not cordoned",
    schedules: [{ seed: 11 }],
  },
  {
    name: "the proof trusts the drain",
    about: "the list of pods before the yes is not looked at",
    file: "src/keeper/drain/proof.ts",
    find: "pods: pods.map((pod) => seenPod(pod, policy)),",
    replace: "pods: pods.slice(0, 0).map((pod) => seenPod(pod, policy)),",
    expects: "is left on",
    schedules: [{ seed: 57 }],
  },
  {
    name: "pods that tolerate the cordon always stay",
    about: "a pod that was there before the grant counts as put back",
    file: "src/lock/yes.ts",
    find: "if (pod.toleratesCordon && isAfter(pod.createdAt, grantedAt))",
    replace: "if (pod.toleratesCordon)",
    expects: "is left on",
    schedules: [{ seed: 2 }],
  },
  {
    name: "one eviction exhausts a controller",
    about: "a pod that was put back once may stay",
    file: "src/lock/yes.ts",
    find: "export const MAX_EVICTIONS = 3;",
    replace: "export const MAX_EVICTIONS = 1;",
    expects: "is left on",
    schedules: [{ seed: 4 }],
  },
  {
    name: "endless evictions",
    about: "a controller that puts its pods back fights with the drain for ever",
    file: "src/lock/yes.ts",
    find: "export const MAX_EVICTIONS = 3;",
    replace: "export const MAX_EVICTIONS = 300;",
    expects: "too many evictions: ",
    schedules: [{ seed: 4 }],
  },
  {
    name: "a dead kubelet's pods are gone at once",
    about: "the grace period of a pod whose kubelet does not answer is not waited for",
    file: "src/lock/yes.ts",
    find: "if (isDead && isAfter(now, pod.graceEndsAt, DEAD_KUBELET_MS))",
    replace: "if (isDead && pod.graceEndsAt !== undefined)",
    expects: "is left on",
    schedules: [{ seed: 6 }],
  },
  {
    name: "back as soon as the node is ready",
    about: "a Node that looks as before the reboot counts as back",
    file: "src/keeper/nodes/node_return.ts",
    find: "if (ready.some((node) => !mayBeSameBoot(node))) return",
    replace: "if (ready.length > 0) return",
    expects: "early release: ",
    schedules: [{ seed: 9 }],
  },
  {
    name: "evictions go on after an uncordon",
    about: "a drain looks at the cordon once",
    file: "src/keeper/drain/cordon_guard.ts",
    find: "return !this.isGone && seen?.uid === this.#options.task.uid && seen.unschedulable;",
    replace: "return !this.isGone && seen?.uid === this.#options.task.uid;",
    expects: "eviction after uncordon: ",
    schedules: [{ seed: 6 }],
  },
  {
    name: "budgets are overridden at once",
    about: "pods are deleted past their budgets before the time-out",
    file: "src/keeper/drain/next_step.ts",
    find: "return isLate ? timeOut(situation, policy) : undefined;",
    replace: "return timeOut(situation, policy) ?? (isLate ? undefined : undefined);",
    expects: "deletion: ",
    schedules: [{ seed: 6 }],
  },
  {
    name: "watches are opened again without a pause",
    about: "a hot loop against an API server that fails",
    file: "src/kubernetes/watch.ts",
    find: "await clock.sleep(pauseAfter(error, failures, options), signal).catch(() => {});",
    replace: "pauseAfter(error, failures, options);",
    expects: "storm: ",
    schedules: [{ seed: 1 }],
  },
  {
    name: "stale cordons are not cleaned up",
    about: "what a killed replica or an administrator's edit leaves behind stays",
    file: "src/keeper/cordon_repair.ts",
    find: "for (const owner of ours) if (!(await clientHolds(owner))) gone.add(owner.group);",
    replace: "for (const owner of ours) if (!(await clientHolds(owner))) gone.delete(owner.group);",
    expects: "is still cordoned for",
    schedules: [{ seed: 2 }],
  },
  {
    name: "our annotation goes and the cordon stays",
    about: "nobody uncordons a node whose release was answered",
    file: "src/keeper/nodes/cordon.ts",
    find: "return left.length === 0 ? { unschedulable: null, cordon: null }",
    replace: "return left.length === 0 ? { cordon: null }",
    expects: "is still cordoned",
    schedules: [{ seed: 1 }],
  },
  {
    name: "a drain does not end its watch",
    about: "a drain that has emptied its node waits for its watch for ever",
    file: "src/keeper/drain/pods_on_node.ts",
    find: "AbortSignal.any([options.signal, this.#ended.signal]));",
    replace: "AbortSignal.any([options.signal]));",
    expects: "got no turn in time",
    schedules: [{ seed: 1 }],
  },
  {
    name: "the watch tells where else a host runs",
    about: "a yes while the host has registered another Node, which a watch that lags does not show",
    file: "src/keeper/hold_proof.ts",
    find: "const found = await nodes.search(hold.id);",
    replace: "const found = { nodes: nodes.peekById(hold.id), readAt: Infinity };",
    expects: "is not cordoned",
    schedules: [kept(43)],
  },
  {
    name: "an answer counts although the watch is ahead of it",
    about: "evictions from a node that the watch has shown uncordoned",
    file: "src/keeper/drain/cordon_guard.ts",
    find: `      case "already":
        return this.#is("cordoned", seen);`,
    replace: `      case "already":
        return this.#is("cordoned", this.#seen);`,
    expects: "eviction after uncordon: ",
    schedules: [kept(101)],
  },
  {
    name: "hosts yield after their yes",
    about: "a pause frees the slot of a host that may be rebooting",
    file: "src/lock/yields.ts",
    find: "if (pause?.drains !== true || mayHaveHadYes(holder)) return undefined;",
    replace: "if (pause?.drains !== true) return undefined;",
    also: [{
      file: "src/lock/holds.ts",
      find: "if (mayHaveHadYes(holder) || !(isPaused || isTimedOut)) return STAYS;",
      replace: "if (!(isPaused || isTimedOut)) return STAYS;",
    }],
    expects: "wrong yield: ",
    schedules: [{ seed: 44 }],
  },
  {
    name: "a pause holds nobody back",
    about: "a slot of a paused group is granted",
    file: "src/policies/rules.ts",
    find: `  { name: "paused", judge: paused },`,
    replace: "",
    expects: "is granted a slot while the group is paused",
    schedules: [{ seed: 5 }],
  },
  {
    name: "a write drops the pause",
    about: "the first write to a group's Lease takes away what an administrator has noted",
    file: "src/stores/lease/codec.ts",
    find: "[PAUSED_ANNOTATION]: toText(written.paused, { value: before.paused, text: paused }),",
    replace:
      "[PAUSED_ANNOTATION]: paused === undefined ? toText(written.paused, { value: before.paused, text: paused }) : undefined,",
    expects: "changes the pause",
    schedules: [{ seed: 5 }],
  },
  {
    name: "a Node that is gone for a moment frees the slot",
    about: "the slot of a host that reboots is freed without a grace period, while it may still come back",
    file: "src/lock/gone_nodes.ts",
    find: "return began + grace - this.#options.clock.monotonic();",
    replace: "return began - this.#options.clock.monotonic();",
    expects: "early release: ",
    schedules: [{ seed: 7 }],
  },
  {
    name: "Nodes are listed from a cache",
    about: "what proves that no other Node has the host's id may be from before the request",
    file: "src/kubernetes/list_pages.ts",
    find: "const options = { path, query, limit: VERSIONS_PER_PAGE, metadataOnly: true };",
    replace:
      `const options = { path, query: { ...query, resourceVersion: "0" }, limit: VERSIONS_PER_PAGE, metadataOnly: true };`,
    expects: "stale read: ",
    schedules: [{ seed: 1 }],
  },
  {
    name: "the watch need not reach the version of the Nodes",
    about: "a yes while the host has joined again as another Node, which a watch that has gone silent does not show",
    file: "src/keeper/nodes/fresh_nodes.ts",
    find: `if (!isReached()) return "late";`,
    replace: `if (!seen.isSynced) return "late";`,
    expects: "is not cordoned",
    schedules: [{ seed: 3 }],
  },
  {
    name: "a version of the Nodes that went back is reached",
    about: "a yes by what a watch has seen before etcd was restored from a backup",
    file: "src/keeper/nodes/fresh_nodes.ts",
    find: `if (version < moment) return "went_back";`,
    replace: "",
    expects: "unproven yes: ",
    schedules: [{ seed: 27 }],
  },
  {
    name: "what a search reads of Nodes is not told to the drains",
    about: "evictions from a node that a search had shown uncordoned",
    file: "src/keeper/nodes/fresh_nodes.ts",
    find: "for (const { node } of read) if (node !== undefined) seen.learn(node);",
    replace: "",
    expects: "eviction after uncordon: ",
    schedules: [kept(32391)],
  },
  {
    name: "an eviction that waits for its turn leaves whatever the watch shows",
    about: "evictions from a node that the watch has shown uncordoned while they waited for others",
    file: "src/keeper/drain/emptying.ts",
    find: "const mayLeave = () => guard.isUnchanged;",
    replace: "const mayLeave = () => guard !== undefined;",
    expects: "eviction after uncordon: ",
    schedules: [kept(41187)],
  },
  {
    name: "what drains remember is of the hold, whichever its Node is",
    about: "pods of the host's next Node stay, because others were evicted from an earlier one",
    file: "src/keeper/drains.ts",
    find: "const node = hold.nodes.get(uid) ?? {",
    replace: "const node = hold.nodes.values().next().value ?? {",
    expects: "is left on",
    schedules: [kept(32504)],
  },
  {
    name: "the noted Node tells of the return although it has lost the id",
    about: "a release by a Node that has become another host's, while the client's own one is not back",
    file: "src/keeper/nodes/return_wait.ts",
    find: "const hasId = noted?.ids.includes(comparableId(hold.id)) === true;",
    replace: "const hasId = noted !== undefined;",
    expects: "early release: ",
    schedules: [kept(32616)],
  },
  {
    name: "what the watch has reached before the question proves",
    about: "a yes by a version of the Nodes that is of another past, since etcd was restored from a backup",
    file: "src/keeper/nodes/fresh_nodes.ts",
    find: "const target = version > moment ? version : version + 1n;",
    replace: "const target = version;",
    expects: "is not cordoned",
    schedules: [kept(30001)],
  },
  {
    name: "yes while the Node is being deleted",
    about: "the host's next Node is not cordoned",
    file: "src/lock/yes.ts",
    find: `if (node.deleting) return { kind: "node_ending" };`,
    replace: "",
    expects: "is being deleted, and the next one would not be cordoned",
    schedules: [{ seed: 20 }],
  },
  {
    name: "a Node without the id ends the search for others",
    about: "a yes on a Node that has lost the client's id, while the client runs on another one",
    file: "src/keeper/hold_proof.ts",
    find: "const found = await nodes.search(hold.id);",
    replace: `const hasId = node.ids.includes(comparableId(hold.id));
  const found = hasId ? await nodes.search(hold.id) : { nodes: [], readAt: Infinity };`,
    expects: "is not cordoned",
    schedules: [{ seed: 15 }],
  },
  {
    name: "the search takes what the watch does not show for gone",
    about: "a yes without a drain for a host whose Node has joined right before it asked",
    file: "src/keeper/nodes/node_watch.ts",
    find: "const found = seen.length > 0 ? {",
    replace: "const found = this.#synced ? {",
    expects: "is not cordoned",
    schedules: [{ seed: 15 }],
  },
  {
    name: "proofs do not age",
    about: "a replica that stopped after its reads says yes by them",
    file: "src/lock/yes.ts",
    find: "export const PROOF_TTL_MS = 15_000;",
    replace: "export const PROOF_TTL_MS = 15_000_000;",
    also: [{
      file: "src/lock/yes.ts",
      find: "export const FRESH_MS = 1_000;",
      replace: "export const FRESH_MS = 1_000_000;",
    }],
    expects: "is not cordoned",
    schedules: [{ seed: 15 }],
  },
  {
    name: "a hold is not read again after a slow write",
    about: "a yes for a slot that somebody has freed while the answer to the write was on its way",
    file: "src/lock/prover.ts",
    find: `let isDue = last.host.kind === "no_node" || clock.monotonic() - last.hold.written.began > SLOW_WRITE_MS;`,
    replace: `let isDue = last.host.kind === "no_node";`,
    also: [{
      file: "src/lock/prover.ts",
      find: "if (!isDue && (seen === disproved || shows(seen, last.hold))) {",
      replace: "if (!isDue) {",
    }],
    expects: "got a yes: the Lease d",
    schedules: [{ seed: 629 }, { seed: 523 }],
  },
  {
    name: "a search counts from its end",
    about: "a yes without a drain for a host that joined while the answer to the search was on its way",
    file: "src/keeper/nodes/fresh_nodes.ts",
    find: "if (nodes !== undefined) return { nodes, readAt };",
    replace: "if (nodes !== undefined) return { nodes, readAt: this.#clock.monotonic() };",
    also: [{
      file: "src/lock/prover.ts",
      find: "keeper?.showsNode(last.hold.holder.id)",
      replace: "keeper === undefined",
    }],
    expects: "a yes without a Node, and was shown",
    schedules: [{ seed: 19 }],
  },
  {
    name: "what the watch shows does not count beside a slow search",
    about: "a yes without a drain for a host that joined during the second search, although a watch has shown its Node",
    file: "src/lock/prover.ts",
    find: "keeper?.showsNode(last.hold.holder.id)",
    replace: "keeper === undefined",
    expects: "a yes without a Node, and was shown",
    schedules: [{ seed: 19 }],
  },
  {
    name: "an administrator's cordon counts as ours",
    about: "a node that was uncordoned and cordoned again by others is uncordoned by us",
    file: "src/keeper/nodes/node.ts",
    find: "return manager !== FIELD_MANAGER && annotations",
    replace: `return manager === "" && annotations`,
    expects: "cordon lifted: ",
    schedules: [{ seed: 8 }],
  },
  {
    name: "a slot is freed before its host's Node is there again",
    about:
      "where Nodes are deleted while their hosts are down, the next host reboots before the kubelet has registered",
    file: "src/keeper/nodes/node_return.ts",
    find: `noted !== undefined || isNodeUnreadable ? "absent" : "ready"`,
    replace: `noted !== undefined || isNodeUnreadable ? "ready" : "ready"`,
    expects: "was freed while its Node did not exist",
    schedules: [kept(2154)],
  },
  {
    name: "an existing group is refused at the limit",
    about: "no group gets a slot once there are as many groups as may be",
    file: "src/lock/lock_service.ts",
    find: "using place = await this.#places.reserve(group);",
    replace:
      "using place = (await this.groups()).size >= this.#places.limit ? undefined : await this.#places.reserve(group);",
    expects: "got no turn in time",
    schedules: [{ seed: 54095, incidents: [0] }],
  },
  {
    name: "past the time-out, proceed waives everything",
    about:
      "a yes for a host that has joined as another Node, or on a Node that is not cordoned any more, since time is over",
    file: "src/keeper/node_keeper.ts",
    find: `isTimedOut = end.kind === "proceed";`,
    replace: `if (end.kind === "proceed") {
          const read = await this.#calls.getNode(noted.name);
          const node = read?.uid === noted.uid ? seenIdentityOf(read) : identityOf(noted);
          return { kind: "drained", node, host: { kind: "not_drained" } };
        }`,
    also: [{
      file: "src/keeper/node_keeper.ts",
      find: `import type { NodeView } from "./nodes/node.ts";`,
      replace: `import { identityOf, type NodeView, seenIdentityOf } from "./nodes/node.ts";`,
    }],
    expects: "unproven yes: ",
    schedules: [{ seed: 178 }, { seed: 237 }, { seed: 250 }],
  },
  {
    name: "a time-out counts from the grant, whoever drained",
    about: "after an outage, pods are deleted or passed over although this process has not tried to drain the Node",
    file: "src/keeper/drain/drain.ts",
    find: `onTimeout === "proceed" || onTimeout === "delete" ? Math.min(timeoutMs, OWN_MS) : 0;`,
    replace: "0;",
    expects: "has tried to drain",
    schedules: [{ seed: 141 }, { seed: 146 }, { seed: 165 }],
  },
  {
    name: "a drain's own time begins before it may set the cordon",
    about: "pods are passed over milliseconds after their first eviction, since a right was missing for minutes",
    file: "src/keeper/drain/drain.ts",
    find: "const began = task.memory.beganAt ?? clock.monotonic();",
    replace: "const began = task.memory.beganAt ??= clock.monotonic();",
    expects: "has tried to drain",
    schedules: [kept(1330)],
  },
  {
    name: "pods are deleted by a hold that nobody has read again",
    about: "a replica that was paused until after the time-out deletes pods although the hold is over",
    file: "src/keeper/drain/emptying.ts",
    find: `if (!(await retry.persist(() => holdExists(task.owner)))) return { kind: "not_held" };`,
    replace: "",
    expects: "deletion: ",
    schedules: [kept(1029)],
  },
  {
    name: "each drain waits for the same volumes again",
    about: "where replies are due before the wait is over, nobody hears of its end, and a host never gets its yes",
    file: "src/keeper/drain/drain.ts",
    find: "for (const name of left) memory.stillAttached.add(name);",
    replace: "",
    expects: "still attached to it",
    schedules: [{ seed: 215 }, { seed: 161 }],
  },
];

/** The schedule that is kept of a seed. */
function kept(seed: number): Schedule {
  const known = KEPT_SEEDS.find((one) => one.seed === seed);
  if (known === undefined) throw new Error(`the seed ${seed} is not kept`);
  return known;
}
