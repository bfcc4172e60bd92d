/**
 * Keeps the policies of a configuration file up to date. It reads the file at the
 * start, when something in its folder changes, every 10 s, and on request. What
 * is not valid never takes effect: the last valid file stays in force.
 *
 * Import it dynamically: it loads the parser of the file.
 *
 * @module
 */

import { dirname } from "node:path";
import { type Clock, systemClock } from "../lock/clock.ts";
import { WakeableSleep } from "../lock/wakeable_sleep.ts";
import type { PolicyOptions } from "../policies/options.ts";
import { ConfigError } from "./config_error.ts";
import { type FileContext, parsePolicyFile } from "./file/policy_file.ts";

/** Gets what happens to the file. */
export interface PolicyFileObserver {
  /** A file is in force now that was not before, or the one in force is back, or somebody asked for a look. */
  loaded?(hash: string): void;
  /** What is in the file's place cannot be used, and is new or somebody asked. There is a line for each error. */
  failed?(errors: readonly string[]): void;
}

/** Options of {@link PolicyFile.open}. */
export interface PolicyFileOptions {
  /** What the flags say and the file depends on. */
  readonly context: FileContext;
  /** Gets what happens to the file, after the start. */
  readonly observer?: PolicyFileObserver;
  /** Measures the time between looks at the file. @default {systemClock} */
  readonly clock?: Clock;
  /** Watches a folder. @default {Deno.watchFs} */
  readonly watchFolder?: (folder: string) => AsyncIterable<{ readonly kind: string }> & { close(): void };
}

/** How long after one look at the file the next one is, in milliseconds, if nothing changes. */
const LOOK_MS = 10_000;

/**
 * For how long a new content must stay the same before it counts, in milliseconds. An editor may write a file in
 * parts, and a part of a file may be valid and lack a rule.
 */
const SETTLE_MS = 200;

/** How long after a failed watch the next one is tried, in milliseconds. */
const REWATCH_MS = 60_000;

/** The size limit of a ConfigMap, and so of a file. */
const MAX_BYTES = 1_048_576;

/** What is in the place of a configuration file. */
export type Content =
  /** A text. The hash is the first 16 hexadecimal digits of the SHA-256 of its bytes. */
  | { readonly kind: "text"; readonly text: string; readonly hash: string }
  /** Nothing that can be read. */
  | { readonly kind: "unreadable"; readonly why: string };

/** A configuration file in force. Dispose of it to stop watching. */
export class PolicyFile implements AsyncDisposable {
  readonly #path: string;
  readonly #options: PolicyFileOptions;
  readonly #clock: Clock;
  readonly #pause: WakeableSleep;
  readonly #stop = new AbortController();
  readonly #listeners = new Set<(options: PolicyOptions) => void>();
  readonly #tasks: Promise<unknown>[] = [];
  #current: PolicyOptions;
  #hash: string;
  /** What was there at the last look that counted. */
  #seen: Content;
  #errors: readonly string[] = [];
  #failures = 0;
  #isAsked = false;

  private constructor(
    path: string,
    options: PolicyFileOptions,
    current: PolicyOptions,
    content: Content,
    hash: string,
  ) {
    this.#path = path;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#pause = new WakeableSleep(this.#clock);
    this.#current = current;
    this.#seen = content;
    this.#hash = hash;
  }

  /**
   * Reads a file and starts to watch it.
   *
   * @throws {ConfigError} The file cannot be read or is not valid. The message has a line for each error.
   */
  static async open(path: string, options: PolicyFileOptions): Promise<PolicyFile> {
    const content = await readPolicyFile(path);
    const parsed = parse(content, path, options.context);
    if (content.kind !== "text" || parsed.kind === "invalid") {
      const errors = parsed.kind === "invalid" ? parsed.errors : [];
      throw new ConfigError(`the configuration file is not valid:\n${errors.join("\n")}`);
    }
    const file = new PolicyFile(path, options, parsed.options, content, content.hash);
    file.#tasks.push(file.#run(), file.#watch());
    return file;
  }

  /** The policies in force. */
  get current(): PolicyOptions {
    return this.#current;
  }

  /** The first 16 hexadecimal digits of the SHA-256 of the bytes of the file in force. */
  get hash(): string {
    return this.#hash;
  }

  /** What is wrong with what is in the file's place now, a line for each error; empty where it is in force. */
  get errors(): readonly string[] {
    return this.#errors;
  }

  /** How many times the content was new, or somebody asked for a look, and it could not be used. */
  get failures(): number {
    return this.#failures;
  }

