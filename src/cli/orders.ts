/**
 * The commands `pause`, `resume` and `undefer`: orders about a group that every
 * replica obeys.
 *
 * @module
 */

import { ConfigError } from "../config/config_error.ts";
import { nameOf, namesOf } from "../operate/clients.ts";
import { commandLine } from "../operate/command_line.ts";
import { whoActs } from "../operate/operator.ts";
import { nowOf, pauseGroup, resumeGroup, undefer } from "../operate/orders.ts";
import { openPlace, requireStore } from "../operate/place.ts";
import { timeText } from "../status/account_text.ts";
import { EXIT, type Io, printError } from "./command.ts";
import { groupOf, type PlaceOptions, untilOf } from "./options.ts";

/** The arguments and flags that the commands share. */
export interface OrderFlags extends PlaceOptions {
  /** The group. */
  readonly group: string;
  /** Who orders it. */
  readonly by?: string;
}

/** The flags of `pause`. */
export interface PauseFlags extends OrderFlags {
  /** Why. */
  readonly reason: string;
  /** When it ends: RFC 3339, or a duration. */
  readonly until?: string;
  /** Whether drains under way yield too. */
  readonly drains?: boolean;
}

/** Pauses a group. @returns The exit code. */
export async function pause(flags: PauseFlags, io: Io, signal: AbortSignal): Promise<number> {
  const group = groupOf(flags.group);
  if (flags.reason.trim() === "") throw new ConfigError("--reason must say why: others read it at night");
  const environment = io.environment();
  await using opened = await openPlace(flags, environment);
  const place = requireStore(opened);
  // The first call tells the API server's time, which the end of the pause goes by.
  const by = await whoActs(place, environment, flags.by, signal);
  const until = flags.until === undefined ? undefined : untilOf(flags.until, nowOf(place));
  const order = {
    reason: flags.reason,
    by,
    ...(until !== undefined && { until }),
    ...(flags.drains && { drains: true }),
  };
  const { isNew, before, problem } = await pauseGroup(place, group, order, signal);
  const end = until === undefined ? "until somebody resumes it" : `until ${timeText(until)}`;
  io.stdout(`Paused: group ${group} grants no slot ${end}. Hosts that have their yes still reboot.\n`);
  if (flags.drains) io.stdout("Drains under way yield their slots.\n");
  if (before !== undefined) io.stdout(`The pause before is replaced: ${before.reason ?? "it had no reason"}\n`);
  if (isNew) printError(io, `group "${group}" was not known before: check its name, and resume it if it is wrong`);
  io.stdout(`Next: ${commandLine("fleetlock resume", group)}   # to lift the pause\n`);
  if (problem !== undefined) printError(io, `the group is paused, but ${problem}`);
  return EXIT.OK;
}

/** The flags of `resume`. */
export interface ResumeFlags extends OrderFlags {
  /** Whether to ask nothing. */
  readonly yes?: boolean;
}

/** Lifts the pause of a group. @returns The exit code. */
export async function resume(flags: ResumeFlags, io: Io, signal: AbortSignal): Promise<number> {
  const group = groupOf(flags.group);
  const environment = io.environment();
  await using opened = await openPlace(flags, environment);
  const place = requireStore(opened);
  const options = { by: await whoActs(place, environment, flags.by, signal), signal };
  let outcome = await resumeGroup(place, group, { ...options, deleteUnreadable: flags.yes });
  if (outcome.kind === "unreadable") {
    io.stderr(
      `Something that is noted with group ${group} cannot be read, and pauses it: ${outcome.pause.reason}.\n` +
        "Resuming deletes what cannot be read. Where that is what the server notes, it is all of it: when a host last " +
        "came back (settle), and which hosts have yielded and wait (deferred).\n",
    );
    const answer = await io.ask("Delete it and resume? Type yes: ");
    if (answer?.toLowerCase() !== "yes") {
      const why = answer === undefined
        ? ": there is no terminal to ask on; give --yes to resume without a question"
        : "";
      printError(io, `nothing was changed${why}`);
      return EXIT.FAILED;
    }
    outcome = await resumeGroup(place, group, { ...options, deleteUnreadable: true });
  }
  switch (outcome.kind) {
    case "resumed":
      io.stdout(`Resumed: the pause of group ${group} is lifted${because(outcome.pause.reason)}.\n`);
      if (outcome.problem !== undefined) printError(io, `the pause is lifted, but ${outcome.problem}`);
      return EXIT.OK;
    case "not_paused":
      io.stdout(`Group ${group} is not paused.\n`);
      return EXIT.OK;
    case "unreadable":
      throw new Error("a resume that may delete what cannot be read refused to");
  }
}

function because(reason: string | undefined): string {
  return reason === undefined ? "" : ` (it was: ${reason})`;
}

/** Lets a host that has yielded come again. @returns The exit code: 1 where nobody of that name has yielded. */
export async function undeferCommand(
  flags: OrderFlags & { readonly name: string },
  io: Io,
  signal: AbortSignal,
): Promise<number> {
  const group = groupOf(flags.group);
  const environment = io.environment();
  await using opened = await openPlace(flags, environment);
  const place = requireStore(opened);
  const by = await whoActs(place, environment, flags.by, signal);
  const outcome = await undefer(place, group, flags.name, by, signal);
  switch (outcome.kind) {
    case "undeferred":
      io.stdout(`${nameOf(outcome.deferral)} may have the next slot of group ${group}.\n`);
      if (outcome.problem !== undefined) printError(io, `it may have a slot, but ${outcome.problem}`);
      return EXIT.OK;
    case "not_deferred": {
      const names = namesOf(outcome.deferred).join(", ") || "nobody";
      printError(io, `"${flags.name}" has not yielded in group "${group}"; who has: ${names}`);
      return EXIT.FAILED;
    }
    case "several":
      printError(io, `"${flags.name}" fits several: ${namesOf(outcome.deferred).join(", ")}; give more of the id`);
      return EXIT.FAILED;
  }
}
