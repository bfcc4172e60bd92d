// The script of the status page: it shows the account of one replica, and keeps it up to date by a stream of events, or
// where there is none, by polls. The server puts the files of this folder into one script.

import { $, list, make, setAttribute, setText, show } from "./elements.js";
import { buildGroup, drawTurns, updateGroup } from "./group.js";
import { duration, setClock } from "./times.js";
import { nameOf, plural, stageOf } from "./words.js";

/** How many slots of a group are drawn beside its name in the navigation. */
const MINI_SHOWN = 12;

/** How long to wait between polls, and after a stream was refused until the next, in milliseconds. */
const POLL_MS = 10_000;
const NO_STREAM_MS = 60_000;

/** The account as it is known now; undefined before the first answer. */
let state;

/** Says in a sentence what matters most, with the names of the groups that it links to. */
function summarize({ groups }) {
  const stuck = groups.flatMap(({ name, holders }) => {
    return holders.filter(({ isStuck }) => isStuck).map((holder) => ({ name, holder }));
  });
  if (stuck.length === 1) {
    const [{ name, holder }] = stuck;
    return { text: `${nameOf(holder)} is stuck (${stageOf(holder).name.toLowerCase()}) in `, links: [name] };
  }
  if (stuck.length > 1) {
    return { text: `${stuck.length} holds are stuck in `, links: [...new Set(stuck.map(({ name }) => name))] };
  }
  const holders = groups.flatMap(({ holders }) => holders);
  const waits = groups.reduce((sum, { waiting, waitingMore }) => sum + waiting.length + waitingMore, 0);
  const wait = waits === 0 ? "none waits" : plural(waits, "waits", "wait");
  if (groups.length === 0) return { text: "No host has asked for a slot yet.", links: [] };
  if (holders.length === 1) return { text: `${nameOf(holders[0])} has its turn; ${wait}.`, links: [] };
  if (holders.length > 1) return { text: `${holders.length} hosts have their turn; ${wait}.`, links: [] };
  const paused = groups.filter(({ pause }) => pause !== undefined).map(({ name }) => name);
  if (paused.length > 0) return { text: `Every slot is free, and grants are paused in `, links: paused };
  return { text: waits === 0 ? "All quiet: every slot is free." : `Every slot is free; ${wait}.`, links: [] };
}

function updateSummary() {
  const { text, links } = summarize(state);
  const shown = links.slice(0, 3);
  const rest = links.length > 3 ? ` and ${links.length - 3} more` : "";
  const whole = `${text}${links.join(", ")}`;
  if ($("summary").whole === whole) return;
  $("summary").whole = whole;
  const parts = shown.flatMap((name, nth) => {
    return [...(nth === 0 ? [] : [", "]), make("a", { href: `#group-${name}` }, name)];
  });
  $("summary").replaceChildren(text, ...parts, rest + (links.length > 0 ? "." : ""));
  setText($("spoken"), whole);
  const stuck = state.groups.some(({ holders }) => holders.some(({ isStuck }) => isStuck));
  document.title = stuck ? "Stuck: fleetlock" : "fleetlock";
}

function updateNav() {
  const { groups } = state;
  show($("nav"), groups.length > 3);
  list($("jumps"), groups.length > 3 ? groups : [], ({ name }) => name, ({ name }) => {
    const row = { element: make("li"), mini: make("span", { class: "mini", "aria-hidden": "true" }) };
    row.element.append(make("a", { href: `#group-${name}` }, row.mini, name));
    return row;
  }, ({ mini }, { holders, slots }) => {
    const tones = holders.map((holder) => stageOf(holder).tone);
    const boxes = [...tones, ...Array.from({ length: Math.max(0, slots - holders.length) }, () => undefined)];
    const keyed = boxes.slice(0, MINI_SHOWN).map((tone, nth) => ({ tone, nth }));
    list(
      mini,
      keyed,
      ({ nth }) => `${nth}`,
      () => make("i"),
      (box, { tone }) => setAttribute(box, "data-tone", tone),
    );
  });
}

/** What is wrong with the page's facts as a whole. */
function notices() {
  const { isInStep, areNodesInStep, config, program, version } = state;
  const all = [];
  if (link === "lost") {
    all.push(`Disconnected: last heard ${duration(performance.now() - heard)} ago. This was true then.`);
  }
  if (!isInStep) all.push("This replica is not in step with the store of the locks: what it shows may be old.");
  if (areNodesInStep === false) {
    all.push("This replica is not in step with the nodes: where each holder is may be unknown.");
  }
  if (config?.error !== undefined) all.push(`The configuration file is not in force: ${config.error}`);
  if (program !== firstProgram || version !== 1) all.push(`The server now runs ${program}: reload the page.`);
  return all.join(" ");
}

function updateNotice() {
  const text = state === undefined ? "" : notices();
  show($("notice"), text !== "");
  setText($("notice"), text);
}

let firstProgram;

