/**
 * Says when an operation can have changed the lock, as far as its client can
 * tell. Both checks of a history build on it.
 *
 * @module
 */

import type { Operation } from "./history.ts";

/** The change of the lock by one operation, as far as its client can tell. */
export interface Effect {
  /** The operation. */
  readonly operation: Operation;
  /** Whether the change certainly happened (a 2xx). Otherwise it may have happened. */
  readonly certain: boolean;
  /** The earliest possible time of the change: the invocation. */
  readonly from: number;
  /** The latest possible time of the change: the completion, or later when the request may outlive its client. */
  readonly to: number;
}

/**
 * Says when an operation can have changed the lock.
 *
 * When a client gives up, or a replica loses the answer to its write, the
 * request may still be in progress, for example in a paused process or on a
 * connection that went silent. It may then take effect even after the client's
 * next operations.
 *
 * @param lateNs How long after its invocation such a request can still take effect, in nanoseconds.
 * @returns The effect; undefined when the operation certainly changed nothing.
 */
export function effectOf(operation: Operation, lateNs: number): Effect | undefined {
  const { invoked: from, completed, outcome, kind } = operation;
  switch (outcome) {
    case "granted":
    case "released":
      return { operation, certain: true, from, to: completed! };
    case "refused":
      // "lock_held" and a refused release do not change the lock. Other refusals may follow a grant: with
      // "draining", for example, the client holds the slot and waits for the drain.
      return operation.operation === "steady-state" || kind === "lock_held"
        ? undefined
        : { operation, certain: false, from, to: completed! };
    case "error":
      return kind === "unreachable" ? undefined : { operation, certain: false, from, to: from + lateNs };
    case "unknown":
      return { operation, certain: false, from, to: from + lateNs };
  }
}
