/**
 * Routes requests, limits them, and turns outcomes and faults into replies. It
 * does not decide about locks.
 *
 * The most important rule: a request with the `fleet-lock-protocol` header gets a
 * 2xx only if it is a POST that the lock service said yes to, and never a 3xx.
 * Zincati reboots on any 2xx, and follows redirects.
 *
 * @module
 */

import { type Clock, systemClock } from "../lock/clock.ts";
import type { ClientId, Group } from "../lock/identity.ts";
import type { LockService } from "../lock/lock_service.ts";
import type { PreRebootOutcome, SteadyStateOutcome } from "../lock/outcomes.ts";
import { CallRefusedError, UnavailableError } from "../lock/errors.ts";
import { printableId, printableReason } from "../lock/wording.ts";
import type { Endpoint, Metrics } from "../telemetry/metrics.ts";
import { answerKinds, decodeRequest, type ErrorKind, EXPECTED_BODY, type SuccessKind } from "./fleetlock.ts";
import { errorReply, refusalReply, successReply, textReply } from "./reply.ts";
import { type BodyLimits, BodyReader } from "./request_body.ts";

/** Whether clients should send requests here, and if not, why. */
export type Readiness =
  /** `note` is a line for people about what is wrong all the same. */
  | { readonly kind: "ready"; readonly note?: string }
  /** `reason` is a line for people. */
  | { readonly kind: "not_ready"; readonly reason: string };

/** The levels of a request's log record. */
export type Level = "trace" | "debug" | "info" | "warning" | "error";

/** The part of LogTape's `Logger` that the handler uses. */
export type RequestLogger =
  & { isEnabledFor(level: Level): boolean }
  & { [L in Level]: (message: string, fields: Record<string, unknown>) => void };

/** Options of {@link createHandler}. */
export interface HandlerOptions extends BodyLimits {
  /** Decides about the requests. */
  readonly locks: Pick<LockService, "preReboot" | "steadyState">;
  /** Counts requests, and renders the metrics page. */
  readonly metrics: Pick<
    Metrics,
    "expectRequests" | "lockRequested" | "unlockRequested" | "requestDone" | "render" | "contentType"
  >;
  /** Gets one record per request: info for yeses and releases, debug for refusals, warning and error for faults. */
  readonly logger: RequestLogger;
  /** Answers `/-/ready`. A rejection means that the store does not answer. */
  readonly readiness: () => Promise<Readiness>;
  /**
   * Stands before the paths of the protocol, such as `/fleetlock`. The other paths are served with and without it.
   *
   * @default {""}
   */
  readonly basePath?: string;
  /** Measures durations, time limits and the ages of holds. @default {systemClock} */
  readonly clock?: Clock;
}

/** A handler for `Deno.serve`. It never throws. Dispose of it after the server has stopped. */
export interface Handler extends Disposable {
  /** Answers one request. */
  (request: Request, info?: Deno.ServeHandlerInfo): Promise<Response>;
}

/** The header that marks a request of the protocol. Its value must be "true". */
const PROTOCOL_HEADER = "fleet-lock-protocol";

