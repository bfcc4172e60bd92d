/**
 * Commands and flags. Every command returns the program's exit code; none ends
 * the process.
 *
 * @module
 */

import { Command, CommanderError } from "commander";
import manifest from "../../deno.json" with { type: "json" };
import { type Environment, parseConfig, readEnvironment, type SettingName, SETTINGS } from "../config/config.ts";
import { ConfigError } from "../config/config_error.ts";
import { startService } from "../service/service.ts";
import {
  parseSimulationOptions,
  SIMULATION_FLAGS,
  type SimulationFlag,
  type SimulationFlagName,
  SimulationOptionsError,
} from "../simulator/options.ts";
import { runSimulation } from "../simulator/simulator.ts";
import { configureLogging } from "../telemetry/log.ts";
import { getLogger } from "@logtape/logtape";

/** The program's version, such as `0.1.0`. */
export const VERSION: string = manifest.version;

/** The command did what it was asked. */
const OK = 0;
/** The command failed, and said why. */
const FAILED = 1;
/** The command line could not be understood. */
const USAGE = 2;

/** Where a command writes and what it may be told; the process's own by default. */
export interface Io {
  /** Writes to standard output. */
  readonly stdout: (text: string) => void;
  /** Writes to standard error. */
  readonly stderr: (text: string) => void;
  /** Whether standard error is a terminal. */
  readonly isTerminal: () => boolean;
  /** Reads the environment. */
  readonly environment: () => Environment;
}

const processIo: Io = {
  stdout: (text) => writeAll(Deno.stdout, text),
  stderr: (text) => writeAll(Deno.stderr, text),
  isTerminal: () => Deno.stderr.isTerminal(),
  environment: readEnvironment,
};

/**
 * Runs the program.
 *
 * @param args The arguments after the program's name.
 * @param signal Asks a running command to end.
 * @returns The exit code: 0 done, 1 failed, 2 not understood.
 */
export async function run(args: readonly string[], signal: AbortSignal, io: Io = processIo): Promise<number> {
  let code = OK;
  const program = new Command("fleetlock")
    .description("Coordinates the reboots of a Fedora CoreOS fleet over the FleetLock protocol.")
    .version(VERSION, "--version", "print the version and exit")
    .helpOption("-h, --help", "print this help and exit")
    .configureOutput({
      writeOut: io.stdout,
      writeErr: io.stderr,
      outputError: (text, write) => write(`fleetlock: ${text.replace(/^error: /, "").trim().replaceAll("\n", " ")}\n`),
    })
    .addHelpText("after", "\nEvery flag can also be set as a variable of the environment, such as FLEETLOCK_LOG_LEVEL.")
    .exitOverride()
    .action(async (flags: Record<string, string | true>) => {
      code = await serve(flagsByName(flags), signal, io);
    });
  for (const setting of SETTINGS) {
    // As in Go, a boolean flag alone says true.
    const value = setting.value === "bool" ? `[${setting.value}]` : `<${setting.value}>`;
    program.option(`--${setting.flag} ${value}`, `${setting.description} (default: "${setting.default}")`);
  }
  const simulator = program.command("simulate")
    .description("let virtual hosts live on a server, and check that no two of a group reboot at a time")
    .action(async (flags: Record<string, string | true>) => {
      code = await simulate(flagsByName(flags), signal, io);
    });
  for (const each of SIMULATION_FLAGS as readonly SimulationFlag[]) {
    const note = each.default === undefined ? "" : ` (default: "${each.default}")`;
    simulator.option(`--${each.flag}${each.value ? ` <${each.value}>` : ""}`, each.description + note);
  }
  try {
    await program.parseAsync(args.map(doubleDash), { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return error.exitCode === 0 ? OK : USAGE;
  }
  return code;
}

/** Serves until the signal aborts. */
async function serve(flags: Partial<Record<SettingName, string>>, signal: AbortSignal, io: Io): Promise<number> {
  try {
    const config = parseConfig(flags, io.environment());
    await using _logging = await configureLogging({
      level: config.logLevel,
      format: config.logFormat,
      console: config.openTelemetry,
    });
    const logger = getLogger("fleetlock");
    await using service = await startService(config, { version: VERSION });
    logger.info("listening", { address: service.url, store: config.store.kind, version: VERSION });
    await aborted(signal);
    logger.info("stopping", { reason: String(signal.reason) });
    await service.stop();
    logger.info("stopped");
    return OK;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    io.stderr(`fleetlock: ${error.message}\n`);
    return FAILED;
  }
}

/** Simulates until every host has had its turns, or the signal aborts. */
async function simulate(
  flags: Partial<Record<SimulationFlagName, string>>,
  signal: AbortSignal,
  io: Io,
): Promise<number> {
  try {
    const switches = { "i-know-this-is-not-loopback": flags["i-know-this-is-not-loopback"] !== undefined };
    const options = parseSimulationOptions({ ...flags, ...switches });
    const progress = { write: io.stderr, isTerminal: io.isTerminal() };
    const summary = await runSimulation(options, { write: io.stdout, progress }, signal);
    return summary.violationCount === 0 ? OK : FAILED;
  } catch (error) {
    if (!(error instanceof SimulationOptionsError)) throw error;
    io.stderr(`fleetlock: ${error.message}\n`);
    return USAGE;
  }
}

/** Go's flag package takes one dash or two; so do we. */
function doubleDash(arg: string): string {
  return /^-[a-z][a-z-]+(=|$)/.test(arg) ? `-${arg}` : arg;
}

/** From the parser's camelCase keys back to the flags' names. */
function flagsByName<Name extends string>(options: Record<string, string | true>): Partial<Record<Name, string>> {
  const flags: Partial<Record<string, string>> = {};
  for (const [key, value] of Object.entries(options)) {
    flags[key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)] = String(value);
  }
  return flags as Partial<Record<Name, string>>;
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

function writeAll(stream: typeof Deno.stdout, text: string): void {
  let rest = new TextEncoder().encode(text);
  while (rest.length > 0) rest = rest.subarray(stream.writeSync(rest));
}
