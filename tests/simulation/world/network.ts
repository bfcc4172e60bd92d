/**
 * The network between one replica and the modelled API server, in place of Deno's `fetch`: latency, and every fault
 * that a connection can have. What a call does when it arrives is decided by the {@link ApiServer}.
 *
 * @module
 */

import type { ConnectionRequest, Connections } from "../../../src/kubernetes/access.ts";
import type { Random } from "../../../src/simulator/random.ts";
import type { SimulatedProcess } from "../engine/process.ts";
import type { Scheduler } from "../engine/scheduler.ts";
import { type ApiAnswer, type ApiCall, type ApiServer, textOf } from "./api.ts";
import { binaryList, wantsBinaryList } from "../../support/metadata_list.ts";
import { wantsMetadata } from "./lists.ts";
import type { Stored } from "./objects.ts";
import { expired } from "./status.ts";
import type { WatchRequest } from "./watches.ts";

/** The state of a link. Faults change it. */
export interface LinkState {
  /** Whether packets are dropped: calls get no answer, and watches go silent. */
  isCut: boolean;
  /** Whether connections are refused. */
  isRefused: boolean;
  /** How often a call arrives, and its answer does not. */
  lossChance: number;
  /** How much longer each call takes to arrive, in milliseconds, drawn up to this. */
  lateMs: number;
  /** How much longer each answer takes, in milliseconds, drawn up to this. */
  delayMs: number;
  /** How far watches lag, in milliseconds. */
  lagMs: number;
}

/** The state of the API server. Faults change it. */
export interface ServerState {
  /** Whether it is away: connections are refused. */
  isAway: boolean;
  /** How often it fails with a status, and which. The write may have taken effect all the same. */
  failChance: number;
  failStatus: number;
}

/** What is told of the calls of a replica. */
export interface NetworkListener {
  /** A call leaves the replica. */
  sent(call: ApiCall): void;
  /** A call has arrived and was answered with a status; 0 for a watch, and 410 for one whose version is forgotten. */
  arrived(call: ApiCall, status: number, answer: ApiAnswer | undefined): void;
  /** A call that has taken effect gets no answer, or one that says that it failed. */
  lost(call: ApiCall): void;
  /** The replica is shown an object, by an answer or a watch. */
  shown(object: Stored): void;
}

/** What a {@link Link} connects. */
export interface LinkOptions {
  readonly scheduler: Scheduler;
  readonly api: ApiServer;
  readonly server: ServerState;
  readonly random: Random;
  readonly process: SimulatedProcess;
  /** The replica's name. */
  readonly user: string;
  readonly listener: NetworkListener;
}

/** How often a watch gets a bookmark, in milliseconds. */
const BOOKMARK_MS = 60_000;

/** How late the next line of a watch that is behind arrives at least, in milliseconds. */
const BEHIND_MS = 1_000;

/**
 * How long after its beginning the replica may not have read a watch that goes on from a version, in milliseconds: it
 * first lists the versions, and the answer to that may be held back.
 */
const UNREAD_MS = 10_000;

/** The same where that list arrives late, too, which the fault "its calls arrive late" makes 25 s. */
const UNREAD_LATE_MS = 27_000;

/** A watch that is open. */
class OpenWatch {
  readonly body: ReadableStream<Uint8Array>;
  isOpen = true;
  /** Whether nothing arrives on it any more. */
  isSilent = false;
  readonly #link: Link;
  readonly #request: WatchRequest;
  readonly #openedAt: number;
  #controller!: ReadableStreamDefaultController<Uint8Array>;
  /** When the last line arrives. Lines do not overtake each other. */
  #last = 0;
  /** Whether a line was lost. */
  #hasMissed = false;
  /** The Nodes that it has shown and that are there, by name, and since when it has shown them with their ids. */
  readonly #shown = new Map<string, { readonly object: Stored; readonly at: number }>();

