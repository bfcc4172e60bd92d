/**
 * Runs many virtual hosts at once, records what they did and which replies they
 * got, and counts overlapping holds while they run. The exact check comes
 * afterwards, in checker.ts.
 *
 * @module
 */

import { type Clock, systemClock } from "../lock/clock.ts";
import { type ClientObserver, type ClientTiming, VirtualClient } from "./client.ts";
import type { Operation, OperationName } from "./history.ts";
import { Random } from "./random.ts";

/** Options of {@link Fleet}. */
export interface FleetOptions {
  /** Base URLs of the service. */
  readonly targets: readonly URL[];
  /** How many hosts. The groups get equal numbers of them. */
  readonly clients: number;
  /** How many groups. Their names are `sim-1`, `sim-2` and so on. */
  readonly groups: number;
  /** How many slots each group has. */
  readonly slots: number;
  /** How many times faster than real hosts they run. */
  readonly speed: number;
  /** Determines the pauses and targets. */
  readonly seed: number;
  /** The hosts' times. @default {those of Zincati} */
  readonly timing?: ClientTiming;
  /** How long a host waits for a reply, in milliseconds. The speed does not divide it. @default {1_800_000} */
  readonly requestTimeoutMs?: number;
  /** Receives every operation when it ends. */
  readonly record?: (operation: Operation) => void;
  /** How many operations {@link Fleet.history} keeps. @default {1_000_000} */
  readonly keep?: number;
  /** Measures and waits for all hosts. @default {systemClock} */
  readonly clock?: Clock;
}

/** The state of one group. */
export interface GroupTally {
  /** The group's name. */
  readonly group: string;
  /** The hosts. */
  readonly clients: readonly VirtualClient[];
  /** The hosts that believe they hold a slot: from a yes to the next steady-state. */
  readonly holders: Set<VirtualClient>;
  /** How many times a host joined the holders although all slots were taken. */
  overlaps: number;
  /** How many requests were refused (4xx). */
  refused: number;
  /** How many requests got no reply, because there was no connection or it broke. */
  unreachable: number;
}

/** How often to repeat a release that failed, in milliseconds. */
const RELEASE_EVERY_MS = 200;

/** How many requests {@link Fleet.release} sends at a time. */
const RELEASES_AT_A_TIME = 64;

/** A number of hosts. Disposing of it closes their connections. */
export class Fleet implements ClientObserver, Disposable {
  /** The hosts. */
  readonly clients: readonly VirtualClient[];
  /** The groups by name. */
  readonly groups: ReadonlyMap<string, GroupTally>;
  /** The first operations, at most `keep`. */
  readonly history: Operation[] = [];
  /** How many operations have ended. */
  operations = 0;
  /** How long the operations with a known outcome took, in milliseconds. */
  readonly latenciesMs: number[] = [];
  /** The clients that may hold a slot, because no reply has said since their last pre-reboot that they hold none. */
  readonly mayHold: Set<VirtualClient> = new Set();
  /** When the first request since the last reply got none, on the clock's monotonic time; undefined if all got one. */
  unansweredSince: number | undefined;
  /** The number of operations by outcome and, if there is one, kind, such as `refused lock_held`. */
  readonly outcomes: Map<string, number> = new Map();
  readonly #options: FleetOptions;
  readonly #http: Deno.HttpClient;
  readonly #clock: Clock;
  readonly #random: Random;

  /** Creates the hosts, which send nothing before {@link run}. */
  constructor(options: FleetOptions) {
    this.#options = options;
    // Each request gets a connection of its own, as with a host that asks every five minutes. On a reused connection,
    // fetch silently repeats a request when the service ends before it replies. The repetition fails with
    // "unreachable", which would hide that the service received the first one.
    this.#http = Deno.createHttpClient({ poolMaxIdlePerHost: 0 });
    this.#clock = options.clock ?? systemClock;
    this.#random = new Random(options.seed);
    const names = Array.from({ length: options.groups }, (_, index) => `sim-${index + 1}`);
    this.clients = Array.from(
      { length: options.clients },
      (_, index) => this.createClient(names[index % names.length]!, hostId(index + 1)),
    );
    const members = Map.groupBy(this.clients, (client) => client.group);
    this.groups = new Map(names.map((group) => {
      const clients = members.get(group) ?? [];
      return [group, { group, clients, holders: new Set(), overlaps: 0, refused: 0, unreachable: 0 }];
    }));
  }

