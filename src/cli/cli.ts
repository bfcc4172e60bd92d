/**
 * The command line: flags, help, and which command to run. What a command does
 * is in the file of the command's name.
 *
 * @module
 */

import { Command, CommanderError } from "commander";
import { type Setting, SETTINGS } from "../config/settings.ts";
import { SIMULATION_FLAGS, type SimulationFlag } from "../simulator/options.ts";
import { checkConfig, printConfigSchema } from "./config.ts";
import type { MakeCalendar } from "../config/file/calendar_report.ts";
import { EXIT, type Io, printError, processIo, VERSION } from "./command.ts";
import { addOperatorCommands } from "./operator_commands.ts";
import { serve } from "./serve.ts";
import { simulate } from "./simulate.ts";
import { doubleDash, doubleDashes } from "./single_dashes.ts";

/** The values of flags, by name. Those of a flag that may be given several times are a list. */
type Flags = Record<string, string | string[]>;

/** Runs one command with the flags that were given, by name, and returns its exit code. */
type Action = (flags: Flags) => Promise<number>;

/**
 * Runs the program.
 *
 * @param args The arguments after the program's name.
 * @param signal Asks the running command to end.
 * @returns The exit code: 0 for success, 1 for failure, 2 for a command line that is not valid.
 */
export async function run(args: readonly string[], signal: AbortSignal, process: Io = processIo): Promise<number> {
  let code: number = EXIT.OK;
  const { io, unread } = whileRead(process);
  const action = (act: Action) => async (options: Record<string, string | string[] | true>) => {
    code = await act(flagsByName(options));
  };
  const program = new Command("fleetlock")
    .description("Coordinates the reboots of a Fedora CoreOS fleet over the FleetLock protocol.")
    .version(VERSION, "--version", "print the version and exit")
    .helpOption("-h, --help", "print this help and exit")
    .configureOutput({
      writeOut: io.stdout,
      writeErr: io.stderr,
      outputError: (text) => printError(io, text.replace(/^error: /, "").trim().replaceAll("\n", " ")),
    })
    .addHelpText(
      "after",
      "\nEach flag of the server can also be set as an environment variable, such as FLEETLOCK_LOG_LEVEL for\n" +
        "--log-level. Flags take precedence over environment variables.\n\n" +
        "These variables have no flag:\n" +
        "  NAMESPACE   namespace of the Leases (default: the pod's namespace; outside a pod, default)\n" +
        "  KUBECONFIG  path of a kubeconfig file, for use outside pods (default: the service account of the pod)\n" +
        "  POD_NAME    name of the server's own pod, which a drain leaves on its Node",
    )
    .exitOverride()
    .action(action((flags) => serve(flags, signal, io)));
  addServerFlags(program);
  const simulator = program.command("simulate")
    .description("run simulated hosts against a server and check that no two hosts of a group reboot at a time")
    .action(action((flags) => simulate(flags as Record<string, string>, AbortSignal.any([signal, unread]), io)));
  addSimulationFlags(simulator);
  addConfigCommands(program, io, (result) => code = result);
  // The server runs for months, and would keep the commands' 3 MB for as long.
  if (!startsServer(args)) addOperatorCommands(program, { io, signal, unread, end: (result) => code = result });
  try {
    await program.parseAsync(doubleDashes(program, args), { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return error.exitCode === 0 ? EXIT.OK : EXIT.USAGE;
  }
  return code;
}

/**
 * Lets a command go on when whoever read its output, such as `head`, has enough of it: it does what it was asked to do,
 * and its exit code says how that went.
 *
 * @returns What the command writes to, and a signal that aborts once nobody reads standard output, for commands that go
 * on only to write.
 */
function whileRead(process: Io): { readonly io: Io; readonly unread: AbortSignal } {
  const unread = new AbortController();
  const stdout = (text: string) => {
    if (unread.signal.aborted) return;
    try {
      process.stdout(text);
    } catch (error) {
      if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
      unread.abort("nobody reads the output");
    }
  };
  return { io: { ...process, stdout }, unread: unread.signal };
}

/**
 * Whether a command line consists of flags and their values alone, so that it names no command and asks for no help.
 */
function startsServer(args: readonly string[]): boolean {
  const isFlag = (arg: string | undefined) => arg?.startsWith("-") === true;
  const takesNext = (arg: string | undefined) => isFlag(arg) && !arg!.includes("=");
  return args.every((arg, at) => {
    return isFlag(arg) ? arg !== "-h" && doubleDash(arg) !== "--help" : takesNext(args[at - 1]);
  });
}

/** Adds the commands about configuration files. */
function addConfigCommands(program: Command, io: Io, end: (code: number) => void): void {
  const config = program.command("config").description("check configuration files");
  config.command("check").argument("<file>", "the configuration file")
    .description("check a configuration file and print the values in force; the server's flags count, such as --store")
    .option("--at <time>", "ask the rules at this time instead of now, as in 2026-12-24T12:00")
    .action(async (path: string, _options: unknown, command: Command) => {
      const { at, ...flags } = flagsByName(command.optsWithGlobals());
      const { Calendar } = await import("../policies/calendar.ts");
      const makeCalendar: MakeCalendar = (input) => new Calendar(input);
      end(await checkConfig({ path, at: at as string | undefined, flags, makeCalendar }, io));
    });
  config.command("schema").description("print the JSON Schema of configuration files, for editors")
    .action(async () => end(await printConfigSchema(io)));
}

function addServerFlags(command: Command): void {
  for (const setting of SETTINGS as readonly Setting[]) {
    // As in Go, a boolean flag without a value is true.
    const value = setting.placeholder === "bool" ? `[${setting.placeholder}]` : `<${setting.placeholder}>`;
    const description = `${setting.description} (default: "${setting.default}")`;
    if (setting.repeatable) {
      command.option(
        `--${setting.flag} ${value}`,
        description,
        (text, before?: string[]) => [...before ?? [], text],
      );
    } else {
      command.option(`--${setting.flag} ${value}`, description);
      refuseTwice(command, setting.flag);
    }
  }
}

function addSimulationFlags(command: Command): void {
  for (const each of SIMULATION_FLAGS as readonly SimulationFlag[]) {
    const value = each.placeholder === undefined ? "" : ` <${each.placeholder}>`;
    const note = each.default === undefined ? "" : ` (default: "${each.default}")`;
    command.option(`--${each.flag}${value}`, each.description + note);
    refuseTwice(command, each.flag);
  }
}

/** Refuses a command line that has a flag twice, since one of the values would have no effect. */
function refuseTwice(command: Command, flag: string): void {
  let isGiven = false;
  command.on(`option:${flag}`, () => {
    if (isGiven) command.error(`--${flag} is given twice`);
    isGiven = true;
  });
}

/** Turns the parser's camelCase keys back into the names of the flags. */
function flagsByName(options: Record<string, string | string[] | true>): Flags {
  return Object.fromEntries(
    Object.entries(options).map(([key, value]) => [
      key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`),
      Array.isArray(value) ? value : String(value),
    ]),
  );
}
