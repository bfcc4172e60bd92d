/**
 * A registry of metrics in the Prometheus text format. It imports prom-client's
 * parts one by one: the package's index costs more memory and start-up time than
 * the rest of the server, and its default metrics are wrong on Deno. Which
 * metrics there are is up to the modules that make them.
 *
 * @module
 */

import type { Counter, Gauge, Histogram, Registry } from "prom-client";
import CounterClass from "prom-client/lib/counter.js";
import GaugeClass from "prom-client/lib/gauge.js";
import HistogramClass from "prom-client/lib/histogram.js";
import RegistryClass from "prom-client/lib/registry.js";

// prom-client has types for its index only.
const typed = <T>(untyped: unknown): T => untyped as T;
const NewRegistry = typed<new () => Registry>(RegistryClass);
const NewCounter = typed<new <T extends string>(options: object) => Counter<T>>(CounterClass);
const NewGauge = typed<new <T extends string>(options: object) => Gauge<T>>(GaugeClass);
const NewHistogram = typed<new <T extends string>(options: object) => Histogram<T>>(HistogramClass);

/** Counts for a counter between two scrapes: incrementing a plain number takes a fifth of the time. */
export interface Tally {
  /** What was counted since the last scrape. */
  count: number;
}

/** Makes metrics and renders them. */
export class MetricRegistry {
  readonly #registry = new NewRegistry();
  readonly #tallies: { readonly counter: Counter.Internal; readonly tally: Tally }[] = [];

  /** The media type of {@link render}'s text. */
  get contentType(): string {
    return this.#registry.contentType;
  }

  /**
   * Makes a gauge.
   *
   * @param collect Sets the current values; called at each scrape.
   */
  gauge<T extends string = never>(
    name: string,
    help: string,
    labelNames: readonly T[] = [],
    collect?: () => void,
  ): Gauge<T> {
    return new NewGauge<T>({ name, help, labelNames, collect, registers: [this.#registry] });
  }

  /**
   * Makes a counter.
   *
   * @param collect Adds what is new; called at each scrape.
   */
  counter<T extends string = never>(
    name: string,
    help: string,
    labelNames: readonly T[] = [],
    collect?: () => void,
  ): Counter<T> {
    return new NewCounter<T>({ name, help, labelNames, collect, registers: [this.#registry] });
  }

  /**
   * Makes a histogram.
   *
   * @param buckets The buckets' upper bounds, ascending.
   */
  histogram<T extends string>(
    name: string,
    help: string,
    labelNames: readonly T[],
    buckets: readonly number[],
  ): Histogram<T> {
    return new NewHistogram<T>({ name, help, labelNames, buckets, registers: [this.#registry] });
  }

  /** Makes a tally of a counter, or of one of its series. The series starts at 0. */
  tally(counter: Counter.Internal): Tally {
    counter.inc(0);
    const tally = { count: 0 };
    this.#tallies.push({ counter, tally });
    return tally;
  }

  /** Renders all metrics in the Prometheus text format, version 0.0.4. */
  async render(): Promise<string> {
    for (const { counter, tally } of this.#tallies) {
      counter.inc(tally.count);
      tally.count = 0;
    }
    return await this.#registry.metrics();
  }
}
