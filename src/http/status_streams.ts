/**
 * The streams of `/events`: server-sent events with the account of the state, first
 * the whole of it, then only what has changed. All streams share one timer, which
 * runs only while one is open. It knows no routes, and not how the account is made.
 *
 * Events: `snapshot` with an {@link Account}; `change` with a {@link StatusChange},
 * once a second at most; `alive` with the time, where nothing has changed for a while,
 * so that proxies keep the stream and the page knows that the replica answers.
 *
 * @module
 */

import type { Clock } from "../lock/clock.ts";
import type { Account, GroupAccount } from "../status/account.ts";

/** What a `change` says. */
export interface StatusChange {
  /** The time of the change, RFC 3339. */
  readonly at: string;
  /** Fields of the account itself that have other values; null for those that are gone. */
  readonly account?: Readonly<Record<string, unknown>>;
  /** The groups that are new or have changed, with the fields that have other values; null for those that are gone. */
  readonly groups?: readonly (Readonly<Record<string, unknown>> & Pick<GroupAccount, "name">)[];
  /** The names of groups that are gone. */
  readonly gone?: readonly string[];
}

/** Options of {@link StatusStreams}. */
export interface StatusStreamsOptions {
  /** Makes the account of the moment. It makes no calls. */
  readonly account: () => Account;
  /** Paces the events. */
  readonly clock: Pick<Clock, "monotonic" | "sleep">;
  /** Ends all streams when it aborts. */
  readonly stopping: AbortSignal;
  /** Gets a record where an account cannot be made. */
  readonly logger: { error(message: string, fields: Record<string, unknown>): void };
  /** How many streams may be open. @default {256} */
  readonly maxStreams?: number;
  /** How many bytes may wait for a client that does not read, beyond the first snapshot. @default {262144} */
  readonly maxQueued?: number;
}

/** How often to look for changes, in milliseconds. */
const TICK_MS = 1_000;

/** How long a stream may be silent, in milliseconds. Proxies cut those that are silent for 30 or 60 seconds. */
const ALIVE_MS = 15_000;

const encoder = new TextEncoder();

/** One open stream. */
interface Client {
  readonly controller: ReadableStreamDefaultController<Uint8Array>;
}

/** See the module. */
export class StatusStreams {
  readonly #options: StatusStreamsOptions;
  readonly #clients = new Set<Client>();
  /** What the clients know: the account of the last tick. */
  #known: Known | undefined;
  /** Ends the timer; undefined while it does not run. */
  #timer: AbortController | undefined;
  #lastSent = 0;

