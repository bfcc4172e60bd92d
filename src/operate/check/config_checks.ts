/**
 * Checks of the configuration file: whether the server would take it, and whether
 * its windows and freezes leave hosts the time to reboot. They change nothing.
 *
 * @module
 */

import type { FileContext } from "../../config/file/policy_file.ts";
import { describeDuration } from "../../lock/wording.ts";
import type { Calendar } from "../../policies/calendar.ts";
import type { AllowWindow, GroupOptions, PolicyOptions } from "../../policies/options.ts";
import { type CheckPart, type CheckResult, countOf } from "./check.ts";

/** What the checks of the configuration file need to know. */
export interface ConfigCheckOptions {
  /** The path of the file; undefined where the server has none. */
  readonly path?: string;
  /** What the server's flags say and the file depends on. */
  readonly context: FileContext;
  /** Is told what a valid file says. */
  readonly onValid?: (policies: PolicyOptions) => void;
  /** The current time, in milliseconds since the epoch. @default {Date.now} */
  readonly now?: () => number;
}

/** Makes a calendar of windows and freezes. */
type MakeCalendar = (options: ConstructorParameters<typeof Calendar>[0]) => Calendar;

/** How often a host asks for a slot at least, in milliseconds: Zincati's five minutes, with a tenth of jitter. */
const ASKS_EVERY_MS = 330_000;

/** How many openings of a group are looked at. The windows of a year are as those of its first weeks. */
const OPENINGS = 100;

/** Makes the check. */
export function configCheck({ path, context, onValid, now = Date.now }: ConfigCheckOptions): CheckPart {
  const name = "the configuration file is valid";
  return {
    category: "configuration",
    name,
    async run() {
      if (path === undefined) {
        return [{ name, status: "skipped", detail: "no file is named by --config or FLEETLOCK_CONFIG" }];
      }
      // Most commands need neither the parser of the file nor the calendar.
      const [{ readPolicyFile }, { parsePolicyFile }, { Calendar }] = await Promise.all([
        import("../../config/reload.ts"),
        import("../../config/file/policy_file.ts"),
        import("../../policies/calendar.ts"),
      ]);
      const content = await readPolicyFile(path);
      if (content.kind === "unreadable") {
        const hint = "name the file that the server has in --config";
        return [{ name, status: "failed", detail: `${path}: ${content.why}`, hint }];
      }
      const parsed = parsePolicyFile(content.text, path, context);
      if (parsed.kind === "invalid") {
        const hint = "a server does not start with this file, and one that runs keeps its last valid file";
        return parsed.errors.map((detail, at) => ({
          name,
          status: "failed",
          detail,
          ...(at === parsed.errors.length - 1 && { hint }),
        }));
      }
      const { options } = parsed;
      onValid?.(options);
      const detail = `${path}: ${countOf(options.groups.size, "group")}, hash ${content.hash}`;
      return [
        { name, status: "ok", detail },
        ...checkWindows(options, context, now(), (made) => new Calendar(made)),
      ];
    },
  };
}

/**
 * Warns of windows that never open within a year, and of groups whose windows leave no time.
 *
 * @param moment Where the year begins, in milliseconds since the epoch.
 */
function checkWindows(
  { timeZone, defaults, groups, allowUnknownGroups }: PolicyOptions,
  { drainTimeoutMs = 0 }: FileContext,
  moment: number,
  makeCalendar: MakeCalendar,
): CheckResult[] {
  const named: (readonly [string, GroupOptions])[] = [...groups].map(([name, group]) => [`group "${name}"`, group]);
  if (allowUnknownGroups) named.push(["other groups", defaults]);
  const restricted = named.filter(([, { allow, freeze }]) => allow.length > 0 || freeze.length > 0);
  if (restricted.length === 0) return [];
  const problems = restricted.flatMap(([who, { allow, freeze, drain }]) => {
    const cutoffMs = drain.timeoutMs ?? drainTimeoutMs;
    const openings = (windows: readonly AllowWindow[]) =>
      makeCalendar({ allow: windows, freeze, timeZone, cutoffMs }).openings(moment, OPENINGS);
    return checkOpenings(who, allow, openings);
  });
  if (problems.length > 0) return problems;
  const detail = restricted.map(([who]) => who).join(", ");
  return [{ name: "every window opens within a year", status: "ok", detail }];
}

/** Checks the windows of one group. @param openings The spans in which windows let slots be granted, within a year. */
function checkOpenings(
  who: string,
  allow: readonly AllowWindow[],
  openings: (windows: readonly AllowWindow[]) => readonly { readonly from: number; readonly to: number }[],
): CheckResult[] {
  const together = openings(allow);
  if (together.length === 0) {
    return [{
      name: "every group gets slots within a year",
      status: "warning",
      detail: `${who} never does`,
      hint: "its freezes cover all of its windows: end a freeze, or add a window",
    }];
  }
  const longest = Math.max(...together.map(({ from, to }) => to - from));
  const short: CheckResult[] = longest >= ASKS_EVERY_MS ? [] : [{
    name: "windows leave time to ask for a slot",
    status: "warning",
    detail: `${who}: slots are granted for ${describeDuration(longest)} at most, and a host asks every 5 minutes`,
    hint: "make a window longer, or its cutoff or the drain's time limit shorter",
  }];
  const never = allow.flatMap((window, index) => openings([window]).length > 0 ? [] : [`allow[${index}]`]);
  return never.length === 0 ? short : [...short, {
    name: "every window opens within a year",
    status: "warning",
    detail: `${who}: ${never.join(", ")} never opens`,
    hint: "freezes cover it: end a freeze, or remove the window",
  }];
}
