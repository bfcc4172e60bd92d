/**
 * The command `release`: frees a slot by hand. It says what it will do, and asks.
 *
 * @module
 */

import type { Group } from "../lock/identity.ts";
import type { Holder } from "../lock/semaphore.ts";
import { describeDuration } from "../lock/wording.ts";
import { nameOf, namesOf } from "../operate/clients.ts";
import { whoActs } from "../operate/operator.ts";
import { nowOf } from "../operate/orders.ts";
import { openPlace, requireStore } from "../operate/place.ts";
import { planRelease, releaseHold, type ReleasePlan } from "../operate/release.ts";
import { EXIT, type Io, printError } from "./command.ts";
import { groupOf, type PlaceOptions } from "./options.ts";

/** The arguments and flags of the command. */
export interface ReleaseFlags extends PlaceOptions {
  /** The group. */
  readonly group: string;
  /** The name of a node, an id, or the start of one. */
  readonly name: string;
  /** Whether to lift our cordon too. */
  readonly uncordon?: boolean;
  /** Whether not to ask. */
  readonly yes?: boolean;
  /** Who does it, for the Event. */
  readonly by?: string;
}

/**
 * Releases a hold.
 *
 * @returns The exit code: 0 where the slot is free at the end.
 */
export async function releaseCommand(flags: ReleaseFlags, io: Io, signal: AbortSignal): Promise<number> {
  const group = groupOf(flags.group);
  const environment = io.environment();
  await using opened = await openPlace(flags, environment);
  const place = requireStore(opened);
  const search = await planRelease(place, group, flags.name, signal);
  if (search.kind !== "plan") {
    printError(io, searchText(search.kind, search.holders, group, flags.name));
    return EXIT.FAILED;
  }
  const { plan } = search;
  io.stderr(planText(plan, flags.uncordon === true, nowOf(place)));
  if (!flags.yes) {
    const answer = await io.ask("Release it? Type yes: ");
    if (answer === undefined) {
      printError(io, "nothing was changed: there is no terminal to ask on; give --yes to release without a question");
      return EXIT.FAILED;
    }
    if (answer.toLowerCase() !== "yes") {
      printError(io, "nothing was changed");
      return EXIT.FAILED;
    }
  }
  const by = await whoActs(place, environment, flags.by, signal);
  const outcome = await releaseHold(place, plan, { uncordon: flags.uncordon === true, by, signal });
  switch (outcome.kind) {
    case "released":
      io.stdout(`Released: group ${group} has a free slot, and ${nameOf(plan.holder)} holds none.\n`);
      if (outcome.uncordoned === true) io.stdout(`Uncordoned ${plan.holder.node!.name}.\n`);
      if (outcome.uncordoned === false) io.stdout("No cordon was lifted: there is none of ours.\n");
      for (const problem of outcome.problems) printError(io, `the slot is free, but ${problem}`);
      return EXIT.OK;
    case "not_held":
      io.stdout(`${nameOf(plan.holder)} holds no slot of group ${group} any more: somebody else released it first.\n`);
      return EXIT.OK;
    case "changed":
      printError(
        io,
        `nothing was changed: the hold of ${nameOf(plan.holder)} is not the same any more; run the command again`,
      );
      return EXIT.FAILED;
  }
}

function searchText(kind: "not_held" | "several", holders: readonly Holder[], group: Group, name: string): string {
  const names = namesOf(holders).join(", ");
  if (kind === "several") return `"${name}" fits several holders of group "${group}": ${names}; give more of the id`;
  if (holders.length === 0) return `nobody holds a slot of group "${group}": there is nothing to release`;
  return `"${name}" holds no slot of group "${group}"; these do: ${names}`;
}

/** Says what a release will do. */
function planText({ group, holder, mayReboot, cordon }: ReleasePlan, uncordon: boolean, now: number): string {
  const name = nameOf(holder);
  const lines = [
    `This frees the slot of group ${group} that ${name} has held for ${describeDuration(now - holder.since)}.`,
    "The next host that asks may then reboot.",
  ];
  if (mayReboot) {
    lines.push(`WARNING: ${name} may have had its yes and reboot at any moment. Make sure that it does not.`);
  } else lines.push("Its drain is not over, so its host has had no yes; the drain ends.");
  switch (cordon) {
    case "ours":
      lines.push(
        uncordon ? `It then lifts the cordon of ${name}.` : `A running server then lifts the cordon of ${name}.`,
      );
      break;
    case "others":
      lines.push(`The cordon of ${name} is somebody else's and stays.`);
      break;
    case "unknown":
      lines.push(`The node cannot be read, so whose cordon it has is unknown.`);
      break;
    case "gone":
      lines.push(`The node ${name} does not exist any more.`);
      break;
    case "none":
    case "uncordoned":
      break;
  }
  return lines.map((line) => `${line}\n`).join("");
}
