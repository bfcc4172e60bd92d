/**
 * The part of the observer that judges evictions and deletions: none leaves a process that has been shown the node
 * uncordoned, those of a hold stay within their bound, and a pod is deleted past its budget only where and when the
 * operator allows it.
 *
 * @module
 */

import type { SimulatedProcess } from "./engine/process.ts";
import type { Scheduler } from "./engine/scheduler.ts";
import type { DrainTries } from "./drain_tries.ts";
import type { Grant } from "./grants.ts";
import type { Observer } from "./observer.ts";
import { drainTimeoutMs, type Plan } from "./plan.ts";
import type { ApiCall, ApiServer } from "./world/api.ts";
import type { Stored } from "./world/objects.ts";
import { EARLY_MS, holdsNoting, notedName } from "./yes_check.ts";

/**
 * How many pods of one controller that came after the grant a process may evict in one hold until those that come next
 * may stay.
 */
const MAX_LATE = 3;

/** How long a replica may take to hear of the end of a hold, in milliseconds, while nothing disturbs it. */
const TOLD_MS = 2_000;

/** How many calls a replica may make in so many milliseconds. Its largest fleets here need a tenth of it. */
const MAX_CALLS = 1_000;
const STORM_WINDOW_MS = 10_000;

/** What it works with. */
export interface EvictionWatchOptions {
  readonly scheduler: Scheduler;
  readonly observer: Observer;
  readonly tries: DrainTries;
  readonly api: ApiServer;
  readonly plan: Plan;
  /** The host that runs on a Node. */
  hostOn(node: string): { readonly group: string; readonly id: string } | undefined;
}

/** The newest state of a Node that a process was shown. */
interface Shown {
  readonly version: number;
  readonly isCordoned: boolean;
}

/** See the module. */
export class EvictionWatch {
  readonly #options: EvictionWatchOptions;
  #shown = new WeakMap<SimulatedProcess, Map<string, Shown>>();
  readonly #late = new WeakMap<SimulatedProcess, Map<string, Map<string, number>>>();
  readonly #calls = new WeakMap<SimulatedProcess, { readonly second: number; readonly count: number }>();
  /** The processes of calls under way. */
  readonly #processes = new WeakMap<ApiCall, SimulatedProcess>();
  /** How long a drain may take until it deletes pods, in milliseconds. */
  readonly #timeoutMs: number;

  /** Makes one. */
  constructor(options: EvictionWatchOptions) {
    this.#options = options;
    this.#timeoutMs = drainTimeoutMs(options.plan);
    options.api.onPodCall = (call, verb, key, answer) => this.#podCall(call, verb, key, answer === "accepted");
  }

  /** Forgets what processes were shown: the versions have gone back. */
  forget(): void {
    this.#shown = new WeakMap();
  }

  /** A process was shown an object. */
  shown(process: SimulatedProcess, object: Stored): void {
    if (object?.kind !== "Node" || !object.metadata?.name) return;
    const shown = this.#shownTo(process);
    const version = Number(object.metadata.resourceVersion);
    // A late answer may show what a restore of etcd has undone. Its versions come after those of now.
    if (version > this.#options.api.store.revision) return;
    if (version < (shown.get(object.metadata.name)?.version ?? 0)) return;
    shown.set(object.metadata.name, { version, isCordoned: object.spec?.unschedulable === true });
  }

  /** A call leaves a process. */
  sent(process: SimulatedProcess, call: ApiCall): void {
    this.#processes.set(call, process);
    this.#countCall(process, call);
    const target = targetOf(call);
    if (target === undefined) return;
    const { verb, key, uid } = target;
    const { api, observer } = this.#options;
    const pod = api.store.get("pods", key);
    // A call about an earlier pod of the name leaves this one alone.
    const isMeant = uid === undefined || uid === pod?.metadata.uid;
    const node = isMeant ? pod?.spec.nodeName : undefined;
    if (node !== undefined && this.#shownTo(process).get(node)?.isCordoned === false) {
      observer.violate(
        "eviction after uncordon",
        `${call.user} ${verb}s ${key} although ${node} was shown uncordoned`,
        node,
        key,
      );
    }
  }

  /** A replica that repeats calls without a pause would bring down an API server that is in trouble. */
  #countCall(process: SimulatedProcess, { user }: ApiCall): void {
    const { scheduler, observer } = this.#options;
    const second = Math.floor(scheduler.now / STORM_WINDOW_MS);
    const known = this.#calls.get(process);
    const count = known?.second === second ? known.count + 1 : 1;
    this.#calls.set(process, { second, count });
    if (count === MAX_CALLS) observer.violate("storm", `${user} makes ${count} calls within ten seconds`, user);
  }

