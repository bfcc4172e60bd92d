/**
 * One virtual host with its update agent, as the service sees it: the requests
 * of Zincati, with its timing. It says what it did and saw; what that means is
 * for others.
 *
 * @module
 */

import { monotonicNs, type Operation, type OperationName, type Outcome } from "./history.ts";
import type { Random } from "./random.ts";

/** The times of a host, in milliseconds before they are divided by the speed. */
export interface ClientTiming {
  /** The least and the greatest pause before a refused request is repeated. @default {[300_000, 330_000]} */
  readonly poll: readonly [number, number];
  /** How long a host runs until it wants to reboot into the next update. @default {[0, 600_000]} */
  readonly update: readonly [number, number];
  /** How long a reboot takes. @default {[60_000, 180_000]} */
  readonly reboot: readonly [number, number];
  /** How likely people are logged in at a yes. @default {0.1} */
  readonly postponeChance: number;
  /** How often a host asks again while people are logged in. @default {60_000} */
  readonly postponeEvery: number;
  /** For how long they may hold up the reboot, at most. @default {600_000} */
  readonly postponeUpTo: number;
}

/** Zincati's own times, and those of a host that reboots quickly. */
export const ZINCATI_TIMING: ClientTiming = Object.freeze({
  poll: [300_000, 330_000] as const,
  update: [0, 600_000] as const,
  reboot: [60_000, 180_000] as const,
  postponeChance: 0.1,
  postponeEvery: 60_000,
  postponeUpTo: 600_000,
});

/** What a client is doing. */
export type ClientPhase =
  /** It came up and has not been heard yet. */
  | "starting"
  /** It runs, and there is no update. */
  | "idle"
  /** It wants to reboot and may not. */
  | "waiting"
  /** It may reboot, but people are logged in. */
  | "postponing"
  | "rebooting"
  /** It has had as many turns as it should. */
  | "done";

/** Told by a client what it does. */
export interface ClientObserver {
  /** A request is about to be sent. */
  invoked(client: VirtualClient, operation: OperationName): void;
  /** A request has ended; `elapsedNs` is how long it took, also where the operation's end is unknown. */
  completed(client: VirtualClient, operation: Operation, elapsedNs: number): void;
}

/** Options of {@link VirtualClient}. */
export interface ClientOptions {
  /** The host's id. */
  readonly id: string;
  /** Its group. */
  readonly group: string;
  /** Base URLs of the service; each request goes to one of them at random. User and password are sent as Basic auth. */
  readonly targets: readonly URL[];
  /** How many times faster than a real host it lives. @default {1} */
  readonly speed?: number;
  /** Determines its pauses and targets. */
  readonly random: Random;
  /** Its times. @default {ZINCATI_TIMING} */
  readonly timing?: ClientTiming;
  /** How long to wait for an answer, in milliseconds that are not divided by the speed. @default {1_800_000} */
  readonly requestTimeoutMs?: number;
  /** The HTTP client to use. @default {the process's own} */
  readonly http?: Deno.HttpClient;
  /** Is told what it does. */
  readonly observer: ClientObserver;
}

/** A host that wants to reboot into an update again and again, and does when it may. */
export class VirtualClient {
  /** The host's id. */
  readonly id: string;
  /** Its group. */
  readonly group: string;
  /** What it is doing now. */
  phase: ClientPhase = "starting";
  /** How often it has rebooted and been heard afterwards. */
  turns = 0;
  readonly #options: ClientOptions;
  readonly #speed: number;
  readonly #timing: ClientTiming;
  readonly #body: Uint8Array<ArrayBuffer>;