function render(changed = state.groups) {
  const { replica, program, store, started, groups } = state;
  firstProgram ??= program;
  setText($("replica"), replica === "local" ? location.host : `as replica ${replica} sees it`);
  setText($("about"), `fleetlock ${program} · store: ${store} · started ${new Date(started).toLocaleString()}`);
  updateSummary();
  updateNav();
  const fresh = new Set(changed.map(({ name }) => name));
  // What is stuck comes first.
  const isStuck = ({ holders }) => holders.some(({ isStuck }) => isStuck);
  const ordered = [...groups.filter(isStuck), ...groups.filter((group) => !isStuck(group))];
  list($("groups"), ordered, ({ name }) => name, buildGroup, (row, group) => {
    if (row.group === undefined || fresh.has(group.name)) updateGroup(row, group, groups.length);
  });
  show(empty, groups.length === 0);
  updateNotice();
}

const empty = make("p", { class: "empty", hidden: "" }, "Groups appear here with the first host that asks for one.");
$("groups").after(empty);

setInterval(() => {
  if (document.hidden) return;
  for (const element of document.getElementsByTagName("time")) {
    if (element.ms !== undefined && element.checkVisibility()) setText(element, element.form(element.ms));
  }
  updateNotice();
  watchStream();
}, 1000);

setInterval(() => {
  for (const row of document.hidden ? [] : $("groups").keyed?.values() ?? []) {
    if (row.group.turns.length > 0) drawTurns(row, row.group);
  }
}, 20_000);

/** How the page gets its facts: `waiting`, `live`, `polling` or `lost`. */
let link = "waiting";
/** When the server was heard last, by the monotonic time. */
let heard = performance.now();
/** The open stream. */
let source;
let isStreaming = false;
let openedAt = 0;
/** Before this time, no stream is opened, because the server has too many or something cuts them. */
let noStreamBefore = 0;
let failures = 0;
let timer;

const LINKS = { waiting: "connecting", live: "live", polling: "every 10 s", lost: "disconnected" };

function setLink(next) {
  if (link === next) return;
  link = next;
  setText($("link"), LINKS[next]);
  setAttribute($("link"), "data-link", next);
  if (next === "lost") setText($("spoken"), "Disconnected from the server.");
  updateNotice();
}

/** The server was heard. */
function hear(at) {
  heard = performance.now();
  setClock(at);
  failures = 0;
}

function takeAll(account) {
  state = account;
  hear(account.at);
  render();
}

/** Puts new values into an object. Those that are gone are null. */
function amend(object, { ...values }) {
  for (const [name, value] of Object.entries(values)) {
    if (value === null) delete object[name];
    else object[name] = value;
  }
}

function takeChange({ at, account = {}, groups = [], gone = [] }) {
  hear(at);
  amend(state, account);
  state.groups = state.groups.filter(({ name }) => !gone.includes(name));
  for (const change of groups) {
    let group = state.groups.find(({ name }) => name === change.name);
    if (group === undefined) state.groups.push(group = {});
    amend(group, change);
  }
  state.groups.sort((one, other) => one.name < other.name ? -1 : 1);
  render(groups);
}

function disconnect() {
  source?.close();
  source = undefined;
  isStreaming = false;
  clearTimeout(timer);
}

function connect() {
  disconnect();
  if (document.hidden) return;
  openedAt = performance.now();
  source = new EventSource("events");
  source.addEventListener("snapshot", ({ data }) => {
    isStreaming = true;
    takeAll(JSON.parse(data));
    setLink("live");
  });
  source.addEventListener("change", ({ data }) => takeChange(JSON.parse(data)));
  source.addEventListener("alive", ({ data }) => hear(JSON.parse(data).at));
  source.addEventListener("error", () => {
    // A stream that ended is opened again at once; one that was refused, later.
    if (!isStreaming) noStreamBefore = performance.now() + NO_STREAM_MS;
    fail();
  });
}

/** The stream or a poll failed. */
function fail() {
  disconnect();
  failures++;
  if (failures > 1) setLink("lost");
  timer = setTimeout(poll, Math.min(POLL_MS, 500 * 2 ** failures));
}

/** Ends a stream that something on the way holds up. */
function watchStream() {
  if (source === undefined) return;
  const silent = performance.now() - Math.max(heard, openedAt);
  if (silent < (isStreaming ? 40_000 : 10_000)) return;
  noStreamBefore = performance.now() + NO_STREAM_MS;
  fail();
}

async function poll() {
  try {
    const reply = await fetch("status.json", { cache: "no-store", signal: AbortSignal.timeout(8_000) });
    if (!reply.ok) throw new Error(`status ${reply.status}`);
    const account = await reply.json();
    if (document.hidden) return;
    takeAll(account);
  } catch {
    if (!document.hidden) fail();
    return;
  }
  if (performance.now() >= noStreamBefore) return connect();
  setLink("polling");
  timer = setTimeout(poll, POLL_MS);
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) return disconnect();
  heard = performance.now();
  connect();
});
connect();