  #podCall(call: ApiCall, verb: "evict" | "delete", key: string, isAccepted: boolean): void {
    const { api, observer, scheduler, plan, tries } = this.#options;
    const pod = api.store.get("pods", key);
    const process = this.#processes.get(call);
    if (pod === undefined || process === undefined) return;
    const node = pod.spec.nodeName;
    observer.note(node ?? "-", `${call.user} ${verb}s ${key}${isAccepted ? "" : " in vain"}`);
    const hold = this.#holdOf(node);
    if (verb === "delete") {
      const isLate = hold === undefined
        ? this.#hasJustEnded(node)
        : scheduler.now - hold.at >= this.#timeoutMs - EARLY_MS;
      if (plan.flags["drain-on-timeout"] !== "delete" || !isLate) {
        observer.violate("deletion", `${call.user} deletes ${key} of ${node}`, key, node);
      }
      const triedS = tries.tooShort(process, node);
      if (triedS !== undefined) {
        const message = `${call.user} deletes ${key}, and has tried to drain ${node} for ${triedS} s only`;
        observer.violate("deletion", message, key, node);
      }
      return;
    }
    const controller = pod.metadata.ownerReferences?.[0]?.uid;
    if (!isAccepted || hold === undefined || controller === undefined) return;
    const created = observer.history.pods.versions(pod.metadata.uid)[0]!;
    // The times of objects are whole seconds.
    if (Math.floor(created.at / 1000) <= Math.floor(hold.at / 1000) + 2) return;
    // A Node that registers again under its name is another one.
    const on = (node && api.store.get("nodes", node)?.metadata.uid) ?? node;
    this.#countLate(process, call, `${hold.moment}/${hold.edits} ${on} ${controller}`, pod.metadata.uid, created.at);
  }

  /** A process must count an eviction even where it does not learn what came of it. */
  #countLate(process: SimulatedProcess, call: ApiCall, series: string, uid: string, createdAt: number): void {
    const late = this.#late.get(process) ?? new Map<string, Map<string, number>>();
    this.#late.set(process, late);
    const evicted = late.get(series) ?? new Map<string, number>();
    late.set(series, evicted);
    // The first ones come first.
    const last = [...evicted.values()][MAX_LATE - 1];
    if (!evicted.has(uid)) evicted.set(uid, this.#options.scheduler.now);
    if (last !== undefined && createdAt > last) {
      const [, on, controller] = series.split(" ");
      const message = `${call.user} evicts a pod that ${controller} put back after ${MAX_LATE} evictions`;
      const { api, observer } = this.#options;
      const node = [...api.store.all("nodes")].find(({ metadata }) => metadata.uid === on)?.metadata.name ?? on!;
      observer.violate("too many evictions", message, node);
    }
  }

  /** Whether a hold that noted a Node has ended so lately that a replica may not have heard of it. */
  #hasJustEnded(name: string | undefined): boolean {
    if (name === undefined) return false;
    const { observer: { history }, scheduler } = this.#options;
    for (const group of history.leases.keys) {
      const versions = history.leases.versions(group);
      const isNoted = versions.some(({ fact, revision }, index) => {
        const until = versions[index + 1]?.at;
        if (fact === undefined || until === undefined || until <= scheduler.now - TOLD_MS) return false;
        return fact.holders.some((id) => notedName(history, group, id, revision) === name);
      });
      if (isNoted) return true;
    }
    return false;
  }

  /** The hold that a Node is cordoned for. */
  #holdOf(name: string | undefined): Grant | undefined {
    if (name === undefined) return undefined;
    const { api, observer, plan, hostOn } = this.#options;
    const host = hostOn(name);
    const held = host && observer.grantOf(host.group, host.id);
    // An administrator may have edited the annotation, and the host may have another Node by now.
    if (held !== undefined) return held;
    // Its host may have another Node by now, and the annotation may be edited: the hold that notes it counts.
    for (const { group, id } of holdsNoting(observer, new Set(plan.hosts.map((one) => one.group)), name)) {
      const grant = observer.grantOf(group, id);
      if (grant !== undefined) return grant;
    }
    const text = api.store.get("nodes", name)?.metadata.annotations?.["fleetlock.internal/cordoned-for"];
    if (!text) return undefined;
    let owners: Record<string, { id: string }>;
    try {
      owners = JSON.parse(text);
    } catch {
      // An administrator has edited it.
      return undefined;
    }
    for (const [key, value] of Object.entries(owners)) {
      const grant = observer.grantOf(key.split("/")[1]!, value.id);
      if (grant !== undefined) return grant;
    }
    return undefined;
  }

  #shownTo(process: SimulatedProcess): Map<string, Shown> {
    const shown = this.#shown.get(process) ?? new Map<string, Shown>();
    this.#shown.set(process, shown);
    return shown;
  }
}

/** The pod that a call evicts or deletes, and the UID that it must have; undefined for other calls. */
function targetOf(
  { method, path, body }: ApiCall,
): { verb: "evict" | "delete"; key: string; uid?: string } | undefined {
  const [, namespace, name, eviction] = /^\/api\/v1\/namespaces\/([^/]+)\/pods\/([^/?]+)(\/eviction)?/.exec(path) ?? [];
  if (name === undefined) return undefined;
  const key = `${namespace}/${name}`;
  const options = body === undefined ? {} : JSON.parse(body);
  if (method === "DELETE") return { verb: "delete", key, uid: options.preconditions?.uid };
  if (method !== "POST" || eviction === undefined) return undefined;
  return { verb: "evict", key, uid: options.deleteOptions?.preconditions?.uid };
}
