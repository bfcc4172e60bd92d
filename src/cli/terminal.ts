/**
 * How commands write for people: colours, widths, ages and lists. It follows the
 * terminal; in a pipe there are no colours, and no line is cut.
 *
 * @module
 */

import { describeDuration, UNPRINTABLE } from "../lock/wording.ts";
import type { Screen } from "./command.ts";

/** A colour or weight. */
export type Style = "bold" | "dim" | "red" | "yellow" | "green";

const CODES: Readonly<Record<Style, string>> = { bold: "1", dim: "2", red: "31", yellow: "33", green: "32" };

/** Writes text in styles, where the terminal has colours. */
export type Paint = (style: Style, text: string) => string;

/** Makes the painter of a screen. */
export function painter(screen: Screen | undefined): Paint {
  if (!screen?.hasColours) return (_style, text) => text;
  return (style, text) => `\x1b[${CODES[style]}m${text}\x1b[0m`;
}

/** The widest that a sentence is written on a terminal, in characters. */
const WIDEST = 110;

/**
 * Breaks a sentence into lines.
 *
 * @param indent What each line starts with; the first one starts with `first`.
 */
export function wrap(text: string, screen: Screen | undefined, first = "", indent: string = first): string[] {
  const clean = text.replace(UNPRINTABLE, "\ufffd");
  if (screen === undefined) return [first + clean];
  const width = Math.max(30, Math.min(screen.columns, WIDEST));
  const lines: string[] = [];
  let line = first;
  let hasWord = false;
  for (const word of clean.split(" ")) {
    if (hasWord && line.length + 1 + word.length > width) {
      lines.push(line);
      line = indent + word;
    } else {
      line += hasWord ? ` ${word}` : word;
    }
    hasWord = true;
  }
  return [...lines, line];
}

/** How much is added to a time that is ahead before it is rounded down, in milliseconds. */
const AHEAD_MS = 30_000;

/**
 * Writes a moment as an age.
 *
 * @param time RFC 3339.
 * @param now RFC 3339.
 * @returns `12 min ago`, `in 3 h`, or `now`.
 */
export function ago(time: string, now: string): string {
  const ms = Date.parse(now) - Date.parse(time);
  if (Number.isNaN(ms)) return "at an unknown time";
  if (Math.abs(ms) < 1_000) return "now";
  // Ages are rounded down. What is ahead by 1 h 59 min 50 s is better called 2 h.
  return ms > 0 ? `${describeDuration(ms)} ago` : `in ${describeDuration(-ms + AHEAD_MS)}`;
}

/** Writes for how long something has lasted, such as `12 min`. */
export function lasting(since: string, now: string): string {
  const ms = Date.parse(now) - Date.parse(since);
  return Number.isNaN(ms) ? "an unknown time" : describeDuration(ms);
}

/** Pads the cells of rows to columns. The last cell of a row is not padded. */
export function columns(rows: readonly (readonly string[])[], gap = 2): string[] {
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, at) => widths[at] = Math.max(widths[at] ?? 0, cell.length));
  return rows.map((row) =>
    row.map((cell, at) => at === row.length - 1 ? cell : cell.padEnd(widths[at]! + gap)).join("").trimEnd()
  );
}
