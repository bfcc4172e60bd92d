/**
 * The commands `hold` and `unhold`: hold a node back from reboots, and let it
 * reboot again.
 *
 * @module
 */

import { ConfigError } from "../config/config_error.ts";
import { commandLine } from "../operate/command_line.ts";
import { replicasWithoutNodes, setNodeHold } from "../operate/node_holds.ts";
import { whoActs } from "../operate/operator.ts";
import { openPlace } from "../operate/place.ts";
import { EXIT, type Io, printError } from "./command.ts";
import { lookOptions, type PlaceOptions } from "./options.ts";

/** The arguments and flags of the commands. */
export interface HoldFlags extends PlaceOptions {
  /** The name of the node. */
  readonly node: string;
  /** Why; undefined lifts the hold. */
  readonly reason?: string;
  /** Who orders it. */
  readonly by?: string;
}

/** Sets or lifts the hold of a node. @returns The exit code: 1 where there is no such node. */
export async function hold(flags: HoldFlags, io: Io, signal: AbortSignal): Promise<number> {
  const { node, reason } = flags;
  if (reason?.trim() === "") throw new ConfigError("--reason must say why: others read it at night");
  const environment = io.environment();
  await using place = await openPlace(flags, environment);
  if (place.kind !== "cluster") {
    throw new ConfigError("only nodes of a cluster can be held back: without one, use fleetlock pause GROUP");
  }
  const by = await whoActs(place, environment, flags.by, signal);
  const looking = lookOptions(flags, signal);
  const outcome = await setNodeHold(place, node, reason ?? null, by, signal);
  switch (outcome.kind) {
    case "changed":
      if (reason === undefined) io.stdout(`${node} may reboot again (it was held back: ${outcome.before}).\n`);
      else io.stdout(`${node} gets no slot until somebody lifts it.\nNext: ${commandLine("fleetlock unhold", node)}\n`);
      if (outcome.problem !== undefined) printError(io, `the node is changed, but ${outcome.problem}`);
      break;
    case "unchanged":
      io.stdout(
        reason === undefined ? `${node} is not held back.\n` : `${node} is held back already, for that reason.\n`,
      );
      break;
    case "no_node":
      printError(io, `there is no node "${node}": look with kubectl get nodes`);
      return EXIT.FAILED;
  }
  if (reason !== undefined) {
    const blind = await replicasWithoutNodes(place, looking);
    if (blind.length > 0) {
      printError(
        io,
        `these servers run with --drain=false, see no nodes, and grant slots all the same: ${blind.join(", ")}; ` +
          "fleetlock pause GROUP stops them",
      );
    }
  }
  return EXIT.OK;
}
