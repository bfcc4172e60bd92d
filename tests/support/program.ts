/**
 * Runs the whole program as a process, from source or from the file that
 * `FLEETLOCK_PROGRAM` names: the bundle (`.js`) or an executable.
 *
 * @module
 */

import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** The file of the program under test. */
export const PROGRAM: string = Deno.env.get("FLEETLOCK_PROGRAM") ?? "main.ts";

/** A running program. */
export interface Program extends AsyncDisposable {
  readonly process: Deno.ChildProcess;
  /** Its base URL, such as `http://127.0.0.1:40123`. */
  readonly url: string;
  /** Its output so far, stderr and stdout. A line can arrive later than the reply that it is about. */
  readonly log: () => string;
  /** The complete lines of its JSON log so far, parsed. */
  readonly records: () => Record<string, unknown>[];
  /** Waits for its end and for all of its output. */
  ended(): Promise<Deno.CommandStatus>;
  /** Sends it a signal and waits for its end. Kills it after a minute. */
  stop(signal?: Deno.Signal): Promise<Deno.CommandStatus>;
}

/** The exit code and output of a program. */
export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Whether the program under test is a script, from source or the bundle, instead of an executable. */
export function isScript(): boolean {
  return /\.[jt]s$/.test(PROGRAM);
}

/**
 * Returns the command that starts the program.
 *
 * @param wrapper A command that runs the command in its arguments, such as `["nice"]`.
 */
export function programCommand(
  args: readonly string[],
  environment: Record<string, string> = {},
  wrapper: readonly string[] = [],
): Deno.Command {
  const path = PROGRAM.startsWith("/") ? PROGRAM : `${root}${PROGRAM}`;
  const options: Deno.CommandOptions = {
    clearEnv: true,
    env: { PATH: Deno.env.get("PATH") ?? "", HOME: Deno.env.get("HOME") ?? "", NO_COLOR: "1", ...environment },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  };
  const run = isScript()
    ? [Deno.execPath(), "run", "--quiet", "--no-prompt", "--config", `${root}deno.json`, "-P", path]
    : [path];
  const [command, ...rest] = [...wrapper, ...run, ...args];
  return new Deno.Command(command!, { ...options, args: rest });
}

/** Runs the program to its end. */
export async function runProgram(args: readonly string[], environment: Record<string, string> = {}): Promise<Ended> {
  const { code, stdout, stderr } = await programCommand(args, environment).output();
  const text = new TextDecoder();
  return { code, stdout: text.decode(stdout), stderr: text.decode(stderr) };
}

/** Starts the program, on a free port of the loopback address unless told otherwise, and waits until it listens. */
export async function startProgram(
  args: readonly string[],
  environment: Record<string, string> = {},
  wrapper: readonly string[] = [],
): Promise<Program> {
  const address = args.some((arg) => arg.startsWith("--address")) ? [] : ["--address=127.0.0.1:0"];
  const process = programCommand([...address, ...args], environment, wrapper).spawn();
  let log = "";
  let found: string | undefined;
  const listening = Promise.withResolvers<string>();
  const read = async (stream: ReadableStream<Uint8Array<ArrayBuffer>>) => {
    for await (const chunk of stream.pipeThrough(new TextDecoderStream())) {
      log += chunk;
      if (found !== undefined) continue;
      found = /^.*\blistening\b.*?(http:[^\s"]+)/m.exec(log)?.[1];
      if (found !== undefined) listening.resolve(found);
    }
  };
  // With OpenTelemetry, log lines below the level warning go to stdout.
  const reading = Promise.all([read(process.stderr), read(process.stdout)]).then(() =>
    listening.reject(new Error(`the program ended before it listened:\n${log}`))
  );
  const ended = async () => {
    const status = await process.status;
    await reading;
    return status;
  };
  try {
    const url = await listening.promise;
    return {
      process,
      url,
      log: () => log,
      records: () =>
        log.split("\n").slice(0, -1).filter((line) => line.startsWith("{")).map((line) => JSON.parse(line)),
      ended,
      async stop(signal = "SIGTERM") {
        kill(process, signal);
        const timer = setTimeout(() => kill(process, "SIGKILL"), 60_000);
        try {
          return await ended();
        } finally {
          clearTimeout(timer);
        }
      },
      async [Symbol.asyncDispose]() {
        kill(process, "SIGKILL");
        await ended();
      },
    };
  } catch (error) {
    await ended();
    throw error;
  }
}

function kill(process: Deno.ChildProcess, signal: Deno.Signal): void {
  try {
    process.kill(signal);
  } catch (error) {
    // The process has already ended.
    if (!(error instanceof TypeError)) throw error;
  }
}
