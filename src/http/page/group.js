// One group: its slots, what the next grant waits for, who waits, and the last turns.

import { list, make, setAttribute, setText, show } from "./elements.js";
import { dateOf, duration, now, setTime, time } from "./times.js";
import { clientOf, nameOf, plural, stageOf, UNASKED } from "./words.js";

/** How many free slots are drawn. */
const FREE_SHOWN = 6;

/** A list of pods that is longer than this may scroll. */
const LONG_LIST = 4;

/** A list of hosts that is no longer than this is open at first, where there are no more groups either. */
const SHORT_LIST = 8;

function buildHolder() {
  const row = {
    element: make("li", { class: "slot" }),
    shout: make("strong", { class: "shout" }, "Stuck"),
    who: make("p", { class: "who" }),
    stage: make("b"),
    inStage: time("age"),
    held: time("age"),
    id: make("code"),
    asked: make("small"),
    askedAt: time("ago"),
    release: make("small"),
    releaseAt: time("until"),
    releaseWaits: make("span"),
    unknown: make("small", {}, "Which pods are left is unknown here: another replica drains it."),
    pods: make("details", { class: "pods" }),
    podCount: make("summary"),
    podList: make("ul", { class: "plain", "aria-label": "Pods left" }),
  };
  row.asked.append("asked this replica ", row.askedAt);
  row.release.append("freed by the server, because its node is gone: ", row.releaseAt, row.releaseWaits);
  row.pods.append(row.podCount, row.podList);
  const stage = make("p", { class: "stage" }, row.stage, row.inStage);
  const held = make("small", {}, "slot held for ", row.held, " by ", row.id);
  row.element.append(row.shout, row.who, stage, held, row.asked, row.release, row.unknown, row.pods);
  return row;
}

function updateHolder(row, holder) {
  const { name, tone } = stageOf(holder);
  setAttribute(row.element, "data-tone", tone);
  show(row.shout, holder.isStuck);
  setText(row.who, nameOf(holder));
  setText(row.stage, name);
  show(row.inStage, holder.stageSince !== undefined && holder.stage !== "unknown");
  setTime(row.inStage, holder.stageSince ?? holder.since);
  setTime(row.held, holder.since);
  setText(row.id, holder.id);
  show(row.asked, holder.lastPoll !== undefined);
  if (holder.lastPoll !== undefined) setTime(row.askedAt, holder.lastPoll);
  const { release } = holder;
  show(row.release, Boolean(release));
  if (release) setTime(row.releaseAt, release.at);
  setText(row.releaseWaits, release?.waitsFor ? `; ${release.waitsFor}` : "");
  const isDraining = holder.stage === "draining" || holder.stage === "blocked";
  show(row.unknown, isDraining && holder.pods === undefined);
  const pods = holder.pods ?? [];
  // A drain that is stuck shows at once what it waits for.
  if (holder.isStuck && !row.wasStuck) row.pods.open = true;
  row.wasStuck = holder.isStuck;
  show(row.pods, pods.length > 0);
  // A list that scrolls must be in reach of the keyboard.
  setAttribute(row.podList, "tabindex", pods.length > LONG_LIST ? "0" : undefined);
  setText(row.podCount, `${plural(pods.length, "pod", "pods")} left`);
  list(row.podList, pods, ({ pod }) => pod, () => {
    const element = make("li");
    const [pod, reason] = [make("code"), make("span")];
    element.append(pod, " ", reason);
    return { element, pod, reason };
  }, (one, { pod, reason }) => {
    setText(one.pod, pod);
    setText(one.reason, reason);
  });
}

function slotsOf({ holders, slots }) {
  const free = Math.max(0, slots - holders.length);
  const shown = free > FREE_SHOWN ? FREE_SHOWN - 1 : free;
  const boxes = Array.from({ length: shown }, (_, nth) => ({ key: `free ${nth}`, text: "free" }));
  if (shown < free) boxes.push({ key: "more", text: `${free - shown} more free` });
  if (slots === 0 && holders.length === 0) boxes.push({ key: "none", text: "no slots now" });
  // What is stuck comes first, as with the groups.
  const ordered = [...holders.filter(({ isStuck }) => isStuck), ...holders.filter(({ isStuck }) => !isStuck)];
  return [...ordered.map((holder) => ({ key: `${clientOf(holder)} ${holder.since}`, holder })), ...boxes];
}

function updateBlock(row, { kind, sentence, until }) {
  const isFull = kind === "lock_held";
  setText(row.kind, isFull ? "slots in use" : kind.replaceAll("_", " "));
  setText(row.sentence, isFull ? "Each slot is taken. The next host gets one when a holder is back." : sentence);
  show(row.until, until !== undefined);
  if (until !== undefined) setTime(row.untilTime, until);
}

function buildBlock() {
  const row = {
    element: make("li"),
    kind: make("span", { class: "pill", "data-tone": "work" }),
    sentence: make("span"),
    until: make("span", { class: "soft" }),
    untilTime: time("until"),
  };
  row.until.append("ends ", row.untilTime);
  row.element.append(row.kind, row.sentence, row.until);
  return row;
}

