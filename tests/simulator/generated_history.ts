/**
 * Generates histories of a correct semaphore with random interleavings, for the tests of the checker.
 *
 * @module
 */

import type { Operation, OperationName } from "../../src/simulator/history.ts";
import { Random } from "../../src/simulator/random.ts";

/** Options of {@link generateHistory}. */
export interface HistoryShape {
  readonly seed: number;
  readonly clients: number;
  readonly slots: number;
  /** How many operations each client makes. */
  readonly operations: number;
  /** The probability that a client gives up a request, which may take effect later or not at all. */
  readonly lost?: number;
  /** How long after its invocation a lost request can take effect, in nanoseconds. */
  readonly lateNs?: number;
  /** How old the state that a refusal is based on may be, in nanoseconds. */
  readonly staleNs?: number;
}

/** Runs clients of one group against a semaphore in virtual time. An operation takes about 100 ns. */
export function generateHistory(shape: HistoryShape): Operation[] {
  const { clients, slots, operations, lost = 0, lateNs = 1_000, staleNs = 0 } = shape;
  const random = new Random(shape.seed);
  const history: Operation[] = [];
  const queue: { at: number; run: () => void }[] = [];
  const holders = new Set<string>();
  /** The holders since each change, for refusals that are based on an old state. */
  const states: { at: number; holders: string[] }[] = [{ at: 0, holders: [] }];
  let now = 0;

  const schedule = (at: number, run: () => void) => {
    let low = 0;
    let high = queue.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (queue[middle]!.at < at) high = middle;
      else low = middle + 1;
    }
    queue.splice(low, 0, { at, run });
  };
  const note = () => states.push({ at: now, holders: [...holders] });

  const step = (client: string, left: number, mayHold: boolean, certain: boolean) => {
    if (left === 0) return;
    const operation: OperationName = mayHold && (certain ? random.chance(0.8) : true) ? "steady-state" : "pre-reboot";
    const invoked = now;
    const isLost = random.chance(lost);
    const effectAt = invoked + 1 + random.below(isLost ? lateNs - 1 : 60);
    let outcome: "granted" | "released" | "refused" | undefined;
    if (!isLost || random.chance(0.5)) {
      schedule(effectAt, () => {
        if (operation === "steady-state") {
          holders.delete(client);
          outcome = "released";
        } else {
          // A refusal may be based on any recent state in which the client was not a holder.
          const old = states.findLast((each) => each.at <= now - random.below(staleNs + 1)) ?? states[0]!;
          const stale = old.holders.length >= slots && !old.holders.includes(client);
          const full = holders.size >= slots && !holders.has(client);
          outcome = full || stale ? "refused" : "granted";
          if (outcome === "granted") holders.add(client);
        }
        note();
      });
    }
    const completed = isLost ? invoked + 100 : effectAt + 1 + random.below(60);
    schedule(completed, () => {
      history.push(
        isLost ? { client, group: "g", operation, invoked, completed: null, outcome: "unknown", kind: "timeout" } : {
          client,
          group: "g",
          operation,
          invoked,
          completed,
          outcome: outcome!,
          kind: outcome === "refused" ? "lock_held" : "",
        },
      );
      const held = operation === "pre-reboot" ? outcome === "granted" || mayHold : isLost;
      const pause = 1 + random.below(held ? 50 : 200);
      schedule(now + pause, () => step(client, left - 1, held, operation === "pre-reboot" && !isLost));
    });
  };

  for (let each = 0; each < clients; each++) {
    schedule(1 + random.below(200), () => step(`c${each}`, operations, false, false));
  }
  for (let event = queue.pop(); event !== undefined; event = queue.pop()) {
    now = event.at;
    event.run();
  }
  return history;
}
