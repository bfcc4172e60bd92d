/**
 * The command `explain`: would a client be granted a slot now, and if not, why and
 * until when.
 *
 * @module
 */

import { gatherFacts } from "../operate/client_facts.ts";
import { explain, type Explanation } from "../operate/explain.ts";
import { lookAt } from "../operate/look.ts";
import { openPlace } from "../operate/place.ts";
import { EXIT, type Io, type Screen } from "./command.ts";
import { groupOf, lookOptions, type PlaceOptions } from "./options.ts";
import { releaseText } from "./status_text.ts";
import { ago, lasting, painter, wrap } from "./terminal.ts";

/** The arguments and flags of the command. */
export interface ExplainFlags extends PlaceOptions {
  /** The group. */
  readonly group: string;
  /** The name of a node, an id, or the start of one. */
  readonly name: string;
  /** The form of the output. */
  readonly output: "table" | "json";
}

/**
 * Explains.
 *
 * @returns The exit code: 0 where there is an answer, whatever it is.
 */
export async function explainCommand(flags: ExplainFlags, io: Io, signal: AbortSignal): Promise<number> {
  const group = groupOf(flags.group);
  await using place = await openPlace(flags, io.environment());
  const overview = await lookAt(place, lookOptions(flags, signal));
  const facts = await gatherFacts(place, group, flags.name, Date.parse(overview.at), signal);
  const answer = explain(overview, group, facts);
  const text = flags.output === "json"
    ? `${JSON.stringify(answer, null, 2)}\n`
    : explanationText(answer, overview.at, io.screen());
  io.stdout(text);
  return EXIT.OK;
}

/** Writes the answer for people. @param now RFC 3339. */
function explanationText(answer: Explanation, now: string, screen?: Screen): string {
  const { group, client, verdict, holder, reasons, next, lastRefusal, command, unknown, notes } = answer;
  const paint = painter(screen);
  const lines: string[] = [];
  switch (verdict) {
    case "holds":
      lines.push(paint("bold", `${client} holds a slot of group ${group}, granted ${ago(holder!.since, now)}.`));
      if (holder!.stage !== "unknown") {
        lines.push(`  stage: ${holder!.stage}${holder!.stageSince ? ` for ${lasting(holder!.stageSince, now)}` : ""}`);
      }
      if (holder!.release !== undefined) lines.push(...wrap(releaseText(holder!.release, now), screen, "  ", "    "));
      for (const { pod, reason } of holder!.pods ?? []) {
        lines.push(...wrap(`${pod}: ${reason}`, screen, "    ", "      "));
      }
      break;
    case "granted":
      lines.push(paint("green", `${client} would be granted a slot of group ${group} now.`));
      break;
    case "unknown":
      lines.push(paint("yellow", `Nothing that is known keeps ${client} from a slot of group ${group} now.`));
      break;
    case "refused":
      lines.push(paint("yellow", `${client} would be refused a slot of group ${group} now:`));
      for (const { kind, sentence, until } of reasons) {
        const end = until === undefined ? "" : ` (ends ${ago(until, now)})`;
        lines.push(...wrap(`${kind}: ${sentence}${end}`, screen, "  - ", "    "));
      }
      break;
  }
  if (next !== undefined) lines.push(`Next possible time: ${next.replace(/\.\d+Z$/, "Z")}, ${ago(next, now)}.`);
  else if (verdict === "refused") lines.push("Next possible time: nobody can know.");
  if (lastRefusal !== undefined && !reasons.some(({ kind }) => kind === lastRefusal.kind)) {
    const { kind, sentence, at } = lastRefusal;
    lines.push(...wrap(`It was refused last ${ago(at, now)}: ${kind}: ${sentence}`, screen, "", "  "));
  }
  for (const sentence of unknown) {
    lines.push(...wrap(sentence, screen, "Unknown: ", "  ").map((one) => paint("dim", one)));
  }
  for (const sentence of notes) lines.push(...wrap(sentence, screen, "Note: ", "  ").map((one) => paint("dim", one)));
  if (command !== undefined) lines.push(...wrap(`${command.command}   # ${command.why}`, screen, "Next: ", "  "));
  else if (verdict === "refused") lines.push("Next: wait; nothing needs you.");
  return lines.map((line) => `${line}\n`).join("");
}
