/**
 * Runs many virtual hosts at once, records what they did and which replies they
 * got, and counts overlapping holds while they run. The exact check comes
 * afterwards, in checker.ts.
 *
 * @module
 */

import type { Clock } from "../lock/clock.ts";
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
  /** Determines the ids, pauses and targets. */
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
}

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
  /** The number of operations by outcome and, if there is one, kind, such as `refused lock_held`. */
  readonly outcomes: Map<string, number> = new Map();
  readonly #options: FleetOptions;
  readonly #http: Deno.HttpClient;

  /** Creates the hosts, which send nothing before {@link run}. */
  constructor(options: FleetOptions) {
    this.#options = options;
    // Each request gets a connection of its own, as with a host that asks every five minutes. On a reused connection,
    // fetch silently repeats a request when the service ends before it replies. The repetition fails with "unreachable",
    // which would hide that the service received the first one.
    this.#http = Deno.createHttpClient({ poolMaxIdlePerHost: 0 });
    const random = new Random(options.seed);
    const names = Array.from({ length: options.groups }, (_, index) => `sim-${index + 1}`);
    this.clients = Array.from({ length: options.clients }, (_, index) =>
      new VirtualClient({
        id: random.hex(32),
        group: names[index % names.length]!,
        targets: options.targets,
        speed: options.speed,
        random: random.fork(),
        timing: options.timing,
        requestTimeoutMs: options.requestTimeoutMs,
        http: this.#http,
        clock: options.clock,
        observer: this,
      }));
    this.groups = new Map(names.map((group) => {
      const clients = this.clients.filter((client) => client.group === group);
      return [group, { group, clients, holders: new Set(), overlaps: 0 }];
    }));
  }

  /**
   * Runs all hosts until each has rebooted `rounds` times or the signal aborts.
   *
   * @param rounds How many reboots of each host in total.
   */
  async run(rounds: number, signal: AbortSignal): Promise<void> {
    await Promise.all(this.clients.map((client) => client.run(rounds, signal)));
  }

  /** Implements {@link ClientObserver.invoked}. */
  invoked(client: VirtualClient, operation: OperationName): void {
    if (operation === "steady-state") this.groups.get(client.group)!.holders.delete(client);
  }

  /** Implements {@link ClientObserver.completed}. */
  completed(client: VirtualClient, operation: Operation, elapsedNs: number): void {
    const { outcome, kind } = operation;
    const name = kind === "" ? outcome : `${outcome} ${kind}`;
    this.operations++;
    this.outcomes.set(name, (this.outcomes.get(name) ?? 0) + 1);
    if (outcome !== "unknown") this.latenciesMs.push(elapsedNs / 1e6);
    if (this.history.length < (this.#options.keep ?? 1_000_000)) this.history.push(operation);
    this.#options.record?.(operation);
    if (outcome !== "granted") return;
    const tally = this.groups.get(client.group)!;
    if (tally.holders.has(client)) return;
    tally.holders.add(client);
    if (tally.holders.size > this.#options.slots) tally.overlaps++;
  }

  /** Closes the connections. */
  [Symbol.dispose](): void {
    this.#http.close();
  }
}
