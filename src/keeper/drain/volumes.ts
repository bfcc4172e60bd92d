/**
 * Waits until the volumes of evicted pods are detached from a node, so that the pods can start elsewhere before the
 * reboot. It decides nothing about pods.
 *
 * @module
 */

import type { Clock } from "../../lock/clock.ts";
import { ForbiddenError } from "../../kubernetes/errors.ts";
import type { CallRetry } from "./call_retry.ts";
import type { PodCalls } from "./pod_calls.ts";
import type { Claim } from "./pods.ts";

/** How often a volume's detachment is looked for, in milliseconds. */
const POLL_MS = 2_000;

/** What {@link awaitDetachment} works with. */
export interface DetachmentOptions {
  /** The calls. */
  readonly calls: Pick<PodCalls, "listAttachments" | "hasAttachment" | "volumeOf">;
  /** Repeats them. */
  readonly retry: CallRetry;
  /** Time. */
  readonly clock: Clock;
  /** How long to wait, in milliseconds. */
  readonly waitMs: number;
  /** The names of VolumeAttachments that an earlier wait has given up. */
  readonly givenUp: ReadonlySet<string>;
  /** Is told for which VolumeAttachments it waits, by name, before each look at them. */
  waiting(names: readonly string[]): void;
  /** Ends the wait, with the signal's reason. */
  readonly signal: AbortSignal;
}

/**
 * Waits until no volume is attached to a node except those of pods that stay, and those that were given up.
 *
 * @param claims The claims of the pods that stay.
 * @returns The names of the VolumeAttachments that are still there when the wait is over; empty where none is.
 * @throws {UnavailableError} The cluster denies a call or does not answer.
 */
export async function awaitDetachment(
  node: string,
  claims: readonly Claim[],
  options: DetachmentOptions,
): Promise<string[]> {
  const { calls, retry, clock, waitMs, givenUp, signal } = options;
  const deadline = clock.monotonic() + waitMs;
  const listed = await retry.persist(() => calls.listAttachments(node, signal));
  const attached = listed.filter(({ name }) => !givenUp.has(name));
  const staying = attached.length === 0 ? new Set<string>() : await volumesOf(claims, options);
  let names = attached.filter(({ volume }) => volume === undefined || !staying.has(volume)).map(({ name }) => name);
  while (names.length > 0 && clock.monotonic() < deadline) {
    options.waiting(names);
    await clock.sleep(POLL_MS, signal);
    const asked = names;
    names = await retry.persist(async () => {
      const exist = await Promise.all(asked.map((name) => calls.hasAttachment(name, signal)));
      return asked.filter((_, index) => exist[index]);
    });
  }
  return names;
}

async function volumesOf(claims: readonly Claim[], options: DetachmentOptions): Promise<Set<string>> {
  const { calls, retry, signal } = options;
  const volumes = new Set<string>();
  for (const claim of claims) {
    const volume = await retry.persist(async () => {
      try {
        return await calls.volumeOf(claim, signal);
      } catch (error) {
        // Without this permission, the drain only waits longer.
        if (error instanceof ForbiddenError) return undefined;
        throw error;
      }
    });
    if (volume !== undefined) volumes.add(volume);
  }
  return volumes;
}
