/**
 * Collects what a yes must know of a hold's node. It decides nothing: the definition of a yes is in `lock/yes.ts`.
 *
 * @module
 */

import type { ServerClock } from "../../kubernetes/server_clock.ts";
import type { HeldNode } from "../../lock/semaphore.ts";
import type { NodeEvidence, SeenPod } from "../../lock/yes.ts";
import type { NodeView } from "../nodes/node.ts";
import type { NodeCalls } from "../nodes/node_calls.ts";
import type { PodCalls } from "./pod_calls.ts";
import { judge, type PodPolicy, type PodView } from "./pods.ts";

/** What {@link collectEvidence} works with. */
export interface ProofOptions {
  /** Reads the Node. */
  readonly nodes: Pick<NodeCalls, "getNode">;
  /** Lists the pods. */
  readonly pods: Pick<PodCalls, "listPods">;
  /** Shows the API server's time. */
  readonly clock: Pick<ServerClock, "now" | "isFresh">;
  /** Which pods stay. */
  readonly policy: PodPolicy;
  /** See {@link NodeEvidence.exhausted}. */
  readonly exhausted: ReadonlyMap<string, number>;
}

/** The evidence, and the Node and the pods that it was made from. */
export interface Proof {
  /** For the definition of a yes. */
  readonly evidence: NodeEvidence;
  /** The Node of the noted name; undefined where there is none. */
  readonly node?: NodeView;
  /** The pods bound to that name. */
  readonly pods: readonly PodView[];
}

/** How recently the API server must have told its time for anything to be permitted by it, in milliseconds. */
const TIME_FRESH_MS = 60_000;

/** The API server's time, in milliseconds since the epoch; undefined where it has not told it lately. */
export function knownTime(clock: Pick<ServerClock, "now" | "isFresh">): number | undefined {
  return clock.isFresh(TIME_FRESH_MS) ? clock.now() : undefined;
}

/**
 * Reads the Node on which a hold's drain began (get nodes), then the pods bound to its name (list pods). Both reads
 * begin after the call.
 *
 * @param noted The Node as noted with the hold.
 * @param grantedAt When the slot was granted, in milliseconds since the epoch by the API server's clock.
 * @throws {UnavailableError} One of the reads failed.
 */
export async function collectEvidence(
  noted: Pick<HeldNode, "name" | "uid">,
  grantedAt: number,
  { nodes, pods: podCalls, clock, policy, exhausted }: ProofOptions,
  signal?: AbortSignal,
): Promise<Proof> {
  const node = await nodes.getNode(noted.name, signal);
  const pods = await podCalls.listPods(noted.name, signal);
  return {
    evidence: {
      noted: { name: noted.name, uid: noted.uid },
      ...(node && { node }),
      pods: pods.map((pod) => seenPod(pod, policy)),
      grantedAt,
      now: knownTime(clock),
      exhausted,
    },
    ...(node && { node }),
    pods,
  };
}

/** Takes from a pod what the definition of a yes asks for. */
export function seenPod(pod: PodView, policy: PodPolicy): SeenPod {
  const verdict = judge(pod, policy);
  return {
    namespace: pod.namespace,
    name: pod.name,
    ...(verdict.kind === "skip" && { exempt: verdict.why }),
    createdAt: pod.createdAt,
    boundAt: pod.boundAt,
    toleratesCordon: pod.toleratesCordon,
    controller: pod.controllerUid,
    graceEndsAt: pod.graceEndsAt,
  };
}
