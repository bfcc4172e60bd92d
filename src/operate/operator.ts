/**
 * Who runs a command: for the record of a pause and for Events. It decides nothing.
 *
 * @module
 */

import type { Environment } from "../config/settings.ts";
import { ClusterEvents, type EventReason, type EventSubject } from "../kubernetes/events.ts";
import { parseJson } from "../lock/json.ts";
import type { KubernetesClient } from "../kubernetes/client.ts";
import { printable } from "../lock/wording.ts";
import type { StorePlace } from "./place.ts";

/** How much of a name is noted, in characters. */
const NAME_SHOWN = 100;

/**
 * Names the person: what `given` says, else the user as the API server knows it (create selfsubjectreviews), else the
 * user of this machine.
 */
export async function whoActs(
  place: StorePlace,
  environment: Environment,
  given: string | undefined,
  signal?: AbortSignal,
): Promise<string> {
  if (given) return printable(given, NAME_SHOWN);
  const local = environment.USER || "somebody";
  if (place.kind === "sqlite") return printable(local, NAME_SHOWN);
  try {
    const apiVersion = "authentication.k8s.io/v1";
    const path = `/apis/${apiVersion}/selfsubjectreviews`;
    const { text } = await place.client.post(path, { apiVersion, kind: "SelfSubjectReview" }, signal);
    const review = parseJson(text) as { status?: { userInfo?: { username?: unknown } } } | undefined;
    const name = review?.status?.userInfo?.username;
    if (typeof name === "string" && name !== "") return printable(name, NAME_SHOWN);
  } catch {
    signal?.throwIfAborted();
    // Some clusters do not tell clients who they are. That must not keep anybody from acting.
  }
  return printable(local, NAME_SHOWN);
}

/** One Event to send. */
export interface OperatorEvent {
  /** The object that it is about. */
  readonly subject: EventSubject;
  /** What happened. */
  readonly reason: EventReason;
  /** A sentence that names who did it. */
  readonly note: string;
}

/**
 * Sends Events (create events), and waits until they are there.
 *
 * @param client Undefined outside a cluster, where there are no Events.
 * @returns Why one could not be sent; undefined where all were.
 */
export async function sendEvents(
  client: KubernetesClient | undefined,
  all: readonly OperatorEvent[],
): Promise<string | undefined> {
  if (client === undefined) return undefined;
  let problem: string | undefined;
  const onFailure = (error: unknown) => problem = error instanceof Error ? error.message : String(error);
  await using events = new ClusterEvents(client, { instance: "command", clock: client.clock, onFailure });
  for (const { subject, reason, note } of all) events.record(subject, reason, note);
  await events.settled();
  return problem;
}
