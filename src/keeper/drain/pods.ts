/**
 * The pure decisions about a node's pods: which of them a drain evicts, which ones stay, which ones it must not touch,
 * and what an answer to an eviction means. It makes no calls and keeps no state.
 *
 * @module
 */

import type { V1Pod } from "@kubernetes/client-node/dist/gen/models/V1Pod.js";
import type { V1Toleration } from "@kubernetes/client-node/dist/gen/models/V1Toleration.js";
import { CallRefusedError, UnavailableError } from "../../lock/errors.ts";
import type { PodLeft } from "../../lock/node_keeper.ts";
import { ForbiddenError, KubernetesError, WithdrawnError } from "../../kubernetes/errors.ts";
import { timeOf } from "../../kubernetes/micro_time.ts";
import type { Labels, LabelSelector } from "../../kubernetes/label_selector.ts";

/** A PersistentVolumeClaim. */
export interface Claim {
  /** Its namespace. */
  readonly namespace: string;
  /** Its name. */
  readonly name: string;
}

/** What a drain needs to know of a pod. */
export interface PodView {
  /** Its namespace. */
  readonly namespace: string;
  /** Its name. */
  readonly name: string;
  /** Distinguishes a pod from an earlier or later one of the same name. */
  readonly uid: string;
  /** Its labels. */
  readonly labels: Labels;
  /** Whether it is being deleted. */
  readonly terminating: boolean;
  /**
   * When its grace period ends, in milliseconds since the epoch by the API server's clock, where it is being deleted.
   */
  readonly graceEndsAt?: number;
  /** When it was created, in milliseconds since the epoch by the API server's clock, exact to the second. */
  readonly createdAt?: number;
  /** When it was bound to its node, in milliseconds since the epoch by the API server's clock, exact to the second. */
  readonly boundAt?: number;
  /** Whether it tolerates the taint of a cordon. */
  readonly toleratesCordon: boolean;
  /** Whether all its containers have terminated for good (phase Succeeded or Failed). */
  readonly finished: boolean;
  /** Whether it mirrors a static pod, which no API call can stop. */
  readonly mirror: boolean;
  /** The kind of its controller, such as "ReplicaSet"; undefined where it has none. */
  readonly controller?: string;
  /** The UID of its controller; undefined where it has none. */
  readonly controllerUid?: string;
  /** Whether it has an emptyDir volume, whose data is lost with the pod. */
  readonly emptyDir: boolean;
  /** The claims of its volumes. */
  readonly claims: readonly Claim[];
  /** The finalizers that keep the object after its containers have terminated. */
  readonly finalizers: readonly string[];
}

/** What a drain does about pods that some operators want to be careful with. */
export type CarePolicy = "evict" | "refuse";

/** Which pods a drain evicts. */
export interface PodPolicy {
  /** What to do about a pod without a controller, which nothing starts again. @default {"evict"} */
  readonly unmanaged?: CarePolicy;
  /** What to do about a pod with an emptyDir volume, whose data is lost. @default {"evict"} */
  readonly emptyDir?: CarePolicy;
  /** Selects further pods that stay. @default none */
  readonly skip?: LabelSelector;
  /** The pod that this process runs in. It stays, so that somebody is there to say yes. */
  readonly self?: { readonly namespace: string; readonly name: string };
}

/** What a drain does about a pod. */
export type Verdict =
  /** It is evicted. */
  | { readonly kind: "evict" }
  /** It is being deleted already: the drain waits for it. */
  | { readonly kind: "wait" }
  /** It stays. */
  | { readonly kind: "skip"; readonly why: "finished" | "mirror" | "daemon_set" | "selector" | "self" }
  /** The operator does not want it evicted, so the drain fails while it is there. */
  | { readonly kind: "refuse"; readonly reason: string };

