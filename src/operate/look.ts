/**
 * Looks at a fleet: asks the replicas for their accounts, and falls back to the
 * store, saying what is then unknown. It changes nothing.
 *
 * @module
 */

import { UnavailableError } from "../lock/errors.ts";
import { systemClock } from "../lock/clock.ts";
import { askReplicas, askServer, type ReplicaAnswer } from "./accounts.ts";
import { mergeAnswers, type Overview } from "./overview.ts";
import type { ClusterPlace, Place } from "./place.ts";
import { overviewOfStore, readHeldNodes } from "./stored.ts";

/** How replicas are found. */
export interface LookOptions {
  /** The label selector of the replicas' pods. @default {"name=fleetlock"} */
  readonly selector?: string;
  /** The port on which they listen. @default {8080} */
  readonly port?: number;
  /** Ends it early, with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** The label that the manifests of `examples/k8s` give to the pods. */
export const DEFAULT_SELECTOR = "name=fleetlock";

/** The port on which the manifests let the server listen. */
export const DEFAULT_PORT = 8080;

/**
 * Looks at a fleet.
 *
 * @throws {UnavailableError} Neither a server nor the store answers.
 */
export async function lookAt(place: Place, options: LookOptions = {}): Promise<Overview> {
  const { signal } = options;
  switch (place.kind) {
    case "server": {
      const answer = await askServer(place.url, signal);
      const overview = mergeAnswers([answer]);
      if (overview !== undefined) return overview;
      throw new UnavailableError(`the server at ${answer.replica} does not tell its state: ${answer.problem}`);
    }
    case "sqlite": {
      const why = "give --server URL to ask the server of this file";
      const listing = await place.store.list({ signal });
      return overviewOfStore(listing, `the file ${place.path}`, systemClock.now(), undefined, why);
    }
    case "cluster":
      return await lookAtCluster(place, options);
  }
}

async function lookAtCluster(place: ClusterPlace, options: LookOptions): Promise<Overview> {
  const { client, store, isInPod } = place;
  const { selector = DEFAULT_SELECTOR, port = DEFAULT_PORT, signal } = options;
  let answers: ReplicaAnswer[] = [];
  let why: string | undefined;
  try {
    answers = await askReplicas(client, { selector, port, isInPod, signal });
  } catch (error) {
    signal?.throwIfAborted();
    why = `the pods of the servers cannot be listed: ${error instanceof Error ? error.message : error}`;
  }
  const overview = mergeAnswers(answers);
  if (overview !== undefined) return overview;
  const hasNoPods = why === undefined && answers.length === 0;
  why ??= hasNoPods
    ? `no pod with the label ${selector} runs in namespace ${client.namespace}`
    : answers.map(({ replica, problem }) => `${replica}: ${problem}`).join("; ");
  const listing = await store.list({ signal }).catch((error) => {
    if (!(error instanceof UnavailableError)) throw error;
    // Whoever reaches a replica past the API server learns more than from Leases that cannot be read.
    const advice = "a replica that runs still shows what it knew last: give --server URL";
    throw new UnavailableError(`${error.message}; ${advice}`, { cause: error });
  });
  const nodes = await readHeldNodes(client, listing, signal);
  const stored = overviewOfStore(
    listing,
    `the Leases of namespace ${client.namespace}`,
    client.clock.now(),
    nodes,
    why,
  );
  return { ...stored, ...(hasNoPods && { isWithoutServer: true }) };
}
