/**
 * The flags that several commands share, and how their values become those that
 * the commands work with.
 *
 * @module
 */

import { ConfigError } from "../config/config_error.ts";
import { duration } from "../config/values.ts";
import { type Group, parseGroup } from "../lock/identity.ts";
import { DEFAULT_PORT, DEFAULT_SELECTOR, type LookOptions } from "../operate/look.ts";
import type { PlaceFlags } from "../operate/place.ts";

/** The flags that say where the locks are and where the servers are. */
export interface PlaceOptions extends PlaceFlags {
  /** The label selector of the servers' pods. */
  readonly selector?: string;
  /** The port of the servers' pods. */
  readonly port?: string;
}

/** Says how the servers are found. @throws {ConfigError} A flag's value is not valid. */
export function lookOptions({ selector = DEFAULT_SELECTOR, port }: PlaceOptions, signal: AbortSignal): LookOptions {
  const number = port === undefined ? DEFAULT_PORT : Number(port);
  if (!Number.isInteger(number) || number < 1 || number > 65_535) {
    throw new ConfigError(`--port must be a number from 1 to 65535: it is ${JSON.stringify(port)}`);
  }
  return { selector, port: number, signal };
}

/** Reads the name of a group. @throws {ConfigError} It is not valid. */
export function groupOf(text: string): Group {
  const group = parseGroup(text);
  if (group !== undefined) return group;
  throw new ConfigError(
    `a group's name has 1 to 63 characters of a-z, A-Z, 0-9, "." and "-": it is ${JSON.stringify(text)}`,
  );
}

/** A date and time with an offset. One without would be another moment for each reader. */
const TIME = /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:\d\d)$/;

/**
 * Reads a moment in the future: RFC 3339 with an offset, or a duration from now.
 *
 * @param now Milliseconds since the epoch.
 * @returns Milliseconds since the epoch.
 * @throws {ConfigError} It is not valid, or is over.
 */
export function untilOf(text: string, now: number): number {
  const ms = duration.parse(text);
  if (ms !== undefined) return Math.floor(now + ms);
  const moment = TIME.test(text) ? Date.parse(text) : NaN;
  if (Number.isNaN(moment)) {
    throw new ConfigError(
      `--until must be a duration such as 2h, or a time such as 2026-12-24T18:00:00Z: it is ${JSON.stringify(text)}`,
    );
  }
  if (moment <= now) throw new ConfigError(`--until is over: ${text}`);
  return moment;
}
