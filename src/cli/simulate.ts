/**
 * The command `simulate`: runs simulated hosts against a running server and
 * checks that no two hosts of a group reboot at a time.
 *
 * @module
 */

import { parseSimulationOptions, type SimulationFlagName, SimulationOptionsError } from "../simulator/options.ts";
import { runSimulation } from "../simulator/simulator.ts";
import { EXIT, type Io, printError } from "./command.ts";

/**
 * Runs a simulation until every host has completed its rounds, the duration has
 * passed, the signal aborts, or the terminal is closed (SIGHUP).
 *
 * @param flags The flags that were given, by name.
 * @returns The exit code.
 */
export async function simulate(
  flags: Readonly<Partial<Record<SimulationFlagName, string>>>,
  signal: AbortSignal,
  io: Io,
): Promise<number> {
  try {
    const switches = {
      clear: flags.clear !== undefined,
      "i-know-this-is-not-loopback": flags["i-know-this-is-not-loopback"] !== undefined,
    };
    const options = parseSimulationOptions({ ...flags, ...switches });
    const progress = { write: io.stderr, isTerminal: io.isTerminal() };
    // The default action of SIGHUP ends the process, and the hosts' slots would stay taken.
    const hangup = new AbortController();
    using _hangup = io.onHangup(() => hangup.abort("SIGHUP"));
    const stop = AbortSignal.any([signal, hangup.signal]);
    const summary = await runSimulation(options, { write: io.stdout, progress }, stop);
    return summary.violationCount === 0 && summary.ended !== "unreachable" ? EXIT.OK : EXIT.FAILED;
  } catch (error) {
    if (!(error instanceof SimulationOptionsError)) throw error;
    printError(io, error.message);
    return EXIT.USAGE;
  }
}
