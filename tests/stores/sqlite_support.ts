/** Files and child processes for the tests of the SQLite store. @module */

import { join } from "node:path";
import { until } from "../support/condition.ts";

/** Creates a folder for one test. Disposing of it removes the folder. */
export async function temporaryFolder(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await Deno.makeTempDir({ prefix: "fleetlock-sqlite-" });
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

/** A child process that runs `sqlite_child.ts`, and its output. */
export interface SqliteChild extends AsyncDisposable {
  /** The whole lines that it has printed so far. */
  readonly lines: readonly string[];
  /** Sends it one line, and returns the line that it answers with. */
  ask(line: string): Promise<string>;
  /** Kills it (-9) if it still runs, and waits until it has ended and its last line is read. */
  kill(): Promise<void>;
  /** Settles when it has ended by itself or was killed. */
  readonly ended: Promise<Deno.CommandStatus>;
}

/** Starts `sqlite_child.ts` with the arguments. */
export function startSqliteChild(...args: string[]): SqliteChild {
  const process = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "--no-check", "-A", join(import.meta.dirname!, "sqlite_child.ts"), ...args],
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const lines: string[] = [];
  const read = (async () => {
    let rest = "";
    for await (const text of process.stdout.pipeThrough(new TextDecoderStream())) {
      const whole = (rest + text).split("\n");
      rest = whole.pop()!;
      lines.push(...whole);
    }
  })();
  const input = process.stdin.getWriter();
  const ended = Promise.all([process.status, read]).then(async ([status]) => {
    await input.abort().catch(() => {});
    return status;
  });
  const kill = async () => {
    try {
      process.kill("SIGKILL");
    } catch {
      // It has already ended.
    }
    await ended;
  };
  const ask = async (line: string) => {
    const count = lines.length;
    await input.write(new TextEncoder().encode(`${line}\n`));
    await until(() => lines.length > count, { what: `an answer to "${line}"` });
    return lines[count]!;
  };
  return { lines, ask, kill, ended, [Symbol.asyncDispose]: kill };
}
