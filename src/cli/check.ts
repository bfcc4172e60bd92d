/**
 * The command `check`: what is wrong with the configuration file, the cluster, the
 * permissions, the nodes and the workloads, before it stops a reboot.
 *
 * @module
 */

import { parseFileSettings } from "../config/config.ts";
import { ConfigError } from "../config/config_error.ts";
import { type Environment, variableOf } from "../config/settings.ts";
import { oneOf } from "../config/values.ts";
import { type Category, type Check, countOf, runChecks } from "../operate/check/check.ts";
import type { ClusterCheckOptions } from "../operate/check/cluster_checks.ts";
import { configCheck } from "../operate/check/config_checks.ts";
import { checksOf, checksOfClosed } from "../operate/check/place_checks.ts";
import { DEFAULT_SELECTOR } from "../operate/look.ts";
import { choosePlace, openPlace, type Place, type PlaceChoice } from "../operate/place.ts";
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
 * Runs the checks and prints each result. The configuration file is the first: it can be checked where the place of the
 * locks cannot be opened.
 *
 * @returns The exit code: 1 where a check failed. Warnings alone are a success.
 * @throws {ConfigError} A flag is not valid.
 */
export async function check(flags: CheckFlags, io: Io, signal: AbortSignal): Promise<number> {
  const environment = io.environment();
  const choice = choosePlace(flags, environment);
  const { context, ...server } = serverOf(flags, choice, environment);
  const tell = printer(flags, io);
  let policies: ClusterCheckOptions["policies"];
  const path = flags.config ?? (environment[variableOf("config")] || undefined);
  const file = configCheck({ context, onValid: (found) => policies = found, ...(path !== undefined && { path }) });
  const results = await runChecks([file], tell, signal);
  await using opened = await open(flags, environment);
  const parts = "error" in opened ? checksOfClosed(opened.kind, opened.error) : checksOf(opened.place, {
    isBefore: flags.pre === true,
    serviceAccount: flags.serviceAccount,
    selector: flags.selector ?? DEFAULT_SELECTOR,
    policies,
    ...server,
    signal,
  });
  results.push(...await runChecks(parts, tell, signal));
  const failed = results.filter(({ status }) => status === "failed").length;
  const warned = results.filter(({ status }) => status === "warning").length;
  if (flags.output === "json") io.stdout(`${JSON.stringify({ failed, warned, checks: results }, null, 2)}\n`);
  else io.stdout(`\n${countOf(results.length, "check")}, ${failed} failed, ${countOf(warned, "warning")}\n`);
  return failed > 0 ? EXIT.FAILED : EXIT.OK;
}

/** Makes what prints a result, below the heading of its category. */
function printer({ output }: Pick<CheckFlags, "output">, io: Io): (result: Check) => void {
  if (output === "json") return () => {};
  const screen = io.screen();
  const paint = painter(screen);
  let category: Category | undefined;
  return (result) => {
    const heading = result.category === category
      ? ""
      : `${category === undefined ? "" : "\n"}${paint("bold", result.category)}\n`;
    category = result.category;
    io.stdout(heading + checkText(result, paint, screen));
  };
}

/** A place, or why it cannot be opened. */
type Opened =
  & ({ readonly place: Place } | { readonly kind: "cluster" | "sqlite"; readonly error: unknown })
  & AsyncDisposable;

async function open(flags: CheckFlags, environment: Environment): Promise<Opened> {
  const { kind } = choosePlace(flags, environment);
  try {
    const place = await openPlace(flags, environment);
    return { place, [Symbol.asyncDispose]: () => place[Symbol.asyncDispose]() };
  } catch (error) {
    if (kind === "server") throw error;
    return { kind, error, [Symbol.asyncDispose]: () => Promise.resolve() };
  }
}

/** Reads the flags of the server that matter to the checks, from the command line or else from the environment. */
function serverOf(flags: CheckFlags, choice: PlaceChoice, environment: Environment) {
  const { drain, drainTimeout, drainOnTimeout } = flags;
  const store = choice.kind === "cluster"
    ? "kubernetes"
    : choice.kind === "sqlite"
    ? `sqlite:${choice.path}`
    : undefined;
  const context = parseFileSettings({
    ...(store !== undefined && { store }),
    ...(drain !== undefined && { drain: String(drain) }),
    ...(drainTimeout !== undefined && { "drain-timeout": drainTimeout }),
    ...(drainOnTimeout !== undefined && { "drain-on-timeout": drainOnTimeout }),
  }, environment);
  const care = (setting: "drain-unmanaged" | "drain-empty-dir", given: string | undefined) =>
    careOf(`--${setting}`, given ?? (environment[variableOf(setting)] || "evict"));
  return {
    context,
    ...(context.drainOnTimeout !== undefined && { drain: { onTimeout: context.drainOnTimeout } }),
    pods: {
      unmanaged: care("drain-unmanaged", flags.drainUnmanaged),
      emptyDir: care("drain-empty-dir", flags.drainEmptyDir),
    },
  };
}

/** Writes a result: one line, and its hint below. */
function checkText({ name, status, detail, hint }: Check, paint: Paint, screen?: Screen): string {
  const [mark, style] = MARKS[status];
  const [first = "", ...more] = wrap(`${name}${detail === undefined ? "" : `: ${detail}`}`, screen, "", "       ");
  const advice = hint === undefined || status === "ok" ? [] : wrap(hint, screen, "       hint: ", "       ");
  return [`  ${paint(style, mark)} ${first}`, ...more, ...advice].map((line) => `${line}\n`).join("");
}

/** Reads what the server does about pods that some operators are careful with. */
function careOf(flag: string, value: string): "evict" | "refuse" {
  const { expected, parse } = oneOf("evict", "refuse");
  const care = parse(value);
  if (care === undefined) throw new ConfigError(`${flag} must be ${expected}: it is ${JSON.stringify(value)}`);
  return care;
}