/** The answer to an eviction (or, past the time-out, to a deletion). */
export type EvictionAnswer =
  /** The pod is being deleted (201; 200 or 202 to a deletion). */
  | { readonly kind: "accepted" }
  /** There is no pod of that name any more, or its budget was deleted during the call (404). */
  | { readonly kind: "gone" }
  /** There is a pod of that name, but with another UID (409). */
  | { readonly kind: "replaced" }
  /** A disruption budget does not allow it now (429). */
  | { readonly kind: "blocked"; readonly budget?: string; readonly reason: string; readonly retryAfterMs?: number }
  /** Several budgets cover the pod, which the API does not support (500). Only a person can mend that. */
  | { readonly kind: "several_budgets"; readonly reason: string }
  /** Its namespace is being deleted (403), and the pod with it. */
  | { readonly kind: "namespace_ending"; readonly reason: string }
  /** Something else went wrong. Another try may succeed. `isUnsure`: the pod may have been evicted all the same. */
  | { readonly kind: "failed"; readonly reason: string; readonly retryAfterMs?: number; readonly isUnsure?: boolean };

/** The annotation by which the kubelet marks the mirror of a static pod. */
const MIRROR_ANNOTATION = "kubernetes.io/config.mirror";

/** Takes from a pod what a drain needs. */
export function viewPod(pod: V1Pod): PodView {
  const metadata = pod.metadata ?? {};
  const phase = pod.status?.phase;
  const controller = metadata.ownerReferences?.find((owner) => owner.controller);
  const scheduled = pod.status?.conditions?.find(({ type }) => type === "PodScheduled");
  return {
    namespace: metadata.namespace ?? "",
    name: metadata.name ?? "",
    uid: metadata.uid ?? "",
    labels: metadata.labels,
    terminating: metadata.deletionTimestamp !== undefined && metadata.deletionTimestamp !== null,
    graceEndsAt: timeOf(metadata.deletionTimestamp),
    createdAt: timeOf(metadata.creationTimestamp),
    // The API server sets this condition in the call that binds the pod.
    boundAt: timeOf(scheduled?.status === "True" ? scheduled.lastTransitionTime : undefined),
    toleratesCordon: pod.spec?.tolerations?.some(toleratesCordon) ?? false,
    finished: phase === "Succeeded" || phase === "Failed",
    mirror: metadata.annotations?.[MIRROR_ANNOTATION] !== undefined,
    controller: controller?.kind,
    controllerUid: controller?.uid,
    emptyDir: pod.spec?.volumes?.some((volume) => volume.emptyDir !== undefined && volume.emptyDir !== null) ?? false,
    claims: (pod.spec?.volumes ?? []).flatMap(({ name, persistentVolumeClaim, ephemeral }) => {
      // The claim of a generic ephemeral volume is named after the pod and the volume.
      const claim = persistentVolumeClaim?.claimName ?? (ephemeral ? `${metadata.name}-${name}` : undefined);
      return claim === undefined ? [] : [{ namespace: metadata.namespace ?? "", name: claim }];
    }),
    finalizers: metadata.finalizers ?? [],
  };
}

/** The taint that a cordon puts on a node. */
const CORDON_TAINT = "node.kubernetes.io/unschedulable";

/**
 * Whether a toleration is one of the taint of a cordon, `node.kubernetes.io/unschedulable:NoSchedule` without a value.
 *
 * @see https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/
 */
function toleratesCordon({ key, operator, value, effect }: V1Toleration): boolean {
  if (effect && effect !== "NoSchedule") return false;
  if (operator === "Exists") return !key || key === CORDON_TAINT;
  return key === CORDON_TAINT && !value;
}

/**
 * Decides about one pod from what is seen of it alone, so that every replica and every resumed drain decides the same.
 * A node is empty when only pods are left that this function skips.
 *
 * A drain waits for a pod that is being deleted even if its containers have terminated: its volumes are in use until
 * the object is gone.
 */
export function judge(pod: PodView, policy: PodPolicy = {}): Verdict {
  if (pod.mirror) return { kind: "skip", why: "mirror" };
  if (pod.controller === "DaemonSet") return { kind: "skip", why: "daemon_set" };
  if (policy.skip?.(pod.labels)) return { kind: "skip", why: "selector" };
  const { self } = policy;
  if (self?.name === pod.name && self.namespace === pod.namespace) return { kind: "skip", why: "self" };
  if (pod.terminating) return { kind: "wait" };
  if (pod.finished) return { kind: "skip", why: "finished" };
  if (pod.controller === undefined && policy.unmanaged === "refuse") {
    return { kind: "refuse", reason: "it has no controller that would start it again (--drain-unmanaged is refuse)" };
  }
  if (pod.emptyDir && policy.emptyDir === "refuse") {
    return { kind: "refuse", reason: "its emptyDir volume's data would be lost (--drain-empty-dir is refuse)" };
  }
  return { kind: "evict" };
}

