/**
 * What clients did and saw, operation by operation, as one JSON object a line:
 * the input of the checker here and of any other. It knows nothing of how the
 * operations were made.
 *
 * @module
 */

/** The two requests of the protocol, by the last part of their path. */
export type OperationName = "pre-reboot" | "steady-state";

/**
 * How an operation ended for its client:
 *
 * - `granted`: a 2xx to pre-reboot; the client may reboot.
 * - `released`: a 2xx to steady-state; the client holds nothing.
 * - `refused`: a 4xx. `kind` says more.
 * - `error`: a 5xx, or no connection came about (`kind` is then "unreachable").
 * - `unknown`: the connection broke, or the time ran out, before an answer came.
 */
export type Outcome = "granted" | "released" | "refused" | "error" | "unknown";

/** One request of one client and its end. */
export interface Operation {
  /** The client's id. */
  readonly client: string;
  /** The client's group. */
  readonly group: string;
  /** Which request it was. */
  readonly operation: OperationName;
  /** When it was sent, in nanoseconds on one monotonic clock for the whole history; an integer. */
  readonly invoked: number;
  /** When its end was known, on the same clock; null where the outcome is unknown. */
  readonly completed: number | null;
  /** How it ended. */
  readonly outcome: Outcome;
  /**
   * The `kind` of the reply, such as `lock_held`; "" for a 2xx; for other ends
   * "unreachable", "connection", "timeout", or "ended" where the run was over.
   */
  readonly kind: string;
}

const OUTCOMES: readonly string[] = ["granted", "released", "refused", "error", "unknown"] satisfies Outcome[];

/** The present moment for {@link Operation}s of this process, in nanoseconds. */
export function monotonicNs(): number {
  return Math.round(performance.now() * 1e6);
}

/** Writes one operation as a line, line feed included. */
export function formatOperation(operation: Operation): string {
  return `${JSON.stringify(operation)}\n`;
}

/**
 * Reads a history.
 *
 * @param text JSON lines in any order; empty lines are passed over.
 * @returns The operations in the order of the lines.
 * @throws {SyntaxError} A line is no operation; the message names it.
 */
export function parseHistory(text: string): Operation[] {
  return text.split("\n").flatMap((line, index) => line.trim() === "" ? [] : [parseLine(line, index + 1)]);
}

function parseLine(line: string, number: number): Operation {
  let raw: Record<string, unknown>;
  try {
    raw = JSON.parse(line);
  } catch (cause) {
    throw new SyntaxError(`Line ${number} of the history is not JSON`, { cause });
  }
  const invoked = parseTime(raw?.invoked);
  const completed = raw?.completed === null ? null : parseTime(raw?.completed);
  const { client, group, operation, outcome, kind } = raw ?? {};
  if (
    typeof client !== "string" || typeof group !== "string" || typeof kind !== "string" ||
    (operation !== "pre-reboot" && operation !== "steady-state") ||
    typeof outcome !== "string" || !OUTCOMES.includes(outcome) ||
    invoked === undefined || completed === undefined || (completed !== null && completed < invoked) ||
    (completed === null) !== (outcome === "unknown") ||
    outcome === (operation === "pre-reboot" ? "released" : "granted")
  ) {
    throw new SyntaxError(`Line ${number} of the history is no operation: ${line.slice(0, 200)}`);
  }
  return { client, group, operation, invoked, completed, outcome: outcome as Outcome, kind };
}

/** Integers, and decimal strings of them, as writers without 53-bit numbers would send. */
function parseTime(raw: unknown): number | undefined {
  const time = typeof raw === "string" && /^\d{1,16}$/.test(raw) ? Number(raw) : raw;
  return typeof time === "number" && Number.isSafeInteger(time) && time >= 0 ? time : undefined;
}
