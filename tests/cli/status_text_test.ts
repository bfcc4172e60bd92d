/** What status writes: it fits a small terminal, follows it, and shows hostile text as text. @module */

import { deepEqual, doesNotMatch, equal, match, ok } from "node:assert/strict";
import { onScreen } from "../../src/cli/status.ts";
import { statusText } from "../../src/cli/status_text.ts";
import type { HolderAccount } from "../../src/status/account.ts";
import { ago, columns, wrap } from "../../src/cli/terminal.ts";
import { untilOf } from "../../src/cli/options.ts";
import { mergeAnswers } from "../../src/operate/overview.ts";
import { account, before, client, group, holder, NOW } from "../support/accounts.ts";

const SCREEN = { columns: 80, rows: 24, hasColours: false };

function overview(groups: Parameters<typeof account>[0]) {
  return mergeAnswers([{ replica: "a", account: account(groups) }])!;
}

Deno.test("three groups with a blocked drain and a client that waits fit into 80 columns and 24 lines", () => {
  const pods = Array.from({ length: 9 }, (_, at) => ({
    pod: `shop/web-${at}`,
    reason: 'its PodDisruptionBudget "web" allows no disruption now (it needs 2 healthy pods and has 2 currently)',
  }));
  const waiting = [{
    ...client("8121764139b84941ba5ccb83ccae1f98"),
    node: "node-b",
    at: before(2),
    since: before(31),
    kind: "paused",
    sentence: "p",
  }];
  const text = statusText(
    overview([
      group({ name: "a", holders: [holder({ stage: "blocked", isStuck: true, pods, lastPoll: before(3) })], waiting }),
      group({ name: "b" }),
      group({ name: "c" }),
    ]),
    SCREEN,
  );
  const lines = text.trimEnd().split("\n");
  ok(lines.length <= 24, `${lines.length} lines`);
  for (const line of lines) ok(line.length <= 80, line);
  match(lines.at(-1)!, /^Next: kubectl get pods,pdb -n shop {3}# to see what keeps shop\/web-0$/);
});

Deno.test("a namespace without servers and groups is taken for the wrong one", () => {
  const next = (groups: ReturnType<typeof group>[], isWithoutServer?: boolean) =>
    statusText({ at: before(0), source: "s", unknown: [], groups, isWithoutServer }).split("\n").at(-2);
  match(next([], true)!, /^Next: kubectl get pods --all-namespaces --selector name=fleetlock {3}# .* give it with -n$/);
  match(next([])!, /^Next: fleetlock status --watch/);
  match(next([group()], true)!, /^Next: fleetlock status --watch/);
});

Deno.test("a pipe gets no escape sequences and whole lines; a terminal with colours gets both", () => {
  const stuck = overview([group({ holders: [holder({ stage: "node-gone", isStuck: true })] })]);
  // deno-lint-ignore no-control-regex
  doesNotMatch(statusText(stuck), /\x1b/);
  ok(statusText(stuck, { ...SCREEN, hasColours: true }).includes("\x1b[31mSTUCK\x1b[0m"));
});

Deno.test("a hold whose node is gone says when the server frees it, and what that waits for once it is late", () => {
  const shown = (release: HolderAccount["release"]) =>
    statusText(overview([group({ holders: [holder({ stage: "node-gone", ...(release && { release }) })] })]));
  const at = (minutes: number) => before(minutes).replace(/\.\d+Z$/, "Z");
  ok(shown({ at: before(-30) }).includes(`will be released in 30 min, at ${at(-30)}, because its node is gone\n`));
  const late = `was to be released 2 min ago, at ${at(2)}, because its node is gone: the pod web/a must go first\n`;
  ok(shown({ at: before(2), waitsFor: "the pod web/a must go first" }).includes(late));
  doesNotMatch(shown(undefined), /released/);
});

Deno.test("control characters of others do not reach the terminal", () => {
  const reason = "\x1b[2J\u202egnp";
  const text = statusText(
    overview([group({ pause: { reason, by: "\x07" }, blocks: [{ kind: "x", sentence: reason }] })]),
  );
  // deno-lint-ignore no-control-regex
  doesNotMatch(text, /[\x00-\x09\x0b-\x1f\u202e]/);
});

Deno.test("ages are in words, and so are times that are ahead", () => {
  const now = before(0);
  deepEqual([before(12), before(0), before(-120), "?"].map((time) => ago(time, now)), [
    "12 min ago",
    "now",
    "in 2 h",
    "at an unknown time",
  ]);
});

Deno.test("a word that is longer than the line stays whole", () => {
  const long = "x".repeat(100);
  deepEqual(wrap(`a ${long} b`, SCREEN, "- ", "  "), ["- a", `  ${long}`, "  b"]);
  deepEqual(columns([["a", "b"], ["ccc", "d"]]), ["a    b", "ccc  d"]);
});

Deno.test("the end of a pause is a duration, or a time with an offset that is not over", () => {
  equal(untilOf("2h", NOW), NOW + 7_200_000);
  equal(untilOf("2026-11-26T05:00:00+01:00", NOW), NOW + 3_600_000);
  for (const text of ["2026-11-26T05:00:00", "tomorrow", "2026-11-26T02:00:00Z", "0s"]) {
    let message = "";
    try {
      untilOf(text, NOW);
    } catch (error) {
      message = String(error);
    }
    match(message, /--until/, text);
  }
});

Deno.test("what is stuck comes first", () => {
  const groups = [
    group({ name: "a" }),
    group({ name: "b", holders: [holder({ isStuck: true })] }),
    group({ name: "c" }),
  ];
  deepEqual(statusText(overview(groups)).match(/^[abc](?= {2})/gm), ["b", "a", "c"]);
});

for (const [columns, rows] of [[40, 10], [80, 24], [20, 8], [200, 5]] as const) {
  Deno.test(`a watch never scrolls a terminal of ${columns} × ${rows}, and keeps the next command`, () => {
    const groups = Array.from({ length: 30 }, (_, nth) => group({ name: `group-${nth}`, holders: [holder()] }));
    const screen = { columns, rows, hasColours: true };
    const shown = onScreen(statusText(overview(groups), screen), screen);
    equal(shown.slice(0, 7), "\x1b[H\x1b[2J");
    // deno-lint-ignore no-control-regex
    const lines = shown.slice(7).replace(/\x1b\[\d*m/g, "").split("\n");
    const used = lines.reduce((sum, line) => sum + Math.max(1, Math.ceil(line.length / columns)), 0);
    ok(used <= rows, `${used} rows`);
    match(lines.join(" "), /… \d+ more lines Next: fleetlock status --watch/);
  });
}

Deno.test("a watch shows all of a state that fits", () => {
  const text = statusText(overview([group()]), SCREEN);
  equal(onScreen(text, SCREEN), `\x1b[H\x1b[2J${text}`);
});

Deno.test("a rule that lets grants go on without its monitor is below its group", () => {
  const passedOver = [{ rule: "health.prometheus", reason: "it did not answer in time" }];
  match(
    statusText(overview([group({ name: "a", passedOver })])),
    /^a .*\n {2}the rule health\.prometheus lets grants go on \(onError: allow\): .*: it did not answer in time\n/m,
  );
});
