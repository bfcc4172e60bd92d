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
import { UnavailableError } from "../lock/errors.ts";
import type { LockService } from "../lock/lock_service.ts";
import { printableReason } from "../lock/wording.ts";
import type { Endpoint, Metrics } from "../telemetry/metrics.ts";
import { Exchange, type ExchangeOptions } from "./exchange.ts";
import { answerKinds, decodeRequest, EXPECTED_BODY } from "./fleetlock.ts";
import { textReply } from "./reply.ts";
import { type BodyLimits, BodyReader } from "./request_body.ts";
import type { StatusRoutes } from "./status_routes.ts";

/** Whether clients should send requests here, and if not, why. */
export type Readiness =
  /** `note` is a line for people about what is wrong all the same. */
  | { readonly kind: "ready"; readonly note?: string }
  /** `reason` is a line for people. */
  | { readonly kind: "not_ready"; readonly reason: string };

/** Options of {@link createHandler}. */
export interface HandlerOptions extends BodyLimits, ExchangeOptions {
  /** Decides about the requests. */
  readonly locks: Pick<LockService, "preReboot" | "steadyState">;
  /** Counts requests, and renders the metrics page. */
  readonly metrics: Pick<
    Metrics,
    "expectRequests" | "lockRequested" | "unlockRequested" | "requestDone" | "readinessTold" | "render" | "contentType"
  >;
  /** Answers people who look at the state; undefined for not found. */
  readonly status?: Pick<StatusRoutes, "page" | "json" | "events">;
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

/**
 * Deno does not check the host before it builds `request.url`, so one of these characters in it would change the path.
 */
const BAD_HOST = /[/?#\\]/;

/** The content type of a client that speaks JSON. Zincati sends none. */
const JSON_TYPE = /^application\/json\s*(;|$)/i;

/** How long a client should wait after a store fault that does not say, in milliseconds. */
const RETRY_AFTER_MS = 5_000;

/** Every {@link Endpoint}. */
const ENDPOINTS: readonly Endpoint[] = ["pre-reboot", "steady-state", "other"];

/**
 * Creates the server's handler. The routes are POST `/v1/pre-reboot` and `/v1/steady-state`, and GET and HEAD of
 * `/metrics`, `/-/healthy`, `/-/ready`, and where there is a status page of `/`, `/status.json` and `/events`. Queries
 * are ignored, and repeated slashes count as one: a client may join its base URL and a path with one slash too many. A
 * path with a trailing slash is another path.
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
      case "/":
      case "/status.json":
      case "/events":
        return this.#page(request, (exchange) => this.#status(exchange, inside ?? path, request.method));
      default:
        return Promise.resolve(notFound(new Exchange(this.#options, this.#clock, "other")));
    }
  }

  #status(exchange: Exchange, path: string, method: string): Response | Promise<Response> {
    const { status } = this.#options;
    if (status === undefined) return notFound(exchange);
    if (path !== "/events") return path === "/" ? status.page() : status.json();
    const reply = status.events(method);
    if (reply !== undefined) return reply;
    return exchange.tooManyStreams();
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
      const hangUp = () => request.signal;
      if (exchange.endpoint === "pre-reboot") {
        metrics.lockRequested();
        return exchange.outcome(await locks.preReboot(id, group, hangUp), id, group, asJson);
      }
      metrics.unlockRequested();
      return exchange.outcome(await locks.steadyState(id, group, hangUp), id, group, asJson);
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
    this.#options.metrics.readinessTold(readiness.kind === "ready");
    if (readiness.kind === "not_ready") return exchange.unavailable(readiness.reason, RETRY_AFTER_MS, "trace");
    return textReply(readiness.note === undefined ? "ok\n" : `ok\n${readiness.note}\n`);
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
