/**
 * Collects what a yes must know of a hold's node. It decides nothing: the definition of a yes is in `lock/yes.ts`.
 *
 * @module
 */

import type { ServerClock } from "../../kubernetes/server_clock.ts";
import type { HeldNode } from "../../lock/semaphore.ts";
import type { NodeEvidence, SeenPod } from "../../lock/yes.ts";
import type { NodeView } from "../nodes/node.ts";
import type { PodCalls } from "./pod_calls.ts";
import { judge, type PodPolicy, type PodView } from "./pods.ts";

/** What {@link collectEvidence} works with. */
export interface ProofOptions {
  /** Lists the pods. */
  readonly pods: Pick<PodCalls, "listPods">;
  /** Shows the API server's time. */
  readonly clock: Pick<ServerClock, "now" | "isFresh">;
  /** Which pods stay. */
  readonly policy: PodPolicy;
  /** See {@link NodeEvidence.exhausted}. */
  readonly exhausted: ReadonlyMap<string, number>;
  /** See {@link NodeEvidence.isTimedOut}. */
  readonly isTimedOut?: boolean;
}

/** How recently the API server must have told its time for anything to be permitted by it, in milliseconds. */
const TIME_FRESH_MS = 60_000;

/** The API server's time, in milliseconds since the epoch; undefined where it has not told it lately. */
export function knownTime(clock: Pick<ServerClock, "now" | "isFresh">): number | undefined {
  return clock.isFresh(TIME_FRESH_MS) ? clock.now() : undefined;
}

/**
 * Lists the pods bound to the name of the Node on which a hold's drain began (list pods). The list begins after the
 * call.
 *
 * @param noted The Node as noted with the hold.
 * @param node The Node of that name, as read for the request before the call; undefined where there is none.
 * @param grantedAt When the slot was granted, in milliseconds since the epoch by the API server's clock.
 * @throws {UnavailableError} The pods could not be listed.
 */
export async function collectEvidence(
  noted: Pick<HeldNode, "name" | "uid">,
  node: NodeView | undefined,
  grantedAt: number,
  { pods: podCalls, clock, policy, exhausted, isTimedOut }: ProofOptions,
  signal?: AbortSignal,
): Promise<NodeEvidence> {
  const pods = await podCalls.listPods(noted.name, signal);
  return {
    noted: { name: noted.name, uid: noted.uid },
    ...(node && { node }),
    pods: pods.map((pod) => seenPod(pod, policy)),
    grantedAt,
    now: knownTime(clock),
    exhausted,
    ...(isTimedOut && { isTimedOut }),
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