/** Names the pods that the operator does not want evicted. While there is one, no drain can succeed. */
export function refusedPods(pods: readonly PodView[], policy: PodPolicy = {}): PodLeft[] {
  return pods.flatMap((pod) => {
    const verdict = judge(pod, policy);
    return verdict.kind === "refuse" ? [{ namespace: pod.namespace, name: pod.name, reason: verdict.reason }] : [];
  });
}

/** What paces the evictions of a pod that came late: its controller, or the namespace where it has none. */
export function paceOf(pod: Pick<PodView, "controllerUid" | "namespace">): string {
  return pod.controllerUid ?? `namespace ${pod.namespace}`;
}

/** Whether a pod stays and keeps using its volumes when the node is empty. */
export function staysInUse(pod: PodView, policy: PodPolicy): boolean {
  const verdict = judge(pod, policy);
  return verdict.kind === "skip" && verdict.why !== "finished";
}

/**
 * Says what the error of an eviction or a deletion means.
 *
 * @throws The error itself, where another try cannot help ({@link ForbiddenError}) or where it does not come from the
 * API.
 *
 * @see https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/#how-api-initiated-eviction-works
 */
export function answerOf(error: unknown): EvictionAnswer {
  if (error instanceof ForbiddenError) throw error;
  if (error instanceof WithdrawnError) return { kind: "failed", reason: "its eviction has not begun" };
  if (error instanceof CallRefusedError) return refusedFor(error.publicMessage ?? error.message);
  // What a page that is not the API server's says about the pod proves nothing. Only faults come with a cause.
  const cause = error instanceof UnavailableError ? error.cause : undefined;
  const isFault = cause instanceof KubernetesError && (cause.status === 429 || cause.status >= 500);
  const said = error instanceof KubernetesError ? error : isFault ? cause : undefined;
  if (said === undefined) {
    if (!(error instanceof UnavailableError)) throw error;
    const reason = "the API server does not answer";
    return { kind: "failed", reason, retryAfterMs: error.retryAfterMs, isUnsure: true };
  }
  const { status, message, causes, causeMessages, retryAfterMs } = said;
  switch (status) {
    case 404:
      return { kind: "gone" };
    case 409:
      if (/\buid\b/i.test(message)) return { kind: "replaced" };
      break;
    case 403:
      if (causes.includes("NamespaceTerminating")) {
        return { kind: "namespace_ending", reason: "its namespace is being deleted" };
      }
      break;
    case 429:
      if (causes.includes("DisruptionBudget")) return blocked(causeMessages, retryAfterMs);
      break;
    case 500:
      if (/more than one PodDisruptionBudget/i.test(message)) {
        return {
          kind: "several_budgets",
          reason: "several PodDisruptionBudgets cover it, which Kubernetes does not support: leave it one",
        };
      }
      break;
  }
  const refused = refusedFor(message, retryAfterMs);
  // A call that took effect may be answered by a time-out of the store or by a proxy.
  return status >= 500 ? { ...refused, isUnsure: true } : refused;
}

/** The API server's own sentence says what is wrong, such as which admission policy forbids it. */
function refusedFor(sentence: string, retryAfterMs?: number): Extract<EvictionAnswer, { kind: "failed" }> {
  return { kind: "failed", reason: `the API server refuses to evict it: ${sentence.slice(0, 200)}`, retryAfterMs };
}

/** The API server names the budget only in the message of the cause. */
function blocked(messages: readonly string[], retryAfterMs?: number): EvictionAnswer {
  const [, budget, needs] = /disruption budget "?([^\s"]+)"?(?: (needs .*))?/i.exec(messages.join(" ")) ?? [];
  const details = needs ? ` (it ${needs.replace(/\.$/, "")})` : "";
  const reason = budget === undefined
    ? "its PodDisruptionBudget allows no disruption now"
    : `its PodDisruptionBudget "${budget}" allows no disruption now${details}`;
  return { kind: "blocked", budget, reason, retryAfterMs };
}