/** Deno does not check the host before it builds `request.url`, so one of these characters in it would change the path. */
const BAD_HOST = /[/?#\\]/;

/** The content type of a client that speaks JSON. Zincati sends none. */
const JSON_TYPE = /^application\/json\s*(;|$)/i;

/** How long a client should wait after a store fault that does not say, in milliseconds. */
const RETRY_AFTER_MS = 5_000;

/** Every {@link Endpoint}. */
const ENDPOINTS: readonly Endpoint[] = ["pre-reboot", "steady-state", "other"];

/**
 * Creates the server's handler. The routes are POST `/v1/pre-reboot` and
 * `/v1/steady-state`, and GET and HEAD of `/metrics`, `/-/healthy` and
 * `/-/ready`. Queries are ignored, and repeated slashes count as one: a client may
 * join its base URL and a path with one slash too many. A path with a trailing
 * slash is another path.
 */
export function createHandler(options: HandlerOptions): Handler {
  const router = new Router(options);
  const handle = (request: Request): Promise<Response> => router.handle(request);
  return Object.assign(handle, { [Symbol.dispose]: () => router.bodies[Symbol.dispose]() });
}

class Router {
  readonly bodies: BodyReader;
  readonly #options: HandlerOptions;
  readonly #clock: Clock;

  constructor(options: HandlerOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.bodies = new BodyReader(options, this.#clock);
    for (const endpoint of ENDPOINTS) {
      options.metrics.expectRequests(endpoint, [...answerKinds(endpoint), ...(endpoint === "other" ? ["ok"] : [])]);
    }
  }

  handle(request: Request): Promise<Response> {
    if (BAD_HOST.test(request.headers.get("host") ?? "")) {
      const exchange = new Exchange(this.#options, this.#clock, "other");
      return Promise.resolve(exchange.error("decode_error", 'the header "host" is not a valid host'));
    }
    const path = pathOf(request.url);
    const base = this.#options.basePath ?? "";
    const inside = path.startsWith(`${base}/`) ? path.slice(base.length) : undefined;
    switch (inside) {
      case "/v1/pre-reboot":
        return this.#protocol(new Exchange(this.#options, this.#clock, "pre-reboot"), request);
      case "/v1/steady-state":
        return this.#protocol(new Exchange(this.#options, this.#clock, "steady-state"), request);
    }
    // Probes and Prometheus reach the server directly, or through the same proxy as the clients.
    switch (inside ?? path) {
      case "/metrics":
        return this.#page(request, async () => {
          const { metrics } = this.#options;
          return textReply(await metrics.render(), metrics.contentType);
        });
      case "/-/healthy":
        return this.#page(request, () => textReply("ok\n"));
      case "/-/ready":
        return this.#page(request, (exchange) => this.#ready(exchange));
      default:
        return Promise.resolve(notFound(new Exchange(this.#options, this.#clock, "other")));
    }
  }

  async #protocol(exchange: Exchange, request: Request): Promise<Response> {
    try {
      if (request.method !== "POST") return exchange.methodNotAllowed("POST");
      if (request.headers.get(PROTOCOL_HEADER) !== "true") {
        return exchange.error("missing_header", `the header "${PROTOCOL_HEADER}" must be "true"`);
      }
      const body = await this.bodies.read(request);
      switch (body.kind) {
        case "json":
          break;
        case "not_json":
          return exchange.error("decode_error", `the body is not JSON: ${EXPECTED_BODY}`);
        case "byte_order_mark":
          return exchange.error("decode_error", `the body has a byte order mark: ${EXPECTED_BODY} without one`);
        case "too_large":
          return exchange.error("body_too_large", `the body is too large: the limit is ${this.bodies.maxBytes} bytes`);
        case "timeout":
          return exchange.error("request_timeout", "the body did not arrive in time");
        case "cut_off":
          return exchange.error("decode_error", "the body ended early");
        default:
          return body satisfies never;
      }
      const decoded = decodeRequest(body.value);
      if (decoded.kind !== "request") return exchange.error(decoded.kind, decoded.value);
      const { id, group } = decoded;
      exchange.client = decoded;
      const asJson = JSON_TYPE.test(request.headers.get("content-type") ?? "");
      const { locks, metrics } = this.#options;
      if (exchange.endpoint === "pre-reboot") {
        metrics.lockRequested();
        return exchange.outcome(await locks.preReboot(id, group), id, group, asJson);
      }
      metrics.unlockRequested();
      return exchange.outcome(await locks.steadyState(id, group), id, group, asJson);
    } catch (error) {
      return exchange.fault(error);
    }
  }

  async #page(request: Request, make: (exchange: Exchange) => Response | Promise<Response>): Promise<Response> {
    const exchange = new Exchange(this.#options, this.#clock, "other");
    try {
      if (request.headers.has(PROTOCOL_HEADER)) return notFound(exchange);
      if (request.method !== "GET" && request.method !== "HEAD") return exchange.methodNotAllowed("GET, HEAD");
      const response = await make(exchange);
      if (response.ok) exchange.done("ok");
      return response;
    } catch (error) {
      return exchange.fault(error);
    }
  }

  async #ready(exchange: Exchange): Promise<Response> {
    const readiness = await this.#options.readiness().catch((error): Readiness => {
      const known = error instanceof UnavailableError ? error.publicMessage : undefined;
      return { kind: "not_ready", reason: known === undefined ? "the store does not answer" : printableReason(known) };
    });
    if (readiness.kind === "not_ready") return exchange.unavailable(readiness.reason, RETRY_AFTER_MS, "trace");
    return textReply(readiness.note === undefined ? "ok\n" : `ok\n${readiness.note}\n`);
  }
}

/** One request, from its arrival to its reply. The method that builds the reply counts and logs the request, once. */
class Exchange {
  readonly endpoint: Endpoint;
  /** Who sent the request, once that is known. */
  client?: { readonly id: ClientId; readonly group: Group };
  readonly #options: HandlerOptions;
  readonly #clock: Pick<Clock, "now" | "monotonic">;
  readonly #began: number;

  constructor(options: HandlerOptions, clock: Pick<Clock, "now" | "monotonic">, endpoint: Endpoint) {
    this.endpoint = endpoint;
    this.#options = options;
    this.#clock = clock;
    this.#began = clock.monotonic();
  }

  /** @param asJson Whether the client reads a success as JSON. */
  outcome(outcome: PreRebootOutcome | SteadyStateOutcome, id: ClientId, group: Group, asJson: boolean): Response {
    switch (outcome.kind) {
      case "refused": {
        const { refusal } = outcome;
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
    return successReply(outcome.kind, asJson);
  }

  error(kind: ErrorKind, value: string): Response {
    this.done(kind, "debug", "request refused");
    return errorReply(kind, value);
  }

  methodNotAllowed(allow: string): Response {
    this.done("method_not_allowed", "debug", "request refused");
    return errorReply("method_not_allowed", `this path allows ${allow} only`, { allow });
  }

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

function notFound(exchange: Exchange): Response {
  return exchange.error("not_found", "there is nothing at this path");
}

/**
 * Returns the path without its query, with one slash for several. A redirect would be followed as a GET. `URL` is ten
 * times as slow, and rewrites `..` and `%2e`.
 */
function pathOf(url: string): string {
  const start = url.indexOf("/", "https://".length);
  if (start < 0) return "";
  const end = url.indexOf("?", start);
  const path = end < 0 ? url.slice(start) : url.slice(start, end);
  return path.includes("//") ? path.replace(/\/{2,}/g, "/") : path;
}
