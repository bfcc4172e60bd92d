/**
 * The history of a run: every request of every client with its outcome, and its
 * file format, one JSON object a line. This checker and others can read it. It
 * does not depend on how the requests were made.
 *
 * @module
 */

/** The two requests of the protocol, named after the last part of their path. */
export type OperationName = "pre-reboot" | "steady-state";

/**
 * How an operation ended, as its client saw it:
 *
 * - `granted`: a 2xx to pre-reboot; the client may reboot.
 * - `released`: a 2xx to steady-state; the client holds no slot.
 * - `refused`: a 4xx. `kind` gives the reason.
 * - `error`: a 5xx, or the client could not connect (then `kind` is "unreachable").
 * - `unknown`: the connection broke or the time ran out before a reply arrived.
 */
export type Outcome = "granted" | "released" | "refused" | "error" | "unknown";

/** One request of one client and its outcome. */
export interface Operation {
  /** The client's id. */
  readonly client: string;
  /** The client's group. */
  readonly group: string;
  /** Which request it was. */
  readonly operation: OperationName;
  /** When the client sent it: an integer, in nanoseconds on one monotonic clock for the whole history. */
  readonly invoked: number;
  /** When the client learned the outcome, on the same clock; null when the outcome is unknown. */
  readonly completed: number | null;
  /** Its outcome. */
  readonly outcome: Outcome;
  /**
   * The `kind` of the reply, such as `lock_held`; "" for a 2xx. Without a reply: "unreachable", "connection" (it
   * broke), "timeout", or "ended" (the run was over).
   */
  readonly kind: string;
}

const OUTCOMES: readonly string[] = ["granted", "released", "refused", "error", "unknown"] satisfies Outcome[];

/** Describes an operation in a clause, such as `a got granted for pre-reboot (0.000001 s to 0.000002 s)`. */
export function describeOperation(operation: Operation): string {
  const { client, outcome, kind, invoked, completed } = operation;
  const seconds = (ns: number) => `${(ns / 1e9).toFixed(6)} s`;
  const span = `${seconds(invoked)} to ${completed === null ? "?" : seconds(completed)}`;
  return `${client} got ${outcome}${kind && ` (${kind})`} for ${operation.operation} (${span})`;
}

/** Formats one operation as a line that ends with a line feed. */
export function formatOperation(operation: Operation): string {
  return `${JSON.stringify(operation)}\n`;
}

/**
 * Parses a history.
 *
 * @param text JSON lines in any order. Empty lines are ignored.
 * @returns The operations in the order of the lines.
 * @throws {SyntaxError} A line is not an operation. The message gives its number.
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
    throw new SyntaxError(`Line ${number} of the history is not an operation: ${line.slice(0, 200)}`);
  }
  return { client, group, operation, invoked, completed, outcome: outcome as Outcome, kind };
}

/** Accepts integers and their decimal strings, which languages without 53-bit numbers write. */
function parseTime(raw: unknown): number | undefined {
  const time = typeof raw === "string" && /^\d{1,16}$/.test(raw) ? Number(raw) : raw;
  return typeof time === "number" && Number.isSafeInteger(time) && time >= 0 ? time : undefined;
}