  constructor(link: Link, request: WatchRequest) {
    this.#link = link;
    this.#request = request;
    this.#openedAt = link.options.scheduler.now;
    this.body = new ReadableStream<Uint8Array>({
      start: (controller) => void (this.#controller = controller),
      cancel: () => this.end(),
    }, { highWaterMark: Infinity });
    for (const event of request.first) this.#send(event);
    if (request.isExpired) this.#later(() => this.close());
    else if (request.hasBookmarks) this.#bookmarkLater();
    link.options.scheduler.after(request.windowMs, () => this.#later(() => this.close()));
  }

  /** Whether it has not shown what has happened: a line was lost, or arrives far later than others do. */
  get isBehind(): boolean {
    return this.#hasMissed || this.#last > this.#link.options.scheduler.now + BEHIND_MS;
  }

  /** Whether it has just begun where an earlier one ended, so that the program may not read it yet. */
  get #mayBeUnread(): boolean {
    return !this.#request.isList && this.#link.options.scheduler.now - this.#openedAt < UNREAD_LATE_MS;
  }

  /**
   * The name of a Node that it has shown for longer than some milliseconds and that suits; undefined where there is
   * none, and where something is under way to the replica or was lost, or the watch has just begun.
   */
  nodeShownFor(ms: number, suits: (node: Stored) => boolean): string | undefined {
    const { now } = this.#link.options.scheduler;
    if (this.#hasMissed || this.isSilent || this.#last > now || now - this.#openedAt < UNREAD_MS) return undefined;
    for (const [name, { object, at }] of this.#shown) if (now - at > ms && suits(object)) return name;
    return undefined;
  }

  /** Shows a change. */
  show(event: Stored): void {
    this.#send(event);
  }

  /** The request that opened it. */
  get request(): WatchRequest {
    return this.#request;
  }

  /** Ends it without telling the replica. */
  end(): void {
    this.isOpen = false;
    this.#link.watches.delete(this);
  }

  /** Ends it as the server does. */
  close(): void {
    if (!this.isOpen) return;
    this.end();
    this.#controller.close();
  }

  /** Ends it as a broken connection does. */
  fail(error: unknown): void {
    if (!this.isOpen) return;
    this.end();
    this.#controller.error(error);
  }

  /** Tells it that its version is too old, and ends it. */
  expire(): void {
    const { api } = this.#link.options;
    this.#send({ type: "ERROR", object: expired("1", api.store.revision).body });
    this.#later(() => this.close());
  }

  #bookmarkLater(): void {
    const { scheduler, api } = this.#link.options;
    scheduler.after(BOOKMARK_MS, () => {
      if (!this.isOpen) return;
      const { revision } = api.store;
      if (revision >= this.#request.from) this.#send(this.#request.bookmark(revision));
      this.#bookmarkLater();
    });
  }

  #send(event: Stored): void {
    if (this.isSilent || this.#link.state.isCut) {
      // What is lost on a connection is not sent again on it: TCP waits for far longer than the run.
      this.isSilent = true;
      this.#hasMissed = true;
      return;
    }
    const line = new TextEncoder().encode(`{"type":"${event.type}","object":${textOf(event.object)}}\n`);
    this.#later(() => {
      this.#hasMissed ||= this.isSilent;
      if (!this.isOpen || this.isSilent) return;
      // A cordon speaks for the program, whether it has read that or not.
      const { listener } = this.#link.options;
      if (!this.#mayBeUnread || event.object.spec?.unschedulable === true) listener.shown(event.object);
      this.#noteShown(event);
      this.#controller.enqueue(line);
    });
  }

  #noteShown({ type, object }: Stored): void {
    const name = object.metadata?.name;
    if (this.#request.kind.plural !== "nodes" || name === undefined) return;
    if (type === "DELETED") return void this.#shown.delete(name);
    this.#link.followed.add(object.metadata.uid);
    const known = this.#shown.get(name);
    const isSame = known !== undefined && idsOf(known.object) === idsOf(object);
    this.#shown.set(name, { object, at: isSame ? known.at : this.#link.options.scheduler.now });
  }

  #later(run: () => void): void {
    const { scheduler, process } = this.#link.options;
    const at = Math.max(scheduler.now + this.#link.latency() + this.#link.lag(), this.#last);
    this.#last = at;
    scheduler.after(at - scheduler.now, run, process);
  }
}

/** See the module. */
export class Link {
  readonly options: LinkOptions;
  readonly state: LinkState = { isCut: false, isRefused: false, lossChance: 0, lateMs: 0, delayMs: 0, lagMs: 0 };
  /** The open watches. */
  readonly watches: Set<OpenWatch> = new Set();
  /** How many calls are under way. */
  calling = 0;
  /** The connections that may have gone silent, which no call on them notices. */
  #silent = 0;
  #opened = 0;
  /** How much longer the answer to the call takes that arrives now, in milliseconds. */
  #heldBackMs = 0;

  /** Makes one. The caller tells it of the changes of the store by {@link changed}. */
  constructor(options: LinkOptions) {
    this.options = options;
  }

  /** Opens a pool of connections. */
  connect(): Connections {
    const serial = ++this.#opened;
    return {
      fetch: (url, init) => this.#fetch(url, init, () => serial <= this.#silent),
      // Calls and watches under way go on.
      close() {},
    };
  }

  /**
   * Holds back the answer to the call that arrives now, by some milliseconds. The call has taken effect: so it goes
   * with a connection that loses packets, or an API server that waits before it answers.
   */
  holdBack(ms: number): void {
    this.#heldBackMs = ms;
  }