/** Makes a table with a caption for screen readers. The roles keep it one on a phone, where its rows are boxes. */
function table(caption, columns) {
  const heads = columns.map((column) => make("th", { scope: "col", role: "columnheader" }, column));
  const body = make("tbody", { role: "rowgroup" });
  const head = make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, ...heads));
  const element = make("table", { role: "table" }, make("caption", { class: "unseen" }, caption), head, body);
  return { element, body };
}

function buildCells(labels, cells) {
  const [first, ...rest] = cells;
  const element = make("tr", { role: "row" }, make("th", { scope: "row", role: "rowheader" }, first));
  rest.forEach((cell, nth) => element.append(make("td", { role: "cell", "data-label": labels[nth + 1] }, cell)));
  return element;
}

const WAITING = ["Host", "Waits for", "Asked", "Last answer"];

function buildWaiting() {
  const row = { who: make("span"), since: time("age"), at: time("ago"), why: make("span") };
  return { ...row, element: buildCells(WAITING, [row.who, row.since, row.at, row.why]) };
}

function updateWaiting(row, waiting) {
  setText(row.who, nameOf(waiting));
  setTime(row.since, waiting.since);
  setTime(row.at, waiting.at);
  setText(row.why, waiting.kind === "lock_held" ? "the slots are in use" : waiting.sentence);
  setAttribute(row.why, "title", waiting.sentence);
}

const TURNS = ["Host", "Slot granted", "Took", "Result"];

function buildTurn() {
  const row = { who: make("span"), granted: time("ago"), took: make("span", { class: "num" }), result: make("span") };
  return { ...row, element: buildCells(TURNS, [row.who, row.granted, row.took, row.result]) };
}

const tookMs = ({ granted, released }) => Date.parse(released) - Date.parse(granted);

function updateTurn(row, turn) {
  setText(row.who, nameOf(turn));
  setTime(row.granted, turn.granted);
  setText(row.took, duration(tookMs(turn)));
  setText(row.result, turn.isSameImage ? "came back with its old image" : "slot given back");
}

/** Draws the turns as bars over time, those at the same time below one another. */
export function drawTurns(row, { turns, holders }) {
  const past = turns.map((turn) => ({ turn, from: Date.parse(turn.granted), to: Date.parse(turn.released) }));
  const present = holders.map((turn) => ({ turn, from: Date.parse(turn.since), to: now(), isNow: true }));
  const bars = [...past, ...present].toSorted((one, other) => one.from - other.from);
  const begin = Math.min(...bars.map(({ from }) => from));
  const span = Math.max(now() - begin, 60_000);
  const lanes = [];
  for (const bar of bars) {
    const lane = lanes.findIndex((end) => end <= bar.from);
    bar.lane = lane < 0 ? lanes.length : lane;
    lanes[bar.lane] = bar.to;
  }
  row.picture.style.height = `${0.4 + Math.min(lanes.length, 6) * 1.3}rem`;
  list(
    row.picture,
    bars,
    ({ turn }) => `${clientOf(turn)} ${turn.granted ?? turn.since}`,
    () => make("i"),
    (element, bar) => {
      const { turn, from, to, isNow } = bar;
      element.style.left = `${100 * Math.max(0, from - begin) / span}%`;
      element.style.width = `${100 * Math.max(0, to - from) / span}%`;
      element.style.top = `${0.35 + (bar.lane % 6) * 1.3}rem`;
      setAttribute(element, "data-now", isNow && "");
      setAttribute(element, "data-tone", turn.isStuck || turn.isSameImage ? "alarm" : undefined);
      setAttribute(element, "title", `${nameOf(turn)}: ${duration(to - from)}`);
    },
  );
  const described = turns.slice(0, 5).map((turn) => `${nameOf(turn)} ${duration(tookMs(turn))}`).join(", ");
  setAttribute(row.picture, "aria-label", `Last turns, newest first: ${described}`);
  setText(row.begin, `${duration(span)} ago`);
}