  /** Makes one without streams. */
  constructor(options: StatusStreamsOptions) {
    this.#options = options;
    options.stopping.addEventListener("abort", () => this.#endAll(), { once: true });
  }

  /** How many streams are open. */
  get open(): number {
    return this.#clients.size;
  }

  /** Whether the timer runs. */
  get isTicking(): boolean {
    return this.#timer !== undefined;
  }

  /** Opens a stream. @returns Undefined where too many are open, or where the server stops. */
  connect(): ReadableStream<Uint8Array> | undefined {
    const { maxStreams = 256, maxQueued = 262_144, stopping, account } = this.#options;
    if (stopping.aborted || this.#clients.size >= maxStreams) return undefined;
    // Those who join get what the others know, so that the next change fits.
    this.#known ??= new Known(account());
    const first = this.#known.snapshot;
    let client: Client;
    return new ReadableStream<Uint8Array>({
      start: (controller) => {
        client = { controller };
        this.#clients.add(client);
        controller.enqueue(first);
        this.#tick();
      },
      cancel: () => this.#remove(client),
    }, { highWaterMark: first.byteLength + maxQueued, size: (chunk) => chunk?.byteLength ?? 0 });
  }

  #remove(client: Client): void {
    this.#clients.delete(client);
    if (this.#clients.size > 0) return;
    this.#timer?.abort();
    this.#timer = undefined;
    this.#known = undefined;
  }

  #endAll(): void {
    for (const client of [...this.#clients]) {
      this.#remove(client);
      // A stream that has just been cancelled cannot be closed.
      try {
        client.controller.close();
      } catch (error) {
        if (!(error instanceof TypeError)) throw error;
      }
    }
  }

  /** Starts the timer where it does not run. */
  #tick(): void {
    if (this.#timer !== undefined) return;
    const { signal } = this.#timer = new AbortController();
    const { clock, logger } = this.#options;
    this.#lastSent = clock.monotonic();
    const run = async () => {
      while (!signal.aborted) {
        await clock.sleep(TICK_MS, signal).catch(() => {});
        if (!signal.aborted) this.#send();
      }
    };
    run().catch((error) => {
      logger.error("cannot make the account for the status page", { error });
      this.#endAll();
    });
  }

  #send(): void {
    if (this.#known === undefined) return;
    const account = this.#options.account();
    const next = new Known(account);
    const change = next.changeFrom(this.#known);
    const now = this.#options.clock.monotonic();
    if (change === undefined && now - this.#lastSent < ALIVE_MS) return;
    this.#known = next;
    this.#lastSent = now;
    const event = change === undefined ? encode("alive", JSON.stringify({ at: account.at })) : encode("change", change);
    for (const client of [...this.#clients]) {
      const { controller } = client;
      // A client that does not read would fill the memory. It may connect again.
      if ((controller.desiredSize ?? 0) < event.byteLength) {
        this.#remove(client);
        controller.error(new Error("the client does not read its events"));
      } else controller.enqueue(event);
    }
  }
}

/** An account in parts, as JSON, for comparison. */
class Known {
  readonly #account: Account;
  readonly #fields: Map<string, string>;
  readonly #groups: Map<string, Map<string, string>>;
  #snapshot: Uint8Array<ArrayBuffer> | undefined;

  constructor(account: Account) {
    const { groups, at: _, ...fields } = account;
    this.#account = account;
    this.#fields = partsOf(fields);
    this.#groups = new Map(groups.map((group) => {
      // A group whose window is open opens "now" in each account, which is not a change.
      const { nextOpening, ...rest } = group;
      const parts = partsOf(rest);
      if (nextOpening !== undefined) {
        parts.set("nextOpening", JSON.stringify(nextOpening <= account.at ? 0 : nextOpening));
      }
      return [group.name, parts];
    }));
  }

  /** The event with the whole account. It is encoded once for all who join. */
  get snapshot(): Uint8Array<ArrayBuffer> {
    return this.#snapshot ??= encode("snapshot", JSON.stringify(this.#account));
  }

  /** What is different from an earlier one, as JSON of a {@link StatusChange}; undefined where nothing is. */
  changeFrom(before: Known): string | undefined {
    const account = changed(before.#fields, this.#fields);
    const groups = [...this.#groups].flatMap(([name, fields]) => {
      const known = before.#groups.get(name);
      const parts = changed(known ?? new Map(), fields);
      return parts.length === 0 ? [] : [`{${[...new Set([`"name":${JSON.stringify(name)}`, ...parts])].join(",")}}`];
    });
    const gone = [...before.#groups.keys()].filter((name) => !this.#groups.has(name));
    if (account.length + groups.length + gone.length === 0) return undefined;
    const parts = [
      `"at":${JSON.stringify(this.#account.at)}`,
      ...(account.length > 0 ? [`"account":{${account.join(",")}}`] : []),
      ...(groups.length > 0 ? [`"groups":[${groups.join(",")}]`] : []),
      ...(gone.length > 0 ? [`"gone":${JSON.stringify(gone)}`] : []),
    ];
    return `{${parts.join(",")}}`;
  }
}

/** The members of an object, each as JSON. Those that are undefined are left out. */
function partsOf(object: object): Map<string, string> {
  const parts = Object.entries(object).map(([name, value]) => [name, JSON.stringify(value)] as const);
  return new Map(parts.filter(([, json]) => json !== undefined));
}

/** The members, as JSON, that are different; null for those that are gone. */
function changed(before: ReadonlyMap<string, string>, after: ReadonlyMap<string, string>): string[] {
  const set = [...after].filter(([name, json]) => before.get(name) !== json).map(([name, json]) => `"${name}":${json}`);
  const gone = [...before.keys()].filter((name) => !after.has(name)).map((name) => `"${name}":null`);
  return [...set, ...gone];
}

function encode(event: string, json: string): Uint8Array<ArrayBuffer> {
  return encoder.encode(`event: ${event}\ndata: ${json}\n\n`);
}