  /** Calls a function with each new version of the policies, until the result is disposed of. */
  subscribe(listener: (options: PolicyOptions) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => this.#listeners.delete(listener) };
  }

  /** Looks at the file now. The observer hears of the result even if nothing has changed. */
  reload(): void {
    this.#isAsked = true;
    this.#pause.wake();
  }

  /** Stops watching. The policies stay. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#tasks);
  }

  /** Looks at the file again and again. */
  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (true) {
      await this.#pause.sleep(LOOK_MS, signal);
      if (signal.aborted) return;
      const isAsked = this.#isAsked;
      this.#isAsked = false;
      let content = await readPolicyFile(this.#path);
      let isSettled = isSame(content, this.#seen);
      while (!isSettled) {
        const before = content;
        await this.#clock.sleep(SETTLE_MS, signal).catch(() => {});
        if (signal.aborted) return;
        content = await readPolicyFile(this.#path);
        isSettled = isSame(content, before);
      }
      if (isAsked || !isSame(content, this.#seen)) this.#take(content);
      // Other files of the folder may change all the time.
      await this.#clock.sleep(SETTLE_MS, signal).catch(() => {});
    }
  }

  /** Lets a new content take effect if it is valid. */
  #take(content: Content): void {
    this.#seen = content;
    const parsed = content.kind === "text" && content.hash === this.#hash
      ? undefined
      : parse(content, this.#path, this.#options.context);
    if (parsed?.kind === "invalid") {
      this.#errors = parsed.errors;
      this.#failures++;
      this.#options.observer?.failed?.(parsed.errors);
      return;
    }
    this.#errors = [];
    if (parsed !== undefined && content.kind === "text") {
      this.#hash = content.hash;
      this.#current = parsed.options;
      for (const listener of this.#listeners) listener(parsed.options);
    }
    this.#options.observer?.loaded?.(this.#hash);
  }

  /**
   * Wakes {@link #run} when something in the file's folder changes. The folder is watched, not the file: a watch of a
   * file that is replaced, as in a ConfigMap, goes deaf. Where there is no watch, the regular looks are enough.
   */
  async #watch(): Promise<void> {
    const { signal } = this.#stop;
    const watchFolder = this.#options.watchFolder ?? ((folder) => Deno.watchFs(folder, { recursive: false }));
    while (!signal.aborted) {
      try {
        const watcher = watchFolder(dirname(this.#path));
        const close = () => watcher.close();
        signal.addEventListener("abort", close, { once: true });
        try {
          for await (const { kind } of watcher) {
            // A look at the file is an access too.
            if (kind !== "access") this.#pause.wake();
          }
        } finally {
          signal.removeEventListener("abort", close);
        }
      } catch {
        // Such as a limit of the system on watches.
      }
      await this.#clock.sleep(REWATCH_MS, signal).catch(() => {});
    }
  }
}

function parse(content: Content, path: string, context: FileContext): ReturnType<typeof parsePolicyFile> {
  if (content.kind === "text") return parsePolicyFile(content.text, path, context);
  return { kind: "invalid", errors: [`${path}: ${content.why}`] };
}

function isSame(one: Content, other: Content): boolean {
  if (one.kind === "unreadable") return other.kind === "unreadable" && one.why === other.why;
  return other.kind === "text" && one.hash === other.hash;
}

/** Reads a configuration file. It does not throw. */
export async function readPolicyFile(path: string): Promise<Content> {
  try {
    // Opening a pipe waits for its writer, and a device may never end.
    if (!(await Deno.stat(path)).isFile) return { kind: "unreadable", why: "it is not a regular file" };
    const bytes = await readAtMost(path, MAX_BYTES + 1);
    if (bytes.length > MAX_BYTES) return { kind: "unreadable", why: "the file is larger than 1 MiB" };
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex().slice(0, 16);
    return { kind: "text", text: new TextDecoder("utf-8", { fatal: true }).decode(bytes), hash };
  } catch (error) {
    return { kind: "unreadable", why: describe(error) };
  }
}

/** Reads the beginning of a file, which may grow meanwhile. */
async function readAtMost(path: string, most: number): Promise<Uint8Array<ArrayBuffer>> {
  using file = await Deno.open(path);
  const chunks = new Uint8Array(most);
  let length = 0;
  while (length < most) {
    const count = await file.read(chunks.subarray(length));
    if (count === null) break;
    length += count;
  }
  return chunks.slice(0, length);
}

function describe(error: unknown): string {
  if (error instanceof Deno.errors.NotFound) return "the file does not exist";
  if (error instanceof TypeError) return "the file is not UTF-8";
  return `the file cannot be read: ${error instanceof Error ? error.message : error}`;
}
