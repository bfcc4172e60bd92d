/**
 * What every command shares: where it writes, what it may read, and the exit
 * codes it returns. No command ends the process.
 *
 * @module
 */

import manifest from "../../deno.json" with { type: "json" };
import { type Environment, readEnvironment } from "../config/settings.ts";

/** The program's version, such as `0.1.0`. */
export const VERSION: string = manifest.version;

/** The exit codes of the program. */
export const EXIT = {
  /** The command succeeded. */
  OK: 0,
  /** The command failed and said why. */
  FAILED: 1,
  /** The command line is not valid. */
  USAGE: 2,
  /** The command `status` shows that something is stuck. */
  STUCK: 2,
  /** The command `lock` or `unlock` got no yes, and may get one later (EX_TEMPFAIL of sysexits.h). */
  TRY_AGAIN: 75,
} as const;

/** A terminal. */
export interface Screen {
  /** How many characters fit into a line. */
  readonly columns: number;
  /** How many lines it shows. */
  readonly rows: number;
  /** Whether it is to show colours. `NO_COLOR` turns them off. */
  readonly hasColours: boolean;
}

/** What a command uses of its process. */
export interface Io {
  /**
   * Writes to standard output.
   *
   * @throws {Deno.errors.BrokenPipe} Nobody reads it any more, or its terminal is closed.
   */
  readonly stdout: (text: string) => void;
  /** Writes to standard error. */
  readonly stderr: (text: string) => void;
  /** Whether standard error is a terminal. */
  readonly isTerminal: () => boolean;
  /** The terminal on standard output; undefined where that is a pipe or a file. */
  readonly screen: () => Screen | undefined;
  /**
   * Asks a person on the terminal.
   *
   * @returns The answer, a line without white space around it; undefined where nobody can be asked.
   */
  readonly ask: (question: string) => Promise<string | undefined>;
  /** Reads the environment. */
  readonly environment: () => Environment;
  /** Calls a function at each hangup signal, which would otherwise end the process, until the result is disposed of. */
  readonly onHangup: (listener: () => void) => Disposable;
}

/** The process itself. */
export const processIo: Io = {
  stdout: (text) => writeAll(Deno.stdout, text),
  stderr(text) {
    try {
      writeAll(Deno.stderr, text);
    } catch (error) {
      // Nobody reads it. The exit code tells of the failure all the same.
      if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
    }
  },
  isTerminal: () => Deno.stderr.isTerminal(),
  screen() {
    if (!Deno.stdout.isTerminal()) return undefined;
    const { columns, rows } = Deno.consoleSize();
    // A terminal that does not know its size says 0.
    return { columns: columns || 80, rows: rows || 24, hasColours: !Deno.noColor };
  },
  async ask(question) {
    if (!Deno.stdin.isTerminal()) return undefined;
    try {
      writeAll(Deno.stderr, question);
    } catch (error) {
      // Whoever does not see the question cannot answer it.
      if (error instanceof Deno.errors.BrokenPipe) return undefined;
      throw error;
    }
    const chunk = new Uint8Array(1_024);
    const read = await Deno.stdin.read(chunk);
    return new TextDecoder().decode(chunk.subarray(0, read ?? 0)).trim();
  },
  environment: readEnvironment,
  onHangup(listener) {
    Deno.addSignalListener("SIGHUP", listener);
    return { [Symbol.dispose]: () => Deno.removeSignalListener("SIGHUP", listener) };
  },
};

/** Writes an error message as the program's error messages look: one line that begins with the program's name. */
export function printError(io: Io, message: string): void {
  io.stderr(`fleetlock: ${message}\n`);
}

/** @throws {Deno.errors.BrokenPipe} Nobody reads the stream any more, or its terminal is closed. */
function writeAll(stream: typeof Deno.stdout, text: string): void {
  let rest = new TextEncoder().encode(text);
  try {
    while (rest.length > 0) rest = rest.subarray(stream.writeSync(rest));
  } catch (cause) {
    if (!isTerminalClosed(cause)) throw cause;
    throw new Deno.errors.BrokenPipe("The terminal is closed", { cause });
  }
}

/** Whether an error says that the terminal that was written to is closed. Deno has no class of its own for it. */
function isTerminalClosed(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "EIO";
}
