/**
 * The state of a fleet as text: what the command `status` shows. Pure.
 *
 * @module
 */

import { DEFAULT_SELECTOR } from "../operate/look.ts";
import { commandLine } from "../operate/command_line.ts";
import { countOf } from "../operate/check/check.ts";
import { describePassedOver } from "../operate/explain.ts";
import { type Advice, adviceForHolder } from "../operate/advice.ts";
import type { GroupOverview, Overview } from "../operate/overview.ts";
import { printable, withoutEllipsis } from "../lock/wording.ts";
import type { HolderAccount } from "../status/account.ts";
import type { Screen } from "./command.ts";
import { ago, columns, lasting, type Paint, painter, wrap } from "./terminal.ts";

/** How many pods of a hold, clients that wait, and hosts that yielded are listed for a group. */
const LISTED = 3;

/**
 * Writes the state of a fleet. For a small fleet it fits into 80 columns and 24 lines.
 *
 * @param screen The terminal; undefined for a pipe.
 * @returns Lines that end in a line feed. The last one is the next command to type.
 */
export function statusText(overview: Overview, screen?: Screen): string {
  const paint = painter(screen);
  const lines = [paint("dim", `${overview.source}, at ${overview.at.replace(/\.\d+Z$/, "Z")}`), ""];
  // What is stuck comes first, since a terminal that is watched shows only the first lines.
  const isStuck = ({ holders }: GroupOverview) => holders.some((holder) => holder.isStuck);
  const ordered = [...overview.groups.filter(isStuck), ...overview.groups.filter((group) => !isStuck(group))];
  for (const group of ordered) lines.push(...groupLines(group, overview.at, paint, screen), "");
  if (overview.groups.length === 0) lines.push("No group has had a request yet.", "");
  for (const sentence of overview.unknown) {
    lines.push(...wrap(sentence, screen, "Unknown: ", "  ").map((line) => paint("dim", line)));
  }
  const { command, why } = nextCommand(overview);
  lines.push(...wrap(`${command}   # ${why}`, screen, "Next: ", "  "));
  return lines.map((line) => `${line}\n`).join("");
}

function groupLines(group: GroupOverview, now: string, paint: Paint, screen?: Screen): string[] {
  const { name, slots, holders, blocks, pause, nextOpening, deferred, waiting = [], waitingMore = 0 } = group;
  const held = slots === undefined
    ? holders.length === 0 ? "no slot held" : `${countOf(holders.length, "slot")} held`
    : `${holders.length} of ${countOf(slots, "slot")} held`;
  const lines = [`${paint("bold", printable(name, 63))}  ${held}`];
  for (const holder of holders) lines.push(...holderLines(holder, now, paint, screen));
  if (pause !== undefined && !blocks?.some(({ kind }) => kind === "paused")) {
    const { by, until, reason } = pause;
    const end = until === undefined ? "" : `, ends ${ago(until, now)}`;
    const why = reason === undefined ? "" : `: ${reason}`;
    lines.push(...wrap(`paused${by === undefined ? "" : ` by ${by}`}${end}${why}`, screen, "  ", "    "));
  }
  // Who holds the slots is written above.
  for (const { kind, sentence, until } of (blocks ?? []).filter((block) => block.kind !== "lock_held")) {
    const end = until === undefined ? "" : ` (ends ${ago(until, now)})`;
    const [first = "", ...more] = wrap(`${kind}: ${sentence}${end}`, screen, "  ", "    ");
    lines.push(paint("yellow", first), ...more);
  }
  for (const one of group.passedOver ?? []) {
    const [first = "", ...more] = wrap(describePassedOver(one), screen, "  ", "    ");
    lines.push(paint("yellow", first), ...more);
  }
  if (nextOpening !== undefined && Date.parse(nextOpening) > Date.parse(now)) {
    lines.push(`  next window ${ago(nextOpening, now)}, at ${nextOpening.replace(/\.\d+Z$/, "Z")}`);
  }
  for (const one of deferred.slice(0, LISTED)) {
    const pods = one.pods.length === 0 ? "" : `: ${one.pods[0]}`;
    lines.push(...wrap(`${one.node} yielded, comes again ${ago(one.until, now)}${pods}`, screen, "  ", "    "));
  }
  for (const one of waiting.slice(0, LISTED)) {
    const sentence = one.kind === "lock_held" ? "" : `: ${one.sentence}`;
    const text = `${one.node ?? one.id} waits for ${lasting(one.since, now)}, asked ${ago(one.at, now)}${sentence}`;
    lines.push(...wrap(text, screen, "  ", "    "));
  }
  const more = Math.max(0, waiting.length - LISTED) + waitingMore;
  if (more > 0) lines.push(`  ${more} more ${more === 1 ? "waits" : "wait"}`);
  const [turn] = group.turns ?? [];
  if (turn !== undefined && holders.length === 0) {
    const took = lasting(turn.granted, turn.released);
    const image = turn.isSameImage === true ? ", came back with the same image" : "";
    lines.push(`  last turn: ${turn.node ?? turn.id}, took ${took}, ended ${ago(turn.released, now)}${image}`);
  }
  return lines;
}

