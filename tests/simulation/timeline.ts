/**
 * What happened in a run, one line an event, and how often which situation was reached.
 *
 * @module
 */

import { createHash } from "node:crypto";

/** See the module. */
export class Timeline {
  readonly #now: () => number;
  readonly #start: number;
  readonly #lines: { readonly at: number; readonly about: string; readonly text: string }[] = [];
  /** The situations, by name. */
  readonly situations: Map<string, number> = new Map();

  /** Makes an empty one; `now` gives the true time, in milliseconds since the epoch. */
  constructor(now: () => number) {
    this.#now = now;
    this.#start = now();
  }

  /** Adds a line. */
  add(about: string, text: string): void {
    this.#lines.push({ at: this.#now() - this.#start, about, text });
  }

  /** Counts a situation. */
  count(situation: string, by = 1): void {
    this.situations.set(situation, (this.situations.get(situation) ?? 0) + by);
  }

  /** The last lines, about the given names alone where there are some. */
  text(last = Infinity, about: readonly string[] = []): string[] {
    const chosen = about.length === 0
      ? this.#lines
      : this.#lines.filter((line) => about.some((name) => line.about === name || line.text.includes(name)));
    return chosen.slice(-Math.min(last, chosen.length)).map(({ at, about, text }) =>
      `${clockOf(at)} ${about}: ${text}`
    );
  }

  /** A fingerprint of the whole run. */
  hash(): string {
    const hash = createHash("sha256");
    for (const { at, about, text } of this.#lines) hash.update(`${at} ${about}: ${text}\n`);
    return hash.digest("hex").slice(0, 16);
  }
}

/** Writes a time since the start as hours, minutes and seconds. */
export function clockOf(ms: number): string {
  const seconds = ms / 1000;
  const part = (value: number) => String(Math.floor(value)).padStart(2, "0");
  return `${part(seconds / 3600)}:${part(seconds / 60 % 60)}:${(seconds % 60).toFixed(3).padStart(6, "0")}`;
}
