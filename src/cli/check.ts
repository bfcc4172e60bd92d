/**
 * The command `check`: what is wrong with the configuration file, the cluster, the
 * permissions, the nodes and the workloads, before it stops a reboot.
 *
 * @module
 */

import { parseFileSettings } from "../config/config.ts";
import { ConfigError } from "../config/config_error.ts";
import { type Environment, variableOf } from "../config/settings.ts";
import { type Category, type Check, type CheckPart, countOf, runChecks } from "../operate/check/check.ts";
import { configCheck } from "../operate/check/config_checks.ts";
import { checksOf } from "../operate/check/place_checks.ts";
import { DEFAULT_SELECTOR } from "../operate/look.ts";
import { openPlace, type Place } from "../operate/place.ts";
import { EXIT, type Io, type Screen } from "./command.ts";
import type { PlaceOptions } from "./options.ts";
import { type Paint, painter, type Style, wrap } from "./terminal.ts";

/** The flags of the command. */
export interface CheckFlags extends PlaceOptions {
  /** Whether the server is not installed yet. */
  readonly pre?: boolean;
  /** The name of the server's service account. */
  readonly serviceAccount: string;
  /** The server's configuration file. */
  readonly config?: string;
  /** Whether the server drains nodes. */
  readonly drain?: string | true;
  /** The time limit of a drain. */
  readonly drainTimeout?: string;
  /** What the server does when a drain's time is over. */
  readonly drainOnTimeout?: string;
  /** What the server does about pods without a controller. */
  readonly drainUnmanaged?: string;
  /** What the server does about pods with an emptyDir volume. */
  readonly drainEmptyDir?: string;
  /** The form of the output. */
  readonly output: "table" | "json";
}

/** How each result is marked. */
const MARKS: Readonly<Record<Check["status"], readonly [mark: string, style: Style]>> = {
  ok: ["ok  ", "green"],
  warning: ["warn", "yellow"],
  failed: ["FAIL", "red"],
  skipped: ["skip", "dim"],
};

/**
 * Runs the checks and prints each result.
 *
 * @returns The exit code: 1 where a check failed. Warnings alone are a success.
 */
export async function check(flags: CheckFlags, io: Io, signal: AbortSignal): Promise<number> {
  const environment = io.environment();
  await using place = await openPlace(flags, environment);
  const care = (flag: string, value = "evict") => oneOf(flag, value, ["evict", "refuse"]);
  const timeouts = ["refuse", "proceed", "delete", "yield"] as const;
  const parts = [
    configCheckOf(flags, place, environment),
    ...checksOf(place, {
      isBefore: flags.pre === true,
      serviceAccount: flags.serviceAccount,
      selector: flags.selector ?? DEFAULT_SELECTOR,
      onTimeout: oneOf(
        "--drain-on-timeout",
        flags.drainOnTimeout ?? (environment.FLEETLOCK_DRAIN_ON_TIMEOUT || "refuse"),
        timeouts,
      ),
      pods: {
        unmanaged: care(
          "--drain-unmanaged",
          flags.drainUnmanaged ?? (environment.FLEETLOCK_DRAIN_UNMANAGED || undefined),
        ),
        emptyDir: care(
          "--drain-empty-dir",
          flags.drainEmptyDir ?? (environment.FLEETLOCK_DRAIN_EMPTY_DIR || undefined),
        ),
      },
      signal,
    }),
  ];
  const screen = io.screen();
  const paint = painter(screen);
  let category: Category | undefined;
  const tell = (result: Check) => {
    if (flags.output === "json") return;
    const heading = result.category === category
      ? ""
      : `${category === undefined ? "" : "\n"}${paint("bold", result.category)}\n`;
    category = result.category;
    io.stdout(heading + checkText(result, paint, screen));
  };
  const results = await runChecks(parts, tell, signal);
  const failed = results.filter(({ status }) => status === "failed").length;
  const warned = results.filter(({ status }) => status === "warning").length;
  if (flags.output === "json") io.stdout(`${JSON.stringify({ failed, warned, checks: results }, null, 2)}\n`);
  else io.stdout(`\n${countOf(results.length, "check")}, ${failed} failed, ${countOf(warned, "warning")}\n`);
  return failed > 0 ? EXIT.FAILED : EXIT.OK;
}

/** Makes the check of the file that the server has, with the server's flags as far as the file depends on them. */
function configCheckOf(flags: CheckFlags, place: Place, environment: Environment): CheckPart {
  const { config = environment[variableOf("config")], drain, drainTimeout } = flags;
  const store = place.kind === "cluster" ? "kubernetes" : place.kind === "sqlite" ? `sqlite:${place.path}` : undefined;
  const context = parseFileSettings({
    ...(store !== undefined && { store }),
    ...(drain !== undefined && { drain: String(drain) }),
    ...(drainTimeout !== undefined && { "drain-timeout": drainTimeout }),
  }, environment);
  return configCheck({ context, ...(config && { path: config }) });
}

/** Writes a result: one line, and its hint below. */
function checkText({ name, status, detail, hint }: Check, paint: Paint, screen?: Screen): string {
  const [mark, style] = MARKS[status];
  const [first = "", ...more] = wrap(`${name}${detail === undefined ? "" : `: ${detail}`}`, screen, "", "       ");
  const advice = hint === undefined || status === "ok" ? [] : wrap(hint, screen, "       hint: ", "       ");
  return [`  ${paint(style, mark)} ${first}`, ...more, ...advice].map((line) => `${line}\n`).join("");
}

function oneOf<T extends string>(flag: string, value: string, allowed: readonly T[]): T {
  const found = allowed.find((one) => one === value);
  if (found !== undefined) return found;
  throw new ConfigError(`${flag} must be ${allowed.join(" or ")}: it is ${JSON.stringify(value)}`);
}
