/**
 * Keeps the pauses that the API server asks for with Retry-After. A 429 is about one flow of calls: the API server's
 * priority and fairness refuses a list of pods, which is costly, while it serves the Leases. So it holds back calls of
 * the same kind, and all others only for a moment, lest each of them adds to an overload at once. A 5xx holds back all
 * calls. It makes no calls.
 *
 * @module
 */

import type { Clock } from "../lock/clock.ts";
import { UnavailableError } from "../lock/errors.ts";
import { parseResourcePath } from "./answer_check.ts";
import type { Call } from "./transport.ts";

/** The longest time that the API server's Retry-After holds back calls, in milliseconds. */
const MAX_PAUSE_MS = 30_000;

/**
 * The longest time that a 429 holds back calls of other kinds, in milliseconds. It is what the API server mostly asks
 * for.
 */
const OTHERS_PAUSE_MS = 1_000;

/** See the module. */
export class CallPauses {
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  /** Until when all calls are held back, by the monotonic clock. */
  #allUntil = 0;
  /** The same of each kind of call that was refused. There are only as many as the program has kinds of calls. */
  readonly #until = new Map<string, number>();

  /**
   * Holds back nothing yet.
   *
   * @param timeoutMs How long a call may take. One that would be held back for longer fails at once.
   */
  constructor(clock: Clock, timeoutMs: number) {
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
  }

  /**
   * Notes that the API server, or a proxy before it, refused a call and asked for a pause.
   *
   * A write may have been refused by an admission webhook or a disruption budget, which speak only of the object that
   * was to be written. So it holds back nothing.
   */
  refused(call: Pick<Call, "method" | "url">, status: number, retryAfterMs: number | undefined): void {
    if (call.method !== "GET" || retryAfterMs === undefined) return;
    const now = this.#clock.monotonic();
    const pauseMs = Math.min(retryAfterMs, MAX_PAUSE_MS);
    const isOfKind = status === 429;
    this.#allUntil = Math.max(this.#allUntil, now + (isOfKind ? Math.min(pauseMs, OTHERS_PAUSE_MS) : pauseMs));
    if (!isOfKind) return;
    for (const [kind, until] of this.#until) if (until <= now) this.#until.delete(kind);
    const kind = kindOf(call);
    this.#until.set(kind, Math.max(this.#until.get(kind) ?? 0, now + pauseMs));
  }

  /**
   * Waits while the API server asks for a pause of such calls.
   *
   * @throws {UnavailableError} The pause is longer than a call may take. It is thrown at once.
   */
  async wait(call: Pick<Call, "method" | "url">, signal: AbortSignal): Promise<void> {
    const kind = kindOf(call);
    for (;;) {
      const now = this.#clock.monotonic();
      const ofKindMs = (this.#until.get(kind) ?? 0) - now;
      const leftMs = Math.max(ofKindMs, this.#allUntil - now);
      if (leftMs <= 0) return;
      if (leftMs >= this.#timeoutMs) {
        const what = ofKindMs === leftMs ? ` before it is asked again to ${kind}` : "";
        const message = `is overloaded and asked for a pause${what}`;
        throw new UnavailableError(`the API server ${message}`, {
          retryAfterMs: leftMs,
          publicMessage: `the Kubernetes API server ${message}`,
        });
      }
      await this.#clock.sleep(leftMs, signal);
    }
  }
}

/** Names the kind of a call, such as "list Pods": the verb and the resource, as the API server tells flows apart. */
function kindOf({ method, url }: Pick<Call, "method" | "url">): string {
  const path = parseResourcePath(url);
  if (path === undefined) return `${method} ${new URL(url).pathname}`;
  const isWatch = /[?&]watch=(true|1)\b/.test(url);
  const verb = method !== "GET" ? method : path.name !== undefined ? "get" : isWatch ? "watch" : "list";
  return `${verb} ${path.kind}s${path.subresource === undefined ? "" : `/${path.subresource}`}`;
}
