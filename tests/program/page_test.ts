/**
 * The status page in a real browser. One browser serves all of its tests; without
 * Chromium they are skipped.
 *
 * @module
 */

import { deepEqual, equal, match, ok } from "node:assert/strict";
import axe from "axe-core";
import type { Browser, Page } from "puppeteer-core";
import { StatusRoutes } from "../../src/http/status_routes.ts";
import { systemClock } from "../../src/lock/clock.ts";
import type { Account, GroupAccount } from "../../src/status/account.ts";
import { startTestServer, type TestServer } from "../http/test_server.ts";
import { CHROMIUM, startBrowser } from "../support/browser.ts";
import { demoAccount, demoFleet, demoGroup } from "../support/demo_account.ts";
import { startProgram } from "../support/program.ts";

/** What the page's functions see in the browser. */
declare const document: {
  title: string;
  documentElement: { scrollWidth: number; clientWidth: number };
  activeElement: { textContent: string; id: string } | null;
};

const HOSTILE = `"><img src=x onerror="document.title='owned'"><script>document.title='owned'</script>`;

/** A server whose account a test changes. */
interface World extends AsyncDisposable {
  readonly server: TestServer;
  account: (now: number) => Account;
  stop(): Promise<void>;
}

function startWorld(account: World["account"], maxStreams?: number): World {
  const stopping = new AbortController();
  const world: World = {
    account,
    server: startTestServer({
      status: new StatusRoutes({
        account: () => world.account(Date.now()),
        clock: systemClock,
        stopping: stopping.signal,
        logger: console,
        maxStreams,
      }),
    }),
    async stop() {
      stopping.abort();
      await world.server[Symbol.asyncDispose]();
    },
    [Symbol.asyncDispose]: () => world.stop(),
  };
  return world;
}

/** Opens a page, and notes everything that goes wrong in it. */
async function open(browser: Browser, url: string, scheme = "light", width = 1_000) {
  const page = await browser.newPage();
  const faults: string[] = [];
  page.on("console", (message) => void (message.type() === "log" || faults.push(message.text())));
  page.on("pageerror", (error) => void faults.push(`${error}`));
  await page.setViewport({ width, height: 800 });
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  await page.goto(url);
  await page.waitForSelector('[data-link="live"]');
  return { page, faults };
}

const text = (page: Page, selector: string) => page.$eval(selector, (element) => element.textContent);

/** Waits until an element has a text. */
async function waitForText(page: Page, selector: string, wanted: string, timeout = 10_000): Promise<void> {
  await page.waitForSelector(`${selector}::-p-text(${wanted})`, { timeout });
}

/** Presses Tab until an element with a text has the focus. */
async function tabTo(page: Page, wanted: string): Promise<void> {
  for (let tabs = 0; tabs < 40; tabs++) {
    await page.keyboard.press("Tab");
    const focused = await page.evaluate(() => document.activeElement?.textContent);
    if (focused?.trim() === wanted) return;
  }
  throw new Error(`no element with the text ${wanted} gets the focus`);
}

