/**
 * Runs the whole program as a process: from source, or what `FLEETLOCK_PROGRAM`
 * names, the bundle (`.js`) or an executable.
 *
 * @module
 */

import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** The form of the program under test, for the tests' names. */
export const PROGRAM: string = Deno.env.get("FLEETLOCK_PROGRAM") ?? "main.ts";

/** A running program. */
export interface Program extends AsyncDisposable {
  readonly process: Deno.ChildProcess;
  /** Where it listens, such as `http://127.0.0.1:40123`. */
  readonly url: string;
  /** Everything on stderr and stdout until now. */
  readonly log: () => string;
  /** The log's lines so far, parsed. */
  readonly records: () => Record<string, unknown>[];
  /** Ends it with a signal and waits; with SIGKILL where it has not ended a minute later. */
  stop(signal?: Deno.Signal): Promise<Deno.CommandStatus>;
}

/** How a program ended, and what it said. */
export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Whether the program under test is run by a Deno of its own, from source or as the bundle. */
export function isScript(): boolean {
  return /\.[jt]s$/.test(PROGRAM);
}

/**
 * The command that starts the program.
 *
 * @param wrapper A command that runs the one that follows it, such as `["nice"]`.
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

/** Starts the program on a free port of the loopback address and waits until it listens. */
export async function startProgram(
  args: readonly string[],
  environment: Record<string, string> = {},
  wrapper: readonly string[] = [],
): Promise<Program> {
  const process = programCommand(["--address=127.0.0.1:0", ...args], environment, wrapper).spawn();
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
  // With OpenTelemetry, the log's lines below warning are on stdout.
  const reading = Promise.all([read(process.stderr), read(process.stdout)]).then(() =>
    listening.reject(new Error(`the program ended before it listened:\n${log}`))
  );
  const finish = async () => {
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
      records: () => log.split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line)),
      async stop(signal = "SIGTERM") {
        kill(process, signal);
        const timer = setTimeout(() => kill(process, "SIGKILL"), 60_000);
        try {
          return await finish();
        } finally {
          clearTimeout(timer);
        }
      },
      async [Symbol.asyncDispose]() {
        kill(process, "SIGKILL");
        await finish();
      },
    };
  } catch (error) {
    await finish();
    throw error;
  }
}

function kill(process: Deno.ChildProcess, signal: Deno.Signal): void {
  try {
    process.kill(signal);
  } catch (error) {
    // It has ended already.
    if (!(error instanceof TypeError)) throw error;
  }
}
