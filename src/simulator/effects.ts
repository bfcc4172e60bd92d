/**
 * When an operation of a history can have changed the lock, as far as its
 * client can tell: what both checks rest on.
 *
 * @module
 */

import type { Operation } from "./history.ts";

/** What an operation did to the lock, as its client can tell, and when. */
export interface Effect {
  /** The operation. */
  readonly operation: Operation;
  /** Whether it surely took effect: a 2xx. Otherwise it may have, or not. */
  readonly certain: boolean;
  /** The earliest moment of the effect: the invocation. */
  readonly from: number;
  /** The latest moment of the effect: the completion, or later where the request may live on without its client. */
  readonly to: number;
}

/**
 * Says when an operation can have taken effect.
 *
 * A request whose client has gone away, and a write of which a replica was told
 * nothing, may still be on its way (a paused process, a connection that went
 * silent), and take effect after the client's next operations even.
 *
 * @param lateNs How long after its invocation such an operation can still take effect, in nanoseconds.
 * @returns The effect; undefined where there was surely none.
 */
export function effectOf(operation: Operation, lateNs: number): Effect | undefined {
  const { invoked: from, completed, outcome, kind } = operation;
  switch (outcome) {
    case "granted":
    case "released":
      return { operation, certain: true, from, to: completed! };
    case "refused":
      // "lock_held" and a refused release leave the lock alone. Other refusals may come after the grant: the
      // client holds the slot and must wait for the drain, say.
      return operation.operation === "steady-state" || kind === "lock_held"
        ? undefined
        : { operation, certain: false, from, to: completed! };
    case "error":
      return kind === "unreachable" ? undefined : { operation, certain: false, from, to: from + lateNs };
    case "unknown":
      return { operation, certain: false, from, to: from + lateNs };
  }
}
