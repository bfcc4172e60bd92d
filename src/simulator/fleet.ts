/**
 * Many virtual hosts at once, the record of what they did and saw, and a look
 * at exclusion while they run.
 *
 * @module
 */

import { type ClientObserver, type ClientTiming, VirtualClient } from "./client.ts";
import type { Operation, OperationName } from "./history.ts";
import { Random } from "./random.ts";

/** Options of {@link Fleet}. */
export interface FleetOptions {
  /** Base URLs of the service. */
  readonly targets: readonly URL[];
  /** How many hosts. They are spread evenly over the groups. */
  readonly clients: number;
  /** How many groups; they are named `sim-1`, `sim-2` and so on. */
  readonly groups: number;
  /** How many hosts of a group may reboot at a time. */
  readonly slots: number;
  /** How many times faster than real hosts they live. */
  readonly speed: number;
  /** Determines ids, pauses and targets. */
  readonly seed: number;
  /** The hosts' times. @default {ZINCATI_TIMING} */
  readonly timing?: ClientTiming;
  /** How long a host waits for an answer, in milliseconds that are not divided by the speed. @default {1_800_000} */
  readonly requestTimeoutMs?: number;
  /** Gets every operation as it ends. */
  readonly record?: (operation: Operation) => void;
  /** How many operations are kept in {@link Fleet.history}. @default {1_000_000} */
  readonly keep?: number;
}

/** What has happened in one group so far. */
export interface GroupTally {
  /** The group's name. */
  readonly group: string;
  /** The hosts. */
  readonly clients: readonly VirtualClient[];
  /** Who believes to hold a slot: from a yes to the next steady-state. */
  readonly holders: Set<VirtualClient>;
  /** Times at which more of them than slots did. */
  overlaps: number;
}

/** Hosts under way. It gives back its connections when disposed of. */
export class Fleet implements ClientObserver, Disposable {
  /** The hosts. */
  readonly clients: readonly VirtualClient[];
  /** The groups by name. */
  readonly groups: ReadonlyMap<string, GroupTally>;
  /** The first operations, as many as are kept. */
  readonly history: Operation[] = [];
  /** How many operations have ended. */
  operations = 0;
  /** Their times in milliseconds, those without an answer left out. */
  readonly latenciesMs: number[] = [];
  /** How many ended how: by outcome, and by kind where there is one, as in `refused lock_held`. */
  readonly outcomes: Map<string, number> = new Map();
  readonly #options: FleetOptions;
  readonly #http: Deno.HttpClient;

  /** Nothing is sent before {@link run}. */
  constructor(options: FleetOptions) {
    this.#options = options;
    // A connection for each request, as a host that asks every five minutes has. On one that is used again, fetch
    // would silently send a request a second time when the service ended before it answered: what is then reported,
    // that nobody is there, would hide that the first one was heard.
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
        observer: this,
      }));
    this.groups = new Map(names.map((group) => {
      const clients = this.clients.filter((client) => client.group === group);
      return [group, { group, clients, holders: new Set(), overlaps: 0 }];
    }));
  }

  /**
   * Lets all hosts live until each has had its turns, or the signal aborts.
   *
   * @param rounds How often each is to reboot, in all.
   */
  async run(rounds: number, signal: AbortSignal): Promise<void> {
    await Promise.all(this.clients.map((client) => client.run(rounds, signal)));
  }

  /** See {@link ClientObserver.invoked}. */
  invoked(client: VirtualClient, operation: OperationName): void {
    if (operation === "steady-state") this.groups.get(client.group)!.holders.delete(client);
  }

  /** See {@link ClientObserver.completed}. */
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

  /** Gives back the connections. */
  [Symbol.dispose](): void {
    this.#http.close();
  }
}