Deno.test({ name: "the status page in a browser", ignore: CHROMIUM === undefined }, async (test) => {
  await using closing = new AsyncDisposableStack();
  const browser = await startBrowser();
  closing.defer(() => browser.close());

  await test.step("shows the state, and passes axe in light and dark and on a phone", async () => {
    const began = Date.now();
    await using world = startWorld((now) => ({ ...demoFleet(began), at: new Date(now).toISOString() }));
    for (const [scheme, width] of [["light", 1_000], ["dark", 1_000], ["dark", 360]] as const) {
      const { page, faults } = await open(browser, world.server.url, scheme, width);
      equal(await text(page, "#summary"), "worker-07 is stuck (drain blocked) in workers.");
      match((await text(page, "#group-workers"))!, /worker-07.*Drain blocked.*42 min.*shop\/checkout-6d5f9/);
      equal(await page.evaluate(() => document.title), "Stuck: fleetlock");
      const { scrollWidth, clientWidth } = await page.evaluate(() => ({
        scrollWidth: document.documentElement.scrollWidth,
        clientWidth: document.documentElement.clientWidth,
      }));
      equal(scrollWidth, clientWidth, `the page is wider than ${width}`);
      for (const details of await page.$$("details")) await details.evaluate((one) => one.setAttribute("open", ""));
      await page.evaluate(axe.source);
      const { violations } = await page.evaluate("axe.run()") as { violations: { id: string; nodes: unknown[] }[] };
      deepEqual(violations.map(({ id, nodes }) => [id, JSON.stringify(nodes).slice(0, 500)]), [], `${scheme} ${width}`);
      deepEqual(faults, []);
      await page.close();
    }
  });

  await test.step("hundreds of groups and many pods push nothing off a phone, and stay in reach of the keyboard", async () => {
    const pods = Array.from({ length: 40 }, (_, nth) => ({ pod: `shop/web-${nth}`, reason: "its budget allows none" }));
    await using world = startWorld((now) => {
      const since = new Date(now - 60_000).toISOString();
      const holder = { id: "a…", node: "node-1", since, stageSince: since, stage: "blocked" as const };
      const holders = [{ ...holder, hash: "1", node: "fine", isStuck: false }, {
        ...holder,
        hash: "2",
        isStuck: true,
        pods,
      }];
      const groups = Array.from({ length: 300 }, (_, nth) => demoGroup(`group-${nth}`));
      return demoAccount(now, [demoGroup("z", { holders, slots: 2, unasked: ["drain"] }), ...groups]);
    });
    const { page, faults } = await open(browser, world.server.url, "light", 360);
    const heightOf = (selector: string) =>
      page.$eval(selector, (element) => (element as unknown as { offsetHeight: number }).offsetHeight);
    ok(await heightOf("#nav") < 250);
    ok(await heightOf("#group-z .pods ul") < 300);
    // What is stuck comes first.
    equal(await text(page, "#group-z .slot:first-child .who"), "node-1");
    equal(await text(page, ".group:first-child h2"), "z");
    match((await text(page, "#group-z"))!, /Nothing that is known .* next host: pods that a drain must leave alone\./);
    match((await text(page, "#group-group-7"))!, /Nothing speaks against it/);
    await page.evaluate(axe.source);
    const options = JSON.stringify({
      runOnly: ["scrollable-region-focusable", "list", "listitem", "aria-allowed-attr"],
    });
    const { violations } = await page.evaluate(`axe.run("#nav, #group-z", ${options})`) as { violations: unknown[] };
    deepEqual([violations, faults], [[], []]);
    await page.close();
  });

  await test.step("follows changes in place: focus, open parts and elements stay", async () => {
    let groups: GroupAccount[] = [];
    const refused = { id: "b", hash: "b", at: "", since: "", kind: "outside_window", sentence: "not now" };
    await using world = startWorld((now) => {
      const at = new Date(now).toISOString();
      const waiting = [{ ...refused, at, since: at }];
      return demoAccount(now, groups.map((group) => ({ ...group, waiting: group.name === "a" ? waiting : [] })));
    });
    const { page, faults } = await open(browser, world.server.url);
    equal(await text(page, "#summary"), "No host has asked for a slot yet.");
    groups = [demoGroup("a"), demoGroup("b")];
    await waitForText(page, "#group-b h2", "b");
    const before = await page.$("#group-a details");
    await page.focus("#group-a summary");
    const since = new Date().toISOString();
    const holder = { id: "978a225b…", hash: "1", node: "node-9", since, stage: "rebooting" as const, isStuck: false };
    groups = [demoGroup("a", { holders: [holder] }), demoGroup("c")];
    await waitForText(page, "#group-a .slot", "node-9");
    equal(await page.$("#group-b"), null);
    equal(await before!.evaluate((details) => (details as unknown as { open: boolean }).open), true);
    equal(await before!.evaluate((details) => details.isConnected), true);
    match(await page.evaluate(() => document.activeElement!.textContent), /1 host waits/);
    await waitForText(page, "#group-a .slot", "3 s");
    match((await text(page, "#spoken"))!, /node-9 has its turn/);
    deepEqual(faults, []);
    await page.close();
  });

  await test.step("shows hostile ids, names and reasons as text", async () => {
    const at = new Date().toISOString();
    await using world = startWorld((now) =>
      demoAccount(now, [
        demoGroup("a", {
          holders: [{
            id: HOSTILE,
            hash: HOSTILE,
            node: HOSTILE,
            since: at,
            stage: "draining",
            isStuck: true,
            pods: [{ pod: HOSTILE, reason: HOSTILE }],
          }],
          blocks: [{ kind: HOSTILE, rule: HOSTILE, sentence: HOSTILE }],
          pause: { reason: HOSTILE, by: HOSTILE },
          deferred: [{ id: HOSTILE, hash: HOSTILE, node: HOSTILE, until: at, pods: [HOSTILE] }],
          waiting: [{ id: HOSTILE, hash: HOSTILE, node: HOSTILE, at, since: at, kind: HOSTILE, sentence: HOSTILE }],
          turns: [{ id: HOSTILE, hash: HOSTILE, node: HOSTILE, granted: at, released: at }],
        }),
      ], { replica: HOSTILE, program: HOSTILE, config: { hash: "", error: HOSTILE } })
    );
    const { page, faults } = await open(browser, world.server.url);
    await page.click("#group-a ::-p-text(As a list)");
    for (const selector of [".slot .who", ".pods", ".pause", ".blocks", "tbody", "#summary"]) {
      ok((await text(page, selector))!.includes(selector === ".blocks" ? "onerror" : HOSTILE), selector);
    }
    equal(await page.$("img, main script, main iframe"), null);
    equal(await page.evaluate(() => document.title), "Stuck: fleetlock");
    deepEqual(faults, []);
    await page.close();
  });

  await test.step("is usable by keyboard alone", async () => {
    const began = Date.now();
    await using world = startWorld((now) => ({ ...demoFleet(began), at: new Date(now).toISOString() }));
    const { page } = await open(browser, world.server.url);
    await tabTo(page, "Skip to the groups");
    await page.keyboard.press("Enter");
    equal(await page.evaluate(() => document.activeElement!.id), "groups");
    await tabTo(page, "1 pod left");
    const isOpen = () => page.$$eval(".slot .pods", (all) => (all[2] as unknown as { open: boolean }).open);
    equal(await isOpen(), false);
    await page.keyboard.press("Enter");
    equal(await isOpen(), true);
    await tabTo(page, "As a list");
    await page.keyboard.press("Space");
    ok(await page.waitForSelector("#group-workers tbody ::-p-text(worker-18)", { visible: true }));
    await page.close();
  });

  await test.step("polls where the server has too many streams", async () => {
    await using world = startWorld((now) => demoAccount(now, [demoGroup("a")]), 0);
    const page = await browser.newPage();
    await page.goto(world.server.url);
    await page.waitForSelector('[data-link="polling"]');
    await waitForText(page, "#group-a h2", "a");
    await page.close();
  });

  await test.step("holds with 64 groups of 50 waiting hosts", async () => {
    const at = new Date().toISOString();
    const waiting = Array.from({ length: 50 }, (_, nth) => {
      return {
        id: `${nth}`,
        hash: `${nth}`,
        node: `node-${nth}`,
        at,
        since: at,
        kind: "lock_held",
        sentence: "reboot slot is held".repeat(5),
      };
    });
    let transitions = 0;
    await using world = startWorld((now) => {
      transitions++;
      return demoAccount(
        now,
        Array.from({ length: 64 }, (_, nth) => demoGroup(`group-${nth}`, { waiting, transitions })),
      );
    });
    const { page, faults } = await open(browser, world.server.url);
    equal((await page.$$(".group")).length, 64);
    await waitForText(page, "#group-group-63", "50 hosts wait");
    const { TaskDuration = 0 } = await page.metrics();
    await waitForText(page, "#group-group-63 .top", "5 grants");
    const used = (await page.metrics()).TaskDuration! - TaskDuration;
    ok(used < 3, `the page used ${used} s of processor time for a few changes`);
    deepEqual(faults, []);
    await page.close();
  });

  await test.step("survives a restart of the program, and shows what the program does", async () => {
    const folder = await Deno.makeTempDir({ prefix: "fleetlock-page-" });
    closing.defer(() => Deno.remove(folder, { recursive: true }));
    const store = `--store=sqlite:${folder}/locks.db`;
    const first = await startProgram([store]);
    const ask = async (endpoint: string, id: string) => {
      const body = JSON.stringify({ client_params: { id, group: "default" } });
      const headers = { "fleet-lock-protocol": "true" };
      await fetch(`${first.url}/v1/${endpoint}`, { method: "POST", headers, body }).then((reply) => reply.text());
    };
    const { page } = await open(browser, first.url);
    await ask("pre-reboot", "one-host");
    await ask("pre-reboot", "two-host");
    await waitForText(page, "#group-default .slot .who", "one-…");
    await waitForText(page, "#group-default", "1 host waits");
    await page.evaluate("globalThis.isSamePage = true");
    const began = performance.now();
    equal((await first.stop()).code, 0);
    ok(performance.now() - began < 5_000, "the open stream delays the stop");
    await page.waitForSelector('[data-link="lost"]');
    match((await text(page, "#notice"))!, /Disconnected: last heard \d+ s ago/);
    await using _second = await startProgram([store, `--address=${new URL(first.url).host}`]);
    await page.waitForSelector('[data-link="live"]', { timeout: 30_000 });
    await ask("steady-state", "one-host");
    await ask("pre-reboot", "two-host");
    await waitForText(page, "#group-default .slot .who", "two-…");
    equal(await page.evaluate("globalThis.isSamePage"), true);
    await page.close();
  });
});

if (CHROMIUM === undefined) console.log("Skipped the tests of the status page: Chromium is not installed");
