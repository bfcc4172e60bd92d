/**
 * What happened in a run, one line an event, and how often which situation was reached.
 *
 * @module
 */

import { createHash } from "node:crypto";

/** The lines that matter whatever they are about. */
const ALWAYS: readonly string[] = ["VIOLATION", "world", "policies"];

/** The line of a call of a replica. */
const CALL = /^(GET|POST|PUT|PATCH|DELETE) /;

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

  /**
   * The last lines: all, or those about some names, together with what happens to the replicas and to the world.
   *
   * @param last How many at most. A line in front says how many more there are.
   */
  text(last = Infinity, about: readonly string[] = []): string[] {
    const isAbout = matcherOf(about);
    const chosen = about.length === 0 ? this.#lines : this.#lines.filter((line) => {
      return ALWAYS.includes(line.about) || isAbout(line.about) || isAbout(line.text) ||
        (/^r\d+$/.test(line.about) && !CALL.test(line.text));
    });
    const left = Math.max(0, chosen.length - last);
    const lines = chosen.slice(left).map(({ at, about, text }) => `${clockOf(at)} ${about}: ${text}`);
    return left === 0 ? lines : [`(${left} lines before)`, ...lines];
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

/**
 * Tells which texts contain one of some names as a word. Of `namespace/name`, the name is enough: paths write it apart.
 */
function matcherOf(names: readonly string[]): (text: string) => boolean {
  const words = names.map((name) => RegExp.escape(name.slice(name.lastIndexOf("/") + 1))).join("|");
  const pattern = new RegExp(`(?<![\\w-])(?:${words})(?![\\w-])`);
  return (text) => pattern.test(text);
}