  /** Makes the connections that are open go silent for good: nobody is told, and only new ones work. */
  silence(): void {
    this.#silent = this.#opened;
    for (const watch of this.watches) watch.isSilent = true;
  }

  #fetch(url: string, init: ConnectionRequest, isSilent: () => boolean): Promise<Response> {
    const { process, user } = this.options;
    const signal = init.signal ?? undefined;
    if (signal?.aborted) return Promise.reject(signal.reason);
    const headers = new Headers(init.headers);
    const call: ApiCall = {
      method: init.method!,
      path: url.slice(url.indexOf("/", "https://".length)),
      accept: headers.get("accept") ?? "",
      ...(init.body !== undefined && init.body !== null && { body: init.body as string }),
      user,
    };
    return new Promise((resolve, reject) => {
      this.calling++;
      let watch: OpenWatch | undefined;
      let isSettled = false;
      const settle = (how: () => void) => {
        if (isSettled) return;
        isSettled = true;
        this.calling--;
        how();
        // An abort ends a watch, too.
        if (watch === undefined) signal?.removeEventListener("abort", abort);
      };
      const abort = () => {
        if (watch !== undefined) watch.fail(signal!.reason);
        settle(() => reject(signal!.reason));
      };
      signal?.addEventListener("abort", abort, { once: true });
      this.#carry(call, {
        process,
        fail: (why) => settle(() => reject(new TypeError(`error sending request: ${why}`))),
        answer: (answer, respond) =>
          settle(() => {
            if (answer.kind === "watch") {
              watch = new OpenWatch(this, answer.watch);
              this.watches.add(watch);
            }
            resolve(respond(watch?.body));
          }),
        isSettled: () => isSettled,
        isSilent,
      });
    });
  }

  /** The UIDs of the Nodes that the watch, or the list before it, has shown. */
  readonly followed = new Set<string>();

  /** Whether a watch of the Leases or the Nodes has not shown what has happened. */
  isBehind(plural: string): boolean {
    return [...this.watches].some((watch) => watch.isBehind && watch.request.kind.plural === plural);
  }

  /** See {@link OpenWatch.nodeShownFor}. */
  nodeShownFor(ms: number, suits: (node: Stored) => boolean): string | undefined {
    for (const watch of this.watches) {
      const name = watch.nodeShownFor(ms, suits);
      if (name !== undefined) return name;
    }
    return undefined;
  }

  /** Shows a change to the watches. */
  changed(change: Parameters<WatchRequest["shown"]>[0]): void {
    for (const watch of this.watches) {
      if (watch.request.kind !== change.kind) continue;
      const event = watch.request.shown(change);
      if (event !== undefined) watch.show(event);
    }
  }

  /** Breaks all connections. */
  reset(): void {
    for (const watch of [...this.watches]) {
      this.options.scheduler.after(0, () => watch.fail(new TypeError("connection reset")), this.options.process);
    }
  }

  /** Ends all watches, as an API server does that is told to stop. */
  endWatches(): void {
    for (const watch of [...this.watches]) {
      this.options.scheduler.after(0, () => watch.close(), this.options.process);
    }
  }

  /** How long a packet takes, in milliseconds. */
  latency(): number {
    const { random } = this.options;
    const draw = random.next();
    if (draw < 0.9) return 0.3 + 4 * random.next();
    return draw < 0.99 ? 5 + 45 * random.next() : 50 + 500 * random.next();
  }

  /** How far a watch lags now, in milliseconds. */
  lag(): number {
    return this.state.lagMs === 0 ? 0 : this.state.lagMs * this.options.random.next();
  }

  #carry(call: ApiCall, way: Way): void {
    const { scheduler, random, api, server, process, listener } = this.options;
    const { state } = this;
    listener.sent(call);
    if (state.isCut || way.isSilent()) return;
    if (state.isRefused || server.isAway) {
      scheduler.after(this.latency(), () => way.fail("connection refused"), process);
      return;
    }
    const late = state.lateMs === 0 || random.chance(0.5) ? 0 : state.lateMs * random.next();
    scheduler.after(this.latency() + late, () => {
      if (server.isAway) {
        listener.arrived(call, -1, undefined);
        scheduler.after(this.latency(), () => way.fail("connection reset"), process);
        return;
      }
      // The call takes effect even if its client has given up.
      const failure = random.chance(server.failChance) ? server.failStatus : undefined;
      // A call that fails may have taken effect.
      const takesEffect = failure === undefined || (failure >= 500 && random.chance(0.5));
      const isWatch = /[?&]watch=(1|true)/.test(call.path);
      if (isWatch && way.isSettled()) return;
      const answer = takesEffect && (failure === undefined || !isWatch) ? api.handle(call) : undefined;
      const shown = failure === undefined ? answer! : failed(failure);
      this.#heldBackMs = 0;
      listener.arrived(call, failure ?? statusOf(answer!), answer);
      const heldBackMs = this.#heldBackMs;
      const isLost = state.isCut || way.isSilent() || random.chance(state.lossChance);
      if (answer !== undefined && (isLost || failure !== undefined) && statusOf(answer) < 300) listener.lost(call);
      if (isLost) return;
      const date = new Date(scheduler.now).toUTCString();
      // Changes between the opening of a watch and the arrival of its headers are not lost: it begins here.
      if (shown.kind === "watch") return this.#open(call, shown, date, way);
      scheduler.after(this.latency() + state.delayMs * random.next() + heldBackMs, () => {
        if (way.isSettled()) return;
        this.#tell(call, shown);
        way.answer(shown, () => responseOf(shown, date, wantsBinaryList(call.accept)));
      }, process);
    });
  }

  /** A watch begins when its request arrives; its lines follow its headers. */
  #open(call: ApiCall, answer: ApiAnswer & { kind: "watch" }, date: string, way: Way): void {
    const { scheduler, api, process } = this.options;
    const from = api.store.revision;
    scheduler.after(this.latency(), () => {
      if (way.isSettled()) return;
      way.answer(answer, (body) => new Response(body, { headers: { "content-type": "application/json", date } }));
      const watch = [...this.watches].at(-1)!;
      for (const change of api.store.since(from)) {
        if (change.kind !== watch.request.kind) continue;
        const event = watch.request.shown(change);
        if (event !== undefined) watch.show(event);
      }
      void call;
    }, process);
  }

  #tell(call: ApiCall, answer: ApiAnswer): void {
    if (answer.kind !== "body" || answer.status >= 300 || !call.path.includes("/nodes")) return;
    // Metadata alone does not show whether a Node is cordoned.
    if (wantsMetadata(call.accept)) return;
    const shown = JSON.parse(answer.body);
    const isWatching = [...this.watches].some(({ request }) => request.kind.plural === "nodes");
    for (const object of shown.items ?? [shown]) {
      // What a search shows of a Node that the watch has never shown reaches no drain: that reads the Node itself.
      if (!isWatching) this.followed.add(object.metadata.uid);
      const isKept = shown.items === undefined || this.followed.has(object.metadata.uid);
      if (isKept || object.spec?.unschedulable) this.options.listener.shown({ kind: "Node", ...object });
    }
  }
}

