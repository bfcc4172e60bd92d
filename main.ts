/**
 * The program: hands the arguments and the process's signals to the command line
 * and exits with its exit code.
 *
 * @module
 */

import { run } from "./src/cli/cli.ts";

if (import.meta.main) {
  const stop = new AbortController();
  // A process with pid 1, as in a container, has no default action for these signals, so both need a listener.
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    Deno.addSignalListener(signal, () => stop.signal.aborted ? Deno.exit(1) : stop.abort(signal));
  }
  Deno.exit(await run(Deno.args, stop.signal));
}
