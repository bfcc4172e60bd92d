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
    if (moment === undefined) {
      printError(
        io,
        `--at must be a time, as in 2026-12-24T12:00 or 2026-12-24T12:00:00+01:00: it is ${JSON.stringify(at)}`,
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

async function readFile(path: string): Promise<string> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    const why = error instanceof Error ? error.message : error;
    throw new ConfigError(`cannot read the configuration file ${path}: ${why}`, { cause: error });
  }
}
