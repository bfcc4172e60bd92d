/**
 * One request and its reply: turns outcomes and faults into replies, counts and
 * logs each request once, and remembers the answer. It knows no routes.
 *
 * @module
 */

import { CallRefusedError, UnavailableError } from "../lock/errors.ts";
import type { Clock } from "../lock/clock.ts";
import type { ClientId, Group } from "../lock/identity.ts";
import type { PreRebootOutcome, Refusal, SteadyStateOutcome } from "../lock/outcomes.ts";
import { printableId, printableReason } from "../lock/wording.ts";
import type { Endpoint, Metrics } from "../telemetry/metrics.ts";
import type { ErrorKind, SuccessKind } from "./fleetlock.ts";
import { errorReply, refusalReply, successReply } from "./reply.ts";

/** How long a client should wait after a store fault that does not say, in milliseconds. */
const RETRY_AFTER_MS = 5_000;

/** The levels of a request's log record. */
export type Level = "trace" | "debug" | "info" | "warning" | "error";

/** The part of LogTape's `Logger` that the handler uses. */
export type RequestLogger =
  & { isEnabledFor(level: Level): boolean }
  & { [L in Level]: (message: string, fields: Record<string, unknown>) => void };

/** What an {@link Exchange} needs. */
export interface ExchangeOptions {
  /** Counts requests. */
  readonly metrics: Pick<Metrics, "requestDone">;
  /** Gets one record per request: info for yeses and releases, debug for refusals, warning and error for faults. */
  readonly logger: RequestLogger;
  /** Remembers what clients were answered, for the account of the state. It must be cheap, and must not throw. */
  readonly memory?: {
    /** A client was refused. */
    refused(group: Group, id: ClientId, refusal: Refusal, at: number): void;
    /** A client got what it asked for. */
    served(group: Group, id: ClientId, at: number): void;
  };
}

/** One request, from its arrival to its reply. The method that builds the reply counts and logs the request, once. */
export class Exchange {
  /** The endpoint that was asked. */
  readonly endpoint: Endpoint;
  /** Who sent the request, once that is known. */
  client?: { readonly id: ClientId; readonly group: Group };
  readonly #options: ExchangeOptions;
  readonly #clock: Pick<Clock, "now" | "monotonic">;
  readonly #began: number;

  /** Begins with the request. */
  constructor(options: ExchangeOptions, clock: Pick<Clock, "now" | "monotonic">, endpoint: Endpoint) {
    this.endpoint = endpoint;
    this.#options = options;
    this.#clock = clock;
    this.#began = clock.monotonic();
  }

  /** Answers what the lock service decided. @param asJson Whether the client reads a success as JSON. */
  outcome(outcome: PreRebootOutcome | SteadyStateOutcome, id: ClientId, group: Group, asJson: boolean): Response {
    switch (outcome.kind) {
      case "refused": {
        const { refusal } = outcome;
        this.#options.memory?.refused(group, id, refusal, this.#clock.now());
        this.done(
          refusal.kind,
          "debug",
          "request refused",
          refusal.kind === "lock_held"
            ? () => ({ holder: refusal.holders.map((holder) => printableId(holder.id)).join(",") })
            : undefined,
        );
        return refusalReply(refusal, group, this.#clock.now());
      }
      case "granted":
      case "renewed":
        this.done(outcome.kind, "info", "reboot slot granted", () => ({ holder: id }));
        break;
      case "released":
        this.done(outcome.kind, "info", "reboot slot released", () => ({
          held_seconds: Math.max(0, Math.round((this.#clock.now() - outcome.holder.since) / 1000)) || 0,
        }));
        break;
      case "not_held":
        this.done(outcome.kind, "debug", "no reboot slot to release");
        break;
      default:
        return outcome satisfies never;
    }
    this.#options.memory?.served(group, id, this.#clock.now());
    return successReply(outcome.kind, asJson);
  }

  /** Answers a request that is wrong. @param value A sentence for a person. */
  error(kind: ErrorKind, value: string): Response {
    this.done(kind, "debug", "request refused");
    return errorReply(kind, value);
  }

  /** Answers a method that the path does not have. @param allow Those that it has. */
  methodNotAllowed(allow: string): Response {
    this.done("method_not_allowed", "debug", "request refused");
    return errorReply("method_not_allowed", `this path allows ${allow} only`, { allow });
  }

  /** Answers that the request may succeed later. @param value A sentence for a person. */
  unavailable(value: string, retryAfterMs: number, level: Level, error?: unknown): Response {
    this.done(
      "store_unavailable",
      level,
      "the store does not answer",
      error === undefined ? undefined : () => ({ error }),
    );
    const retryAfter = `${Math.max(1, Math.ceil(retryAfterMs / 1000))}`;
    return errorReply("store_unavailable", value, { "retry-after": retryAfter });
  }

  /** Answers a request for a stream of events where too many are open. */
  tooManyStreams(): Response {
    this.done("too_many_streams", "debug", "request refused");
    const value = "too many streams of events are open: read status.json instead";
    return errorReply("too_many_streams", value, { "retry-after": "60" });
  }

  /** Answers a fault. Its details go to the log, not to the client. */
  fault(error: unknown): Response {
    if (error instanceof CallRefusedError && this.endpoint !== "other") {
      this.done("api_refused", "warning", "the API server refuses a call", () => ({ error }));
      return errorReply("api_refused", printableReason(error.publicMessage ?? error.message));
    }
    if (error instanceof UnavailableError) {
      const value = printableReason(error.publicMessage ?? "the store of the locks does not answer: try again");
      return this.unavailable(value, error.retryAfterMs ?? RETRY_AFTER_MS, "warning", error);
    }
    this.done("internal_error", "error", "internal error", () => ({ error }));
    return errorReply("internal_error", "internal error: the server's log has its details");
  }

  /** Counts and logs the request. Each reply calls it once. */
  done(
    kind: ErrorKind | SuccessKind | "ok",
    level: Level = "trace",
    message: string = "request served",
    fields?: () => Record<string, unknown>,
  ): void {
    const duration = this.#clock.monotonic() - this.#began;
    this.#options.metrics.requestDone(this.endpoint, kind, duration / 1000);
    const { logger } = this.#options;
    if (!logger.isEnabledFor(level)) return;
    logger[level](message, {
      endpoint: this.endpoint,
      ...(this.client && { id: this.client.id, group: this.client.group }),
      ...fields?.(),
      outcome: kind,
      duration_ms: Math.round(duration * 1000) / 1000,
    });
  }
}
