/**
 * A replica: the real service, started by `startService`, on a simulated process and network. It can be killed at any
 * moment, paused, restarted and stopped.
 *
 * @module
 */

import { parseConfig } from "../../../src/config/config.ts";
import type { FreshNodesOptions } from "../../../src/keeper/nodes/fresh_nodes.ts";
import type { ConnectionOptions } from "../../../src/kubernetes/access.ts";
import type { Random } from "../../../src/simulator/random.ts";
import { type Service, startService } from "../../../src/service/service.ts";
import { SimulatedProcess } from "../engine/process.ts";
import type { Scheduler } from "../engine/scheduler.ts";
import type { ApiServer } from "./api.ts";
import { policiesOf } from "./policies.ts";
import { Link, type NetworkListener, type ServerState } from "./network.ts";

/** What a replica runs on. */
export interface ReplicaOptions {
  readonly name: string;
  readonly scheduler: Scheduler;
  readonly api: ApiServer;
  readonly server: ServerState;
  readonly random: Random;
  /** Told of the calls of each process. */
  readonly listener: (process: SimulatedProcess) => NetworkListener;
  /** How many slots it gives each group at first. */
  readonly slots: number;
  /** How long a Node must be gone until its hold is freed, in milliseconds; undefined where it never is. */
  readonly goneAfterMs?: number;
  /** The flags of the program, by name. */
  readonly flags: Readonly<Record<string, string>>;
  /** How long it waits before it asks for its permissions again, in milliseconds. */
  readonly permissionIntervalMs: number;
  /** How many of its calls may wait for their turn; undefined as the program says. */
  readonly maxWaiting?: number;
  /** How it reads Nodes that its watch may not have seen. */
  readonly freshNodes: FreshNodesOptions;
  /** Called where the program fails to start or to stop. */
  readonly failed: (error: unknown) => void;
}

/** What a request's sender learns. */
export interface Answered {
  readonly status: number;
  readonly text: string;
}

/** The process of a replica and what belongs to it. */
interface Running {
  readonly process: SimulatedProcess;
  readonly link: Link;
  handler?: Deno.ServeHandler<Deno.NetAddr>;
  service?: Service;
}

const NOBODY: ConnectionOptions = { source: "the simulation" };

/** See the module. */
export class Replica {
  /** How often it has been started. */
  starts = 0;
  /** How many slots it gives each group. */
  slots: number;
  readonly #options: ReplicaOptions;
  #running: Running | undefined;

  /** Makes one that does not run yet. */
  constructor(options: ReplicaOptions) {
    this.#options = options;
    this.slots = options.slots;
  }

  /** Its name. */
  get name(): string {
    return this.#options.name;
  }

  /** Its process; undefined while there is none. */
  get process(): SimulatedProcess | undefined {
    return this.#running?.process;
  }

  /** Its network; undefined while there is no process. */
  get link(): Link | undefined {
    return this.#running?.link;
  }

  /** Whether it takes connections. */
  get isListening(): boolean {
    return this.#running?.handler !== undefined;
  }

  /** Starts it. Its wall clock is wrong by `offsetMs`. */
  start(offsetMs = 0): void {
    const {
      name,
      scheduler,
      api,
      server,
      random,
      flags,
      goneAfterMs,
      permissionIntervalMs,
      freshNodes,
      maxWaiting,
      failed,
      listener,
    } = this.#options;
    this.starts++;
    const process = new SimulatedProcess(scheduler);
    process.offsetMs = offsetMs;
    const link = new Link({
      scheduler,
      api,
      server,
      random: random.fork(),
      process,
      user: name,
      listener: listener(process),
    });
    const running: Running = { process, link };
    this.#running = running;
    const config = parseConfig(flags, { KUBERNETES_SERVICE_HOST: "sim", NAMESPACE: "ops", POD_NAME: name });
    const own = random.fork();
    const starting = startService(config, {
      version: "simulated",
      clock: process,
      random: () => own.next(),
      permissionIntervalMs,
      freshNodes,
      policy: policiesOf(() => this.slots, () => scheduler.now, goneAfterMs),
      connection: {
        access: { server: "https://sim", credentials: () => Promise.resolve({ headers: {}, tls: NOBODY }) },
        open: () => link.connect(),
        maxWaiting,
      },
      serve: (address, handler) => {
        running.handler = handler;
        return {
          addr: { ...address, transport: "tcp" },
          finished: new Promise<void>(() => {}),
          shutdown: () => {
            running.handler = undefined;
            return Promise.resolve();
          },
        };
      },
    });
    starting.then((service) => void (running.service = service), failed);
  }

  /** Kills it. What it has sent arrives all the same. */
  kill(): void {
    const running = this.#running;
    this.#running = undefined;
    running?.process.kill();
  }

  /**
   * Stops it as SIGTERM does.
   *
   * @returns What is left of it afterwards, a line each.
   */
  async stop(): Promise<string[]> {
    const running = this.#running;
    if (running === undefined) return [];
    const { service, process, link } = running;
    if (service === undefined) return [`${this.name} has not started`];
    await service.stop();
    this.#running = undefined;
    const left: string[] = [];
    if (process.sleeping > 0) left.push(`${this.name} has ${process.sleeping} timers left`);
    if (link.calling > 0) left.push(`${this.name} has ${link.calling} calls left`);
    if (link.watches.size > 0) left.push(`${this.name} has ${link.watches.size} watches left`);
    return left;
  }

  /**
   * Hands a request to the program.
   *
   * @param hungUp Aborts when the client hangs up.
   * @param answered Called with the answer, unless the process ends before.
   * @returns Whether it took the request.
   */
  request(path: string, body: string, hungUp: AbortSignal, answered: (answer: Answered) => void): boolean {
    const running = this.#running;
    if (running?.handler === undefined) return false;
    const request = new Request(`http://${this.name}${path}`, {
      method: "POST",
      headers: { "fleet-lock-protocol": "true", "content-length": `${body.length}` },
      body,
      signal: hungUp,
    });
    // The handler never throws; a fault of it is one of the run.
    const info = undefined as unknown as Deno.ServeHandlerInfo<Deno.NetAddr>;
    Promise.resolve(running.handler(request, info)).then(async (response) => {
      answered({ status: response.status, text: await response.text() });
    }, this.#options.failed);
    return true;
  }
}
