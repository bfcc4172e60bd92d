/**
 * The program: hands the arguments and the process's signals to the command line
 * and exits with its exit code.
 *
 * @module
 */

import { run } from "./src/cli/cli.ts";

/**
 * How long after the first signal another one still belongs to it, in milliseconds. Ctrl-C in a terminal signals every
 * process of the group, and launchers such as `deno task` and npx then pass their signal on: one press arrives twice.
 */
const SAME_REQUEST_MS = 500;

if (import.meta.main) {
  const stop = new AbortController();
  let asked = 0;
  // A process with pid 1, as in a container, has no default action for these signals, so each needs a listener.
  for (const signal of ["SIGTERM", "SIGINT", "SIGQUIT"] as const) {
    Deno.addSignalListener(signal, () => {
      if (!stop.signal.aborted) {
        asked = performance.now();
        stop.abort(signal);
      } else if (performance.now() - asked > SAME_REQUEST_MS) Deno.exit(1);
    });
  }
  // Their default action ends the process without a graceful stop.
  for (const signal of ["SIGUSR1", "SIGUSR2"] as const) Deno.addSignalListener(signal, () => {});
  Deno.exit(await run(Deno.args, stop.signal));
}