export function buildGroup({ name }) {
  const id = `group-${name}`;
  const row = {
    element: make("section", { class: "group", id, "aria-labelledby": `${id}-name`, tabindex: "-1" }),
    count: make("p", { class: "num" }),
    pause: make("p", { class: "pause" }),
    slots: make("ul", { class: "slots", "aria-label": "Slots" }),
    next: make("p"),
    opens: time("until"),
    window: make("p", { class: "soft" }),
    blocks: make("ul", { class: "plain blocks" }),
    deferredBox: make("div"),
    deferred: make("ul", { class: "plain" }),
    waitingBox: make("div"),
    waitingCount: make("summary"),
    waitingMore: make("p", { class: "soft" }),
    waiting: table(`Hosts of ${name} that wait`, WAITING),
    turnsBox: make("div"),
    picture: make("div", { class: "turns", role: "img" }),
    begin: make("span"),
    turns: table(`Last turns of ${name}`, TURNS),
  };
  row.window.append("Its window opens ", row.opens);
  row.waitingList = make("details", {}, row.waitingCount, row.waiting.element, row.waitingMore);
  row.turnsList = make("details", {}, make("summary", {}, "As a list"), row.turns.element);
  row.waitingBox.append(row.waitingList);
  row.deferredBox.append(make("h3", {}, "Yielded, with a later turn"), row.deferred);
  row.turnsBox.append(
    make("h3", {}, "Last turns"),
    row.picture,
    make("div", { class: "axis", "aria-hidden": "true" }, row.begin, make("span", {}, "now")),
    row.turnsList,
  );
  const top = make("div", { class: "top" }, make("h2", { id: `${id}-name` }, name), row.count);
  const next = make("div", {}, make("h3", {}, "Next grant"), row.next, row.blocks, row.window);
  row.element.append(top, row.pause, row.slots, next, row.deferredBox, row.waitingBox, row.turnsBox);
  // The rows of a closed list are made when it is opened.
  for (const part of [row.waitingList, row.turnsList]) part.addEventListener("toggle", () => fillLists(row));
  return row;
}

function fillLists(row) {
  const { waiting, turns } = row.group;
  if (row.waitingList.open) {
    list(row.waiting.body, waiting, clientOf, buildWaiting, updateWaiting);
  }
  if (row.turnsList.open) {
    list(row.turns.body, turns, (turn) => `${clientOf(turn)} ${turn.granted}`, buildTurn, updateTurn);
  }
}

function describePause({ reason, by, until }) {
  const who = by === undefined ? "" : ` by ${by}`;
  const end = until === undefined ? "" : `, until ${dateOf(Date.parse(until))}`;
  return `Paused${who}${end}${reason === undefined ? "" : `: ${reason}`}`;
}

/** Shows a group in its row. `count` is how many groups there are. */
export function updateGroup(row, group, count) {
  const isNew = row.group === undefined;
  row.group = group;
  const { holders, slots, blocks, unasked, deferred, waiting, waitingMore, turns, pause, nextOpening, transitions } =
    group;
  setAttribute(row.element, "data-stuck", holders.some(({ isStuck }) => isStuck) ? "" : undefined);
  setAttribute(row.element, "data-wide", Math.max(slots, holders.length) > 1 ? "" : undefined);
  setText(
    row.count,
    `${holders.length} of ${plural(slots, "slot", "slots")} in use · ${plural(transitions, "grant", "grants")} so far`,
  );
  show(row.pause, pause !== undefined);
  if (pause !== undefined) setText(row.pause, describePause(pause));
  list(row.slots, slotsOf(group), ({ key }) => key, ({ holder, text }) => {
    return holder === undefined ? { element: make("li", { class: "slot", "data-tone": "free" }, text) } : buildHolder();
  }, (box, { holder, text }) => holder === undefined ? setText(box.element, text) : updateHolder(box, holder));
  const isOpen = blocks.length === 0;
  show(row.next, isOpen);
  setAttribute(row.next, "class", "go");
  const asked = unasked.map((rule) => UNASKED[rule] ?? String(rule));
  setText(
    row.next,
    asked.length === 0
      ? "Nothing speaks against it: the next host that asks gets the slot."
      : `Nothing that is known speaks against it. Asked with the next host: ${asked.join(", ")}.`,
  );
  list(
    row.blocks,
    blocks,
    ({ kind, rule = "", sentence }) => {
      return kind === "lock_held" ? kind : `${kind} ${rule} ${sentence}`;
    },
    buildBlock,
    updateBlock,
  );
  // A reason that ends when the window opens has said so.
  const isSaid = blocks.some(({ until }) => until === nextOpening);
  const opensLater = nextOpening !== undefined && Date.parse(nextOpening) > now() && !isSaid;
  show(row.window, opensLater);
  if (opensLater) setTime(row.opens, nextOpening);
  show(row.deferredBox, deferred.length > 0);
  list(row.deferred, deferred, clientOf, buildDeferred, updateDeferred);
  const waits = waiting.length + waitingMore;
  show(row.waitingBox, waits > 0);
  setText(row.waitingCount, `${plural(waits, "host waits", "hosts wait")}`);
  show(row.waitingMore, waitingMore > 0);
  setText(row.waitingMore, `and ${plural(waitingMore, "other", "others")}`);
  if (isNew && waits > 0 && waits <= SHORT_LIST && count <= SHORT_LIST) row.waitingList.open = true;
  show(row.turnsBox, turns.length > 0);
  if (turns.length > 0) drawTurns(row, group);
  fillLists(row);
}

function buildDeferred() {
  const row = { element: make("li"), who: make("b"), until: time("until"), pods: make("small") };
  row.element.append(row.who, " may ask again ", row.until, " ", row.pods);
  return row;
}

function updateDeferred(row, deferral) {
  setText(row.who, nameOf(deferral));
  setTime(row.until, deferral.until);
  setText(row.pods, deferral.pods.join("; "));
}