  /** It does nothing before {@link run}. */
  constructor(options: ClientOptions) {
    this.id = options.id;
    this.group = options.group;
    this.#options = options;
    this.#speed = options.speed ?? 1;
    this.#timing = options.timing ?? ZINCATI_TIMING;
    // Bytes, not text, since fetch would add a content type to text and the real client sends none.
    this.#body = new TextEncoder().encode(
      JSON.stringify({ client_params: { id: this.id, group: this.group } }, undefined, 2),
    );
  }

  /**
   * Lives until it has had as many turns as it should, or the signal aborts.
   *
   * @param rounds How often to reboot, in all.
   */
  async run(rounds: number, signal: AbortSignal): Promise<void> {
    try {
      for (;;) {
        this.phase = "starting";
        while (await this.#request("steady-state", signal) !== "released") await this.#pause(this.#timing.poll, signal);
        if (this.turns >= rounds) break;
        this.phase = "idle";
        await this.#pause(this.#timing.update, signal);
        await this.#awaitPermission(signal);
        this.phase = "rebooting";
        await this.#pause(this.#timing.reboot, signal);
        this.turns++;
      }
      this.phase = "done";
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  /** Asks until the answer is yes at a moment when nobody is logged in. */
  async #awaitPermission(signal: AbortSignal): Promise<void> {
    const { poll, postponeEvery, postponeChance, postponeUpTo } = this.#timing;
    const { random } = this.#options;
    let postponed = random.chance(postponeChance) ? Math.ceil(random.between(0, postponeUpTo / postponeEvery)) : 0;
    this.phase = "waiting";
    for (;;) {
      if (await this.#request("pre-reboot", signal) !== "granted") {
        this.phase = "waiting";
        await this.#pause(poll, signal);
      } else if (postponed-- > 0) {
        this.phase = "postponing";
        await this.#pause([postponeEvery, postponeEvery], signal);
      } else return;
    }
  }

  async #request(operation: OperationName, signal: AbortSignal): Promise<Outcome> {
    signal.throwIfAborted();
    const { observer, random, targets, requestTimeoutMs = 1_800_000 } = this.#options;
    const ending = new AbortController();
    const stop = () => ending.abort(signal.reason);
    const timer = setTimeout(
      () => ending.abort(new DOMException("No answer in time", "TimeoutError")),
      requestTimeoutMs,
    );
    signal.addEventListener("abort", stop, { once: true });
    observer.invoked(this, operation);
    const invoked = monotonicNs();
    const { outcome, kind } = await this.#send(random.pick(targets), operation, ending.signal);
    const ended = monotonicNs();
    clearTimeout(timer);
    signal.removeEventListener("abort", stop);
    const completed = outcome === "unknown" ? null : ended;
    const { id: client, group } = this;
    observer.completed(this, { client, group, operation, invoked, completed, outcome, kind }, ended - invoked);
    return outcome;
  }

  async #send(
    target: URL,
    operation: OperationName,
    signal: AbortSignal,
  ): Promise<{ outcome: Outcome; kind: string }> {
    const url = new URL(`${target.pathname.replace(/\/$/, "")}/v1/${operation}`, target);
    let response: Response;
    try {
      response = await fetch(url, {
        method: "POST",
        headers: { "fleet-lock-protocol": "true" },
        body: this.#body,
        redirect: "manual",
        client: this.#options.http,
        signal,
      });
    } catch (error) {
      if (signal.aborted) {
        const isTimeout = signal.reason instanceof DOMException && signal.reason.name === "TimeoutError";
        return { outcome: "unknown", kind: isTimeout ? "timeout" : "ended" };
      }
      if (!(error instanceof TypeError)) throw error;
      // Where not even a connection came about, the request certainly reached nobody.
      return error.cause instanceof Error && error.cause.message.includes("client error (Connect)")
        ? { outcome: "error", kind: "unreachable" }
        : { outcome: "unknown", kind: "connection" };
    }
    const text = await response.text().catch(() => "");
    if (response.ok) return { outcome: operation === "pre-reboot" ? "granted" : "released", kind: "" };
    const outcome = response.status >= 400 && response.status < 500 ? "refused" : "error";
    return { outcome, kind: kindOf(text) ?? `http_${response.status}` };
  }

  async #pause(span: readonly [number, number], signal: AbortSignal): Promise<void> {
    const ms = this.#options.random.between(...span) / this.#speed;
    await new Promise<void>((resolve, reject) => {
      signal.throwIfAborted();
      const stop = () => {
        clearTimeout(timer);
        reject(signal.reason);
      };
      const timer = setTimeout(() => {
        signal.removeEventListener("abort", stop);
        resolve();
      }, ms);
      signal.addEventListener("abort", stop, { once: true });
    });
  }
}

/** The `kind` of a reply in the protocol's form. */
function kindOf(body: string): string | undefined {
  try {
    const { kind } = JSON.parse(body);
    return typeof kind === "string" && kind !== "" ? kind : undefined;
  } catch {
    return undefined;
  }
}
