/**
 * The commands `config check` and `config schema`: what a configuration file
 * means, and what it may hold. They need no server.
 *
 * @module
 */

import { parseFileSettings } from "../config/config.ts";
import { ConfigError } from "../config/config_error.ts";
import type { MakeCalendar } from "../config/file/calendar_report.ts";
import type { SettingTexts } from "../config/settings.ts";
import { EXIT, type Io, printError } from "./command.ts";

/** What `config check` is asked. */
export interface CheckOptions {
  /** The path of the file. */
  readonly path: string;
  /** The time at which the rules are asked, as the operator wrote it; undefined for now. */
  readonly at?: string;
  /** The server's flags that were given, by name. */
  readonly flags: SettingTexts;
  /** Makes calendars of windows and freezes. Without it, nothing is said about openings and times. */
  readonly makeCalendar?: MakeCalendar;
  /** The current time, in milliseconds since the epoch. @default {Date.now} */
  readonly now?: () => number;
}

/** The last time at which the rules can be asked, in milliseconds since the epoch. */
const LAST_MOMENT = Date.UTC(9999, 0);

/**
 * Checks a configuration file and prints every value that is in force with it.
 *
 * @returns The exit code: 1 if the file is not valid. Its errors are on standard error, one a line.
 */
export async function checkConfig(
  { path, at, flags, makeCalendar, now = Date.now }: CheckOptions,
  io: Io,
): Promise<number> {
  const [{ parsePolicyFile }, { describePolicies }, { describeCalendars, parseMoment }] = await Promise.all([
    import("../config/file/policy_file.ts"),
    import("../config/file/report.ts"),
    import("../config/file/calendar_report.ts"),
  ]);
  try {
    const settings = parseFileSettings(flags, io.environment());
    const parsed = parsePolicyFile(await readFile(path), path, settings);
    if (parsed.kind === "invalid") {
      io.stderr(`${parsed.errors.join("\n")}\n`);
      return EXIT.FAILED;
    }
    const lines = describePolicies(parsed, settings);
    const moment = at === undefined ? now() : parseMoment(at, parsed.options.timeZone);
    // A time zone in brackets would be overlooked beside that of the file, and calendars end where years have 5 digits.
    if (moment === undefined || at?.includes("[") || moment < 0 || moment > LAST_MOMENT) {
      printError(
        io,
        "--at must be a time from 1970 to 9998, as in 2026-12-24T12:00 or 2026-12-24T12:00:00+01:00: it is " +
          JSON.stringify(at),
      );
      return EXIT.USAGE;
    }
    if (makeCalendar !== undefined) {
      lines.push(
        ...describeCalendars(parsed.options, settings, moment, makeCalendar).map((line) => `# ${line}`.trimEnd()),
      );
    }
    io.stdout(`${lines.join("\n")}\n`);
    return EXIT.OK;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    printError(io, error.message);
    return EXIT.FAILED;
  }
}

/** Prints the JSON Schema of the configuration file. @returns The exit code. */
export async function printConfigSchema(io: Io): Promise<number> {
  const { policyFileSchema } = await import("../config/file/json_schema.ts");
  io.stdout(policyFileSchema());
  return EXIT.OK;
}

/** Reads the file as the server does, so that the check finds what the server would. */
async function readFile(path: string): Promise<string> {
  const { readPolicyFile } = await import("../config/reload.ts");
  // A server cannot follow a pipe, but a file may come from another program to be checked.
  const isPipe = await Deno.stat(path).then(({ isFifo }) => isFifo, () => false);
  if (isPipe) return await Deno.readTextFile(path);
  const content = await readPolicyFile(path);
  if (content.kind === "text") return content.text;
  throw new ConfigError(`cannot read the configuration file ${path}: ${content.why}`);
}
