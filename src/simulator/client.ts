/**
 * One virtual host: sends the requests that Zincati sends, at the times at which
 * Zincati sends them. It reports what it did and which replies it got, and does
 * not judge them.
 *
 * @module
 */

import { type Clock, systemClock } from "../lock/clock.ts";
import type { Operation, OperationName, Outcome } from "./history.ts";
import type { Random } from "./random.ts";

/** The times of a host, in milliseconds. The speed divides them. */
export interface ClientTiming {
  /** The shortest and the longest pause before a host repeats a refused request. */
  readonly poll: readonly [number, number];
  /** The shortest and the longest time from a release until the host finds the next update. */
  readonly update: readonly [number, number];
  /** The shortest and the longest duration of a reboot. */
  readonly reboot: readonly [number, number];
  /** The probability that users are logged in when a yes arrives, from 0 to 1. */
  readonly postponeChance: number;
  /** The pause before a host repeats its request while users are logged in. */
  readonly postponeEvery: number;
  /** How long logged-in users can postpone the reboot, at most. */
  readonly postponeUpTo: number;
}

/** The intervals of Zincati, and a host that reboots quickly. */
const ZINCATI_TIMING: ClientTiming = Object.freeze({
  poll: [300_000, 330_000] as const,
  update: [0, 600_000] as const,
  reboot: [60_000, 180_000] as const,
  postponeChance: 0.1,
  postponeEvery: 60_000,
  postponeUpTo: 600_000,
});

/** What a client is doing. */
export type ClientPhase =
  /** It has booted and has not yet got a yes to steady-state. */
  | "starting"
  /** It runs and has no update. */
  | "idle"
  /** It has an update and waits for a yes. */
  | "waiting"
  /** It got a yes, and logged-in users postpone the reboot. */
  | "postponing"
  | "rebooting"
  /** It has completed its reboots. */
  | "done";

/** Receives what a client does. */
export interface ClientObserver {
  /** The client is about to send a request. */
  invoked(client: VirtualClient, operation: OperationName): void;
  /** A request has ended after `elapsedNs` nanoseconds, with a reply or without one. */
  completed(client: VirtualClient, operation: Operation, elapsedNs: number): void;
}

/** The reply to a request, or what took its place. */
export interface Reply {
  /** How the request ended. */
  readonly outcome: Outcome;
  /** As in {@link Operation}. */
  readonly kind: string;
  /** The sentence of an error reply; "" if there is none. */
  readonly value: string;
}

/** Options of {@link VirtualClient}. */
export interface ClientOptions {
  /** The host's id. */
  readonly id: string;
  /** Its group. */
  readonly group: string;
  /**
   * Base URLs of the service. Each request goes to one of them at random. The user and password of a URL become Basic
   * authentication.
   */
  readonly targets: readonly URL[];
  /** How many times faster than a real host it runs. @default {1} */
  readonly speed?: number;
  /** Chooses its pauses and targets. */
  readonly random: Random;
  /** Its times. @default {those of Zincati, reboots of 1 to 3 minutes, updates after at most 10} */
  readonly timing?: ClientTiming;
  /** How long to wait for a reply, in milliseconds. The speed does not divide it. @default {1_800_000} */
  readonly requestTimeoutMs?: number;
  /** The HTTP client to send requests with. @default {the client of the process} */
  readonly http?: Deno.HttpClient;
  /** Measures and waits. @default {systemClock} */
  readonly clock?: Clock;
  /** Receives what it does. */
  readonly observer: ClientObserver;
}

/** A host that finds one update after another, and reboots when it gets a yes. */
export class VirtualClient {
  /** The host's id. */
  readonly id: string;
  /** Its group. */
  readonly group: string;
  /** What it does now. */
  phase: ClientPhase = "starting";
  /** How many times it has rebooted. */
  turns = 0;
  readonly #options: ClientOptions;
  readonly #speed: number;
  readonly #timing: ClientTiming;
  readonly #clock: Clock;
  readonly #body: Uint8Array<ArrayBuffer>;