function holderLines(holder: HolderAccount, now: string, paint: Paint, screen?: Screen): string[] {
  const { id, node, since, stage, stageSince, isStuck, release, pods, lastPoll } = holder;
  const stageText = stage === "unknown" ? "stage unknown" : stage;
  const stays = stageSince === undefined || stage === "unknown" ? "" : ` for ${lasting(stageSince, now)}`;
  const [line = ""] = columns([[node ?? id, `${stageText}${stays}`, `granted ${ago(since, now)}`]]);
  const mark = isStuck ? `  ${paint("red", "STUCK")}` : "";
  const lines = [`  ${line}${mark}`];
  if (lastPoll !== undefined) lines.push(paint("dim", `    asked last ${ago(lastPoll, now)}`));
  if (release !== undefined) lines.push(...wrap(releaseText(release, now), screen, "    ", "      "));
  for (const { pod, reason } of (pods ?? []).slice(0, LISTED)) {
    lines.push(...wrap(`${pod}: ${reason}`, screen, "    ", "      "));
  }
  if ((pods?.length ?? 0) > LISTED) lines.push(`    ${pods!.length - LISTED} more pods are left`);
  return lines;
}

/** Says when the server frees a slot whose node is gone. */
export function releaseText({ at, waitsFor }: NonNullable<HolderAccount["release"]>, now: string): string {
  const when = `${ago(at, now)}, at ${at.replace(/\.\d+Z$/, "Z")}`;
  if (Date.parse(at) > Date.parse(now)) return `will be released ${when}, because its node is gone`;
  const why = waitsFor === undefined ? "" : `: ${waitsFor}`;
  return `was to be released ${when}, because its node is gone${why}`;
}

/** The next command to type. */
function nextCommand({ groups, isWithoutServer }: Overview): Advice {
  for (const { name, holders } of groups) {
    const stuck = holders.find((holder) => holder.isStuck);
    if (stuck !== undefined) return adviceForHolder(name, stuck);
  }
  const paused = groups.find(({ pause }) => pause !== undefined);
  if (paused !== undefined) return { command: commandLine("fleetlock resume", paused.name), why: "to lift the pause" };
  for (const { name, waiting = [], blocks = [] } of groups) {
    const [first] = waiting;
    if (first !== undefined && blocks.length > 0) {
      return {
        command: commandLine("fleetlock explain", name, first.node ?? withoutEllipsis(first.id)),
        why: "to see why it waits",
      };
    }
  }
  // A namespace without servers and Leases is more likely the wrong one than a fleet in which nothing happens.
  if (isWithoutServer && groups.length === 0) {
    return {
      command: `kubectl get pods --all-namespaces --selector ${DEFAULT_SELECTOR}`,
      why: "to find the namespace of the servers, and give it with -n",
    };
  }
  return { command: "fleetlock status --watch", why: "nothing needs you" };
}