/** What tells which client runs on a Node, and whether it runs. */
function idsOf({ metadata, status }: Stored): string {
  const ready = status?.conditions?.find(({ type }: Stored) => type === "Ready")?.status;
  return `${metadata.uid} ${status?.nodeInfo?.machineID} ${metadata.annotations?.["fleetlock.internal/id"]} ${ready}`;
}

/** The status of an answer; 0 for a watch that shows something. */
function statusOf(answer: ApiAnswer): number {
  if (answer.kind === "body") return answer.status;
  return answer.watch.isExpired ? 410 : 0;
}

/** How a call is settled. */
interface Way {
  readonly process: SimulatedProcess;
  fail(why: string): void;
  answer(answer: ApiAnswer, respond: (body?: ReadableStream<Uint8Array>) => Response): void;
  isSettled(): boolean;
  /** Whether the connection of the call carries nothing. */
  isSilent(): boolean;
}

function failed(status: number): ApiAnswer & { kind: "body" } {
  // The API server's protection against overload answers before it knows what the call is about, in plain text.
  if (status === 429) {
    return { kind: "body", status, body: "Too many requests, please try again later.\n", retryAfter: 1 };
  }
  const body = {
    apiVersion: "v1",
    kind: "Status",
    metadata: {},
    status: "Failure",
    message: "etcdserver: request timed out",
    reason: "InternalError",
    code: status,
  };
  return { kind: "body", status, body: JSON.stringify(body) };
}

/** The response of a call that failed with a status. */
export function failedResponse(status: number, date: string): Response {
  return responseOf(failed(status), date);
}

function responseOf(answer: ApiAnswer & { kind: "body" }, date: string, isBinary = false): Response {
  const { status, body, retryAfter } = answer;
  if (isBinary && status === 200) return binaryList(JSON.parse(body), { date });
  const type = body.startsWith("{") ? "application/json" : "text/plain; charset=utf-8";
  const headers: Record<string, string> = { "content-type": type, date };
  if (retryAfter !== undefined) headers["retry-after"] = `${retryAfter}`;
  return new Response(body, { status, headers });
}
