/**
 * The command `status`: who holds which slot, for how long, what it waits for, and
 * what to type next.
 *
 * @module
 */

import { ConfigError } from "../config/config_error.ts";
import { systemClock } from "../lock/clock.ts";
import { UnavailableError } from "../lock/errors.ts";
import { lookAt, type LookOptions } from "../operate/look.ts";
import { isStuck, type Overview } from "../operate/overview.ts";
import { openPlace, type Place } from "../operate/place.ts";
import { EXIT, type Io, type Screen } from "./command.ts";
import { lookOptions, type PlaceOptions } from "./options.ts";
import { statusText } from "./status_text.ts";

/** The flags of the command. */
export interface StatusFlags extends PlaceOptions {
  /** The only group to show. */
  readonly group?: string;
  /** Whether to go on until the signal aborts. */
  readonly watch?: boolean;
  /** The form of the output. */
  readonly output: "table" | "json";
}

/** How often a watch looks, in milliseconds. */
const WATCH_MS = 2_000;

/**
 * Shows the state of the fleet.
 *
 * @returns The exit code: 0, 2 where something is stuck, 1 where nothing could be read.
 */
export async function status(flags: StatusFlags, io: Io, signal: AbortSignal): Promise<number> {
  await using place = await openPlace(flags, io.environment());
  const options = lookOptions(flags, signal);
  if (flags.watch) return await watch(place, flags, options, io, signal);
  const overview = await look(place, flags, options);
  io.stdout(flags.output === "json" ? `${JSON.stringify(overview, null, 2)}\n` : statusText(overview, io.screen()));
  return isStuck(overview) ? EXIT.STUCK : EXIT.OK;
}

/** Looks again and again until the signal aborts. In a pipe, it writes only what has changed. */
async function watch(
  place: Place,
  flags: StatusFlags,
  options: LookOptions,
  io: Io,
  signal: AbortSignal,
): Promise<number> {
  let before: string | undefined;
  let isStuckNow = false;
  while (!signal.aborted) {
    const screen = io.screen();
    let text: string;
    let essence: string;
    try {
      const overview = await look(place, flags, options);
      const { at: _, ...rest } = overview;
      // Sentences have ages in them, which are no change.
      essence = JSON.stringify(rest).replace(/\(\d+ (s|min|h|d)\)/g, "");
      isStuckNow = isStuck(overview);
      text = flags.output === "json" ? `${JSON.stringify(overview)}\n` : statusText(overview, screen);
    } catch (error) {
      if (signal.aborted) break;
      if (!(error instanceof UnavailableError)) throw error;
      essence = text = `cannot look, and trying again: ${error.message}\n`;
    }
    if (screen !== undefined && flags.output === "table") io.stdout(onScreen(text, screen));
    else if (essence !== before) io.stdout(before === undefined || flags.output === "json" ? text : `\n${text}`);
    before = essence;
    await systemClock.sleep(WATCH_MS, signal).catch(() => {});
  }
  return isStuckNow ? EXIT.STUCK : EXIT.OK;
}

/**
 * Replaces what the terminal shows. Where the text does not fit, its end stays: the next command to type.
 *
 * @param text As {@link statusText} makes it.
 */
export function onScreen(text: string, { columns, rows }: Pick<Screen, "columns" | "rows">): string {
  const lines = text.trimEnd().split("\n");
  const rowsOf = (line: string) => Math.max(1, Math.ceil(line.replace(STYLE, "").length / Math.max(columns, 1)));
  const next = Math.max(0, lines.findLastIndex((line) => line.startsWith("Next: ")));
  const end = lines.slice(next);
  const sum = (some: readonly string[]) => some.reduce((total, line) => total + rowsOf(line), 0);
  // The cursor stands in the last row.
  if (sum(lines) < rows) return `${CLEAR}${lines.join("\n")}\n`;
  const room = rows - 2 - sum(end);
  let shown = 0;
  while (shown < next && sum(lines.slice(0, shown + 1)) <= room) shown++;
  return `${CLEAR}${[...lines.slice(0, shown), `… ${next - shown} more lines`, ...end].join("\n")}\n`;
}

/** What switches a colour or weight on or off. */
// deno-lint-ignore no-control-regex
const STYLE = /\x1b\[\d*m/g;

/** Moves the cursor to the first row, and clears the terminal. */
const CLEAR = "\x1b[H\x1b[2J";

async function look(place: Place, { group }: StatusFlags, options: LookOptions): Promise<Overview> {
  const overview = await lookAt(place, options);
  if (group === undefined) return overview;
  const groups = overview.groups.filter(({ name }) => name === group);
  if (groups.length > 0) return { ...overview, groups };
  const known = overview.groups.map(({ name }) => name).join(", ");
  throw new ConfigError(
    `there is no group "${group}" yet; ${known === "" ? "there is none" : `there are: ${known}`}`,
  );
}