  /** Creates one more client of a group, which the fleet observes and does not run. */
  createClient(group: string, id: string): VirtualClient {
    const { targets, speed, timing, requestTimeoutMs } = this.#options;
    return new VirtualClient({
      id,
      group,
      targets,
      speed,
      random: this.#random.fork(),
      timing,
      requestTimeoutMs,
      http: this.#http,
      clock: this.#clock,
      observer: this,
    });
  }

  /**
   * Runs all hosts until each has rebooted `rounds` times or the signal aborts.
   *
   * @param rounds How many reboots of each host in total.
   * @param graceMs How long requests in progress may go on after the signal, in milliseconds. @default {0}
   */
  async run(rounds: number, signal: AbortSignal, graceMs = 0): Promise<void> {
    using cut = new LaterAbort(signal, graceMs, this.#clock);
    await Promise.all(this.clients.map((client) => client.run(rounds, signal, cut.signal)));
  }

  /**
   * Sends steady-state for every client that may hold a slot, and repeats it where it fails.
   *
   * @param timeoutMs How long to try, in milliseconds.
   * @returns The clients that may still hold a slot.
   */
  async release(timeoutMs: number): Promise<readonly VirtualClient[]> {
    const cut = new AbortController();
    const ended = new AbortController();
    this.#clock.sleep(timeoutMs, ended.signal).then(() => cut.abort(), () => {});
    const waiting = [...this.mayHold];
    const worker = async () => {
      for (let client = waiting.pop(); client !== undefined; client = waiting.pop()) {
        while (!cut.signal.aborted && (await client.ask("steady-state", cut.signal)).outcome !== "released") {
          await this.#clock.sleep(RELEASE_EVERY_MS, cut.signal).catch(() => {});
        }
      }
    };
    await Promise.all(Array.from({ length: Math.min(RELEASES_AT_A_TIME, waiting.length) }, worker));
    ended.abort();
    return [...this.mayHold];
  }

  /** Implements {@link ClientObserver.invoked}. */
  invoked(client: VirtualClient, operation: OperationName): void {
    if (operation === "steady-state") this.groups.get(client.group)!.holders.delete(client);
    else this.mayHold.add(client);
  }

  /** Implements {@link ClientObserver.completed}. */
  completed(client: VirtualClient, operation: Operation, elapsedNs: number): void {
    const { outcome, kind } = operation;
    const name = kind === "" ? outcome : `${outcome} ${kind}`;
    const tally = this.groups.get(client.group)!;
    this.operations++;
    this.outcomes.set(name, (this.outcomes.get(name) ?? 0) + 1);
    if (outcome !== "unknown") this.latenciesMs.push(elapsedNs / 1e6);
    if (this.history.length < (this.#options.keep ?? 1_000_000)) this.history.push(operation);
    this.#options.record?.(operation);
    if (kind === "unreachable" || kind === "connection") {
      tally.unreachable++;
      this.unansweredSince ??= this.#clock.monotonic();
    } else if (outcome !== "unknown") this.unansweredSince = undefined;
    if (outcome === "refused") tally.refused++;
    if (outcome === "released" || (kind === "lock_held" && operation.operation === "pre-reboot")) {
      this.mayHold.delete(client);
    }
    if (outcome !== "granted" || tally.holders.has(client)) return;
    tally.holders.add(client);
    if (tally.holders.size > this.#options.slots) tally.overlaps++;
  }

  /** Closes the connections. */
  [Symbol.dispose](): void {
    this.#http.close();
  }
}

/** The id of a simulated host. It is the same in every run, so that a run can release what an earlier one left. */
function hostId(number: number): string {
  return simulatedId(`sim${number}`);
}

/**
 * The id of a client with a short name, such as `sim12`. A reply names at most the first eight characters of an id, and
 * at most half of it: the end is there so that the name is among them.
 */
export function simulatedId(name: string): string {
  return `${name}-simulated`;
}

/** A signal that aborts some time after another one. Disposing of it ends the wait. */
export class LaterAbort implements Disposable {
  /** The later signal. */
  readonly signal: AbortSignal;
  readonly #ended = new AbortController();

  /** Follows `signal` by `delayMs` milliseconds; with 0, at once. */
  constructor(signal: AbortSignal, delayMs: number, clock: Clock) {
    const later = new AbortController();
    this.signal = delayMs === 0 ? signal : later.signal;
    if (delayMs === 0) return;
    const abortLater = () => void clock.sleep(delayMs, this.#ended.signal).then(() => later.abort(), () => {});
    if (signal.aborted) abortLater();
    else signal.addEventListener("abort", abortLater, { once: true, signal: this.#ended.signal });
  }

  /** Ends the wait. */
  [Symbol.dispose](): void {
    this.#ended.abort();
  }
}