  /** Creates a host, which sends nothing before {@link run}. */
  constructor(options: ClientOptions) {
    this.id = options.id;
    this.group = options.group;
    this.#options = options;
    this.#speed = options.speed ?? 1;
    this.#timing = options.timing ?? ZINCATI_TIMING;
    this.#clock = options.clock ?? systemClock;
    // Bytes instead of text: fetch adds a content type to text, and Zincati sends none.
    this.#body = new TextEncoder().encode(
      JSON.stringify({ client_params: { id: this.id, group: this.group } }, undefined, 2),
    );
  }

  /**
   * Runs until the host has rebooted `rounds` times or the signal aborts.
   *
   * @param rounds How many reboots in total.
   * @param signal Ends the pauses, and no further request is sent.
   * @param cut Ends the request in progress, whose outcome is then unknown. @default {signal}
   */
  async run(rounds: number, signal: AbortSignal, cut: AbortSignal = signal): Promise<void> {
    try {
      for (;;) {
        this.phase = "starting";
        while (await this.#next("steady-state", signal, cut) !== "released") {
          await this.#pause(this.#timing.poll, signal);
        }
        if (this.turns >= rounds) break;
        this.phase = "idle";
        await this.#pause(this.#timing.update, signal);
        await this.#awaitPermission(signal, cut);
        this.phase = "rebooting";
        await this.#pause(this.#timing.reboot, signal);
        this.turns++;
      }
      this.phase = "done";
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  /** Sends pre-reboot until a yes arrives while no user is logged in. */
  async #awaitPermission(signal: AbortSignal, cut: AbortSignal): Promise<void> {
    const { poll, postponeEvery, postponeChance, postponeUpTo } = this.#timing;
    const { random } = this.#options;
    let postponed = random.chance(postponeChance) ? Math.ceil(random.between(0, postponeUpTo / postponeEvery)) : 0;
    this.phase = "waiting";
    for (;;) {
      if (await this.#next("pre-reboot", signal, cut) !== "granted") {
        this.phase = "waiting";
        await this.#pause(poll, signal);
      } else if (postponed-- > 0) {
        this.phase = "postponing";
        await this.#pause([postponeEvery, postponeEvery], signal);
      } else return;
    }
  }

  /** Sends the next request of a host's life, unless the run is over. */
  async #next(operation: OperationName, signal: AbortSignal, cut: AbortSignal): Promise<Outcome> {
    signal.throwIfAborted();
    const { outcome } = await this.ask(operation, cut);
    signal.throwIfAborted();
    return outcome;
  }

  /**
   * Sends one request and tells the observer about it.
   *
   * @param cut Ends the request, whose outcome is then unknown.
   */
  async ask(operation: OperationName, cut: AbortSignal): Promise<Reply> {
    const { observer, random, targets, requestTimeoutMs = 1_800_000 } = this.#options;
    const timeout = new AbortController();
    const ended = new AbortController();
    this.#clock.sleep(requestTimeoutMs, ended.signal).then(
      () => timeout.abort(new DOMException("No reply in time", "TimeoutError")),
      () => {},
    );
    observer.invoked(this, operation);
    const invoked = this.#nowNs();
    const reply = await this.#send(random.pick(targets), operation, AbortSignal.any([cut, timeout.signal]));
    const now = this.#nowNs();
    ended.abort();
    const { outcome, kind } = reply;
    const completed = outcome === "unknown" ? null : now;
    const { id: client, group } = this;
    observer.completed(this, { client, group, operation, invoked, completed, outcome, kind }, now - invoked);
    return reply;
  }

  async #send(target: URL, operation: OperationName, signal: AbortSignal): Promise<Reply> {
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
        return { outcome: "unknown", kind: isTimeout ? "timeout" : "ended", value: "" };
      }
      if (!(error instanceof TypeError)) throw error;
      // Without a connection, no server can have received the request.
      return error.cause instanceof Error && error.cause.message.includes("client error (Connect)")
        ? { outcome: "error", kind: "unreachable", value: "" }
        : { outcome: "unknown", kind: "connection", value: "" };
    }
    const text = await response.text().catch(() => "");
    if (response.ok) return { outcome: operation === "pre-reboot" ? "granted" : "released", kind: "", value: "" };
    const outcome = response.status >= 400 && response.status < 500 ? "refused" : "error";
    const { kind = `http_${response.status}`, value = "" } = errorOf(text);
    return { outcome, kind, value };
  }

  async #pause(span: readonly [number, number], signal: AbortSignal): Promise<void> {
    const ms = this.#options.random.between(...span) / this.#speed;
    await this.#clock.sleep(ms, signal);
  }

  /** The time for {@link Operation}s: one clock for all hosts of the process, as integers. */
  #nowNs(): number {
    return Math.round(this.#clock.monotonic() * 1e6);
  }
}

/** Reads an error reply of the protocol; empty when the body is something else. */
function errorOf(body: string): { kind?: string; value?: string } {
  try {
    const { kind, value } = JSON.parse(body);
    return {
      kind: typeof kind === "string" && kind !== "" ? kind : undefined,
      value: typeof value === "string" ? value : undefined,
    };
  } catch {
    return {};
  }
}
