/** Files and child processes for the SQLite store's tests. @module */

import { join } from "node:path";

/** A folder of its own for one test, removed with what is in it at the end. */
export async function temporaryFolder(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await Deno.makeTempDir({ prefix: "fleetlock-sqlite-" });
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

/** A child process that runs `sqlite_child.ts`, and its lines. */
export interface SqliteChild extends AsyncDisposable {
  /** What it has printed so far, in whole lines. */
  readonly lines: readonly string[];
  /** Kills it (-9), where it still runs, and waits until it is gone and its last line is read. */
  kill(): Promise<void>;
  /** Waits for its own end. */
  readonly ended: Promise<Deno.CommandStatus>;
}

/** Starts `sqlite_child.ts` with the arguments. */
export function startSqliteChild(...args: string[]): SqliteChild {
  const process = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "--no-check", "-A", join(import.meta.dirname!, "sqlite_child.ts"), ...args],
    stdin: "null",
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
  const ended = Promise.all([process.status, read]).then(([status]) => status);
  const kill = async () => {
    try {
      process.kill("SIGKILL");
    } catch {
      // It has ended by itself.
    }
    await ended;
  };
  return { lines, kill, ended, [Symbol.asyncDispose]: kill };
}
