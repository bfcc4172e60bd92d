/**
 * Answers to questions that cost calls, kept for some seconds and shared by whoever
 * asks meanwhile, so that no poll costs one.
 *
 * @module
 */

import type { Clock } from "../lock/clock.ts";
import type { Gathered } from "../policies/snapshot.ts";

/** Options of {@link KeptAnswers}. */
export interface KeptAnswersOptions {
  /** Measures how old an answer is, and the time limit. */
  readonly clock: Pick<Clock, "monotonic" | "sleep">;
  /** How long an answer is kept, in milliseconds. @default {10_000} */
  readonly keptMs?: number;
  /** The time limit of a question, in milliseconds. @default {5_000} */
  readonly timeoutMs?: number;
}

/** See the module. Each question has a text as its key. */
export class KeptAnswers<T> {
  readonly #options: Required<KeptAnswersOptions>;
  /** In the order of the questions, so that the oldest one is first. */
  readonly #known = new Map<string, { readonly answer: Gathered<T>; readonly until: number }>();
  readonly #running = new Map<string, Promise<Gathered<T>>>();

  /** Makes one that knows nothing yet. */
  constructor(options: KeptAnswersOptions) {
    this.#options = { keptMs: 10_000, timeoutMs: 5_000, ...options };
  }

  /** The answer of the last seconds; `not_asked` where there is none. */
  known(key: string): Gathered<T> {
    const known = this.#known.get(key);
    return known === undefined || this.#options.clock.monotonic() >= known.until ? { kind: "not_asked" } : known.answer;
  }

  /**
   * Asks, or takes the answer of the last seconds. Does not throw.
   *
   * @param question Its signal ends it after the time limit. What it throws is told with `describe`.
   */
  ask(
    key: string,
    question: (signal: AbortSignal) => Promise<T>,
    describe: (error: unknown) => string,
  ): Promise<Gathered<T>> {
    const known = this.known(key);
    if (known.kind !== "not_asked") return Promise.resolve(known);
    let running = this.#running.get(key);
    if (running === undefined) {
      running = this.#ask(key, question, describe).finally(() => this.#running.delete(key));
      this.#running.set(key, running);
    }
    return running;
  }

  async #ask(
    key: string,
    question: (signal: AbortSignal) => Promise<T>,
    describe: (error: unknown) => string,
  ): Promise<Gathered<T>> {
    const { clock, keptMs, timeoutMs } = this.#options;
    // An answer is as old as its question.
    const asked = clock.monotonic();
    const late = new AbortController();
    const done = new AbortController();
    clock.sleep(timeoutMs, done.signal).then(() => late.abort(), () => {});
    let answer: Gathered<T>;
    try {
      answer = { kind: "known", value: await question(late.signal) };
    } catch (error) {
      answer = { kind: "failed", reason: late.signal.aborted ? "there was no answer in time" : describe(error) };
    } finally {
      done.abort();
    }
    for (const [other, { until }] of this.#known) if (until <= asked) this.#known.delete(other);
    this.#known.delete(key);
    this.#known.set(key, { answer, until: asked + keptMs });
    return answer;
  }
}
