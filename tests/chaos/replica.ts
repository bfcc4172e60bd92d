/**
 * Runs a replica of the program as a process that reaches the API server through
 * its own proxy, keeps its address over restarts, and may have a wrong clock.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import type { ControlPlane } from "../support/control_plane.ts";
import { until } from "../support/condition.ts";
import { faketimeEnvironment } from "../support/faketime.ts";
import { PROGRAM } from "../support/program.ts";
import { FaultProxy } from "../support/fault_proxy.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** Options of {@link Replica.start}. */
export interface ReplicaOptions {
  /** The prefix of its files' names. */
  readonly name: string;
  readonly namespace: string;
  /** The script to run instead of the program, as a path from the project's root. */
  readonly entry?: string;
  /** More flags of the program. */
  readonly flags?: readonly string[];
  /** An error of its clock that lasts, such as `+1h`, made by faketime. It replaces the offsets of its launches. */
  readonly clock?: string;
  /** Further variables of its environment. */
  readonly environment?: Readonly<Record<string, string>>;
}

/** A replica. Disposing of it kills it. */
export class Replica implements AsyncDisposable {
  /** The proxy between it and the API server. */
  readonly proxy: FaultProxy;
  /** Its base URL, which a restart does not change. */
  readonly url: URL;
  readonly #options: ReplicaOptions;
  readonly #plane: ControlPlane;
  readonly #kubeconfig: string;
  #process: Deno.ChildProcess | undefined;
  #launches = 0;

  private constructor(options: ReplicaOptions, plane: ControlPlane, proxy: FaultProxy, kubeconfig: string) {
    this.proxy = proxy;
    this.#options = options;
    this.#plane = plane;
    this.#kubeconfig = kubeconfig;
    this.url = new URL(`http://127.0.0.1:${freePort()}`);
  }

  /** Starts a replica and waits until it answers. */
  static async start(plane: ControlPlane, options: ReplicaOptions, clockOffsetMs = 0): Promise<Replica> {
    const proxy = new FaultProxy(plane.port);
    const server = `https://127.0.0.1:${proxy.port}`;
    const kubeconfig = await plane.writeKubeconfig({ token: plane.adminToken }, { server });
    const replica = new Replica(options, plane, proxy, kubeconfig);
    await replica.launch(clockOffsetMs);
    await until(() => replica.#answers(), { timeoutMs: 30_000, what: `${options.name} answers` });
    return replica;
  }

  /** Its name. */
  get name(): string {
    return this.#options.name;
  }

  /** How often its process has been started. */
  get launches(): number {
    return this.#launches;
  }

  /** Whether there is a process, paused or not. */
  get isRunning(): boolean {
    return this.#process !== undefined;
  }

  /** Starts the process without waiting for it. Its clock is wrong by the offset, unless it is an executable. */
  async launch(clockOffsetMs = 0): Promise<void> {
    const { folder } = this.#plane;
    const { name, namespace, entry = PROGRAM, flags: more = [], clock, environment } = this.#options;
    this.#launches++;
    const path = entry.startsWith("/") ? entry : `${root}${entry}`;
    const args = [`--address=${this.url.host}`, ...more];
    if (/\.[jt]s$/.test(path)) {
      const rights = this.#options.entry === undefined ? "-P" : "-A";
      const flags = ["--quiet", "--no-prompt", "--no-check", "--config", `${root}deno.json`, rights];
      if (clock === undefined) {
        const preload = `${folder}/${name}-clock.js`;
        await Deno.writeTextFile(preload, shiftedClock(clockOffsetMs));
        flags.push("--preload", preload);
      }
      args.unshift(Deno.execPath(), "run", ...flags, path);
    } else args.unshift(path);
    this.#process = new Deno.Command("sh", {
      // The shell redirects the output to a file and then becomes the program.
      args: ["-c", 'exec "$0" "$@" >>"$LOG" 2>&1', ...args],
      clearEnv: true,
      env: {
        PATH: Deno.env.get("PATH") ?? "",
        HOME: Deno.env.get("HOME") ?? "",
        LOG: `${folder}/${name}.log`,
        KUBECONFIG: this.#kubeconfig,
        NAMESPACE: namespace,
        FLEETLOCK_LOG_LEVEL: "warning",
        ...(clock !== undefined && faketimeEnvironment(clock)),
        ...environment,
      },
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
  }

  /** Kills the process (SIGKILL), paused or not, and waits for its end. */
  async kill(): Promise<void> {
    const process = this.#process;
    this.#process = undefined;
    if (process === undefined) return;
    signal(process, "SIGKILL");
    await process.status;
  }

  /** Pauses the process (SIGSTOP). */
  pause(): void {
    if (this.#process !== undefined) signal(this.#process, "SIGSTOP");
  }

  /** Resumes a paused process. */
  resume(): void {
    if (this.#process !== undefined) signal(this.#process, "SIGCONT");
  }

  /** Reads its log. */
  async log(): Promise<string> {
    return await Deno.readTextFile(`${this.#plane.folder}/${this.#options.name}.log`).catch(() => "");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await this.proxy[Symbol.asyncDispose]();
  }

  async #answers(): Promise<boolean> {
    try {
      const response = await fetch(new URL("/-/healthy", this.url));
      await response.body?.cancel();
      return response.ok;
    } catch {
      return false;
    }
  }
}

/** A script that shifts the wall clock of a process, but not its monotonic clock. */
function shiftedClock(offsetMs: number): string {
  return `const RightDate = Date;
globalThis.Date = class Date extends RightDate {
  constructor(...parts) {
    if (parts.length === 0) super(RightDate.now() + ${offsetMs});
    else super(...parts);
  }
  static now() {
    return RightDate.now() + ${offsetMs};
  }
};
`;
}

function signal(process: Deno.ChildProcess, name: Deno.Signal): void {
  try {
    process.kill(name);
  } catch (error) {
    // The process has already ended.
    if (!(error instanceof TypeError)) throw error;
  }
}

function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}
