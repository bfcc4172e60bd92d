/** Runs a command of the program in this process, with its output captured. @module */

import { run } from "../../src/cli/cli.ts";
import type { Screen } from "../../src/cli/command.ts";

/** What a command did. */
export interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** How a command is run. */
export interface CommandOptions {
  /** The environment variables. @default none */
  readonly environment?: Record<string, string>;
  /** What a person answers; undefined where there is no terminal. */
  readonly answer?: string;
  /** The terminal. @default a pipe */
  readonly screen?: Screen;
}

/** Runs a command to its end. */
export async function runCommand(args: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  let [stdout, stderr] = ["", ""];
  const code = await run(args, new AbortController().signal, {
    stdout: (text) => stdout += text,
    stderr: (text) => stderr += text,
    isTerminal: () => false,
    screen: () => options.screen,
    ask: () => Promise.resolve(options.answer),
    environment: () => options.environment ?? {},
    onHangup: () => ({ [Symbol.dispose]() {} }),
  });
  return { code, stdout, stderr };
}
