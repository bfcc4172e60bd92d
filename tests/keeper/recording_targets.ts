/**
 * The targets of reports, which note all that they are told.
 *
 * @module
 */

import type { ReportTargets } from "../../src/keeper/reports.ts";

/** See the module. `told` is in order: a log line, an Event or a number with its arguments. */
export function recordingTargets(): { targets: Required<ReportTargets>; told: unknown[][] } {
  const told: unknown[][] = [];
  const note = (...what: unknown[]) => void told.push(what);
  const log = (level: string) => (message: string, fields: Record<string, unknown>) => note(level, message, fields);
  return {
    told,
    targets: {
      log: { info: log("info"), warning: log("warning"), error: log("error") },
      events: {
        record: ({ kind, name }, reason, text, warning = false) =>
          note("event", `${kind} ${name}`, reason, text, warning),
      },
      observer: {
        drainEnded: (...what) => note("drainEnded", ...what),
        eviction: (...what) => note("eviction", ...what),
        podsLeft: (...what) => note("podsLeft", ...what),
        malformedNodes: (...what) => note("malformedNodes", ...what),
        nodesSynced: (...what) => note("nodesSynced", ...what),
        repaired: (...what) => note("repaired", ...what),
      },
    },
  };
}
