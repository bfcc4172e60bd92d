/**
 * The program: argv to exit code, and the process's signals.
 *
 * @module
 */

import { run } from "./src/cli/cli.ts";

if (import.meta.main) {
  const stop = new AbortController();
  // Process 1 of a container has no default action for these, so both must be taken.
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    Deno.addSignalListener(signal, () => stop.signal.aborted ? Deno.exit(1) : stop.abort(signal));
  }
  Deno.exit(await run(Deno.args, stop.signal));
}
