/**
 * Which Nodes a client has at a moment after its request, and what that costs, whatever the watch has seen. On a
 * cluster in memory; what needs a real API server is in tests/cluster. How requests share a reading is in
 * node_watch_test.ts too.
 *
 * @module
 */

import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import {
  FreshNodes,
  type FreshNodesCalls,
  type FreshNodesOptions,
  type SeenNodes,
} from "../../../src/keeper/nodes/fresh_nodes.ts";
import { ID_ANNOTATION, type NodeView, viewNode } from "../../../src/keeper/nodes/node.ts";
import { NodeCalls } from "../../../src/keeper/nodes/node_calls.ts";
import type { ObjectVersion } from "../../../src/kubernetes/list_pages.ts";
import { NodeWatch } from "../../../src/keeper/nodes/node_watch.ts";
import { ForbiddenError } from "../../../src/kubernetes/errors.ts";
import { UnavailableError } from "../../../src/lock/errors.ts";
import { type ClientId, parseClientId } from "../../../src/lock/identity.ts";
import { IdleClock } from "../../support/fake_clock.ts";
import { FakeCluster, type FakeNode } from "../fake_cluster.ts";

const ALICE = parseClientId("978a225b3d7b40e9acd7ce9b62f68444")!;
const MACHINE = "1c09ca98649c4c7abc779cd04c96812e";
const OTHER_MACHINE = "ad432f2cb0c28bbcd1f87a20199237f9";
const named = (n: number): FakeNode => ({ name: `n${n}`, uid: `uid-n${n}` });

/** A cluster with some nodes, and a watch that has seen them. */
class World implements AsyncDisposable {
  readonly clock = new IdleClock();
  readonly cluster = new FakeCluster(this.clock);
  readonly watch = new NodeWatch(new NodeCalls(this.cluster.client), {}, { clock: this.clock });
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;

  static async begin(...nodes: FakeNode[]): Promise<World> {
    const world = new World();
    for (const node of nodes) world.cluster.put(node);
    world.#running = world.watch.run(world.#stop.signal);
    await world.clock.pass(1);
    ok(world.watch.isSynced);
    return world;
  }

  /** Finds the Nodes of a client: their names and states. */
  async find(id: ClientId = ALICE): Promise<string> {
    const found = await this.clock.until(this.watch.listById(id));
    return found.map(({ name, uid }) => (uid === `uid-${name}` ? name : `${name} ${uid}`)).sort().join(", ");
  }

  /** Acts once, after the next call has been answered and before its answer arrives. */
  afterNext(call: string, act: () => void): void {
    this.cluster.hook = (made, when) => {
      if (made !== call || when !== "after") return;
      this.cluster.hook = () => {};
      act();
    };
  }

  /** The limits of the lists so far. Those of a single Node are "one". */
  get lists(): string[] {
    return this.cluster.pages.map(({ limit, fieldSelector }) => fieldSelector === undefined ? limit! : "one");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.clock.until(this.#running!);
  }
}

interface Row {
  /** What the watch has seen, and what is true. */
  readonly fact: string;
  readonly nodes?: FakeNode[];
  change(world: World): void;
  readonly found: string;
  readonly lists: string[];
}

const A: FakeNode = { name: "a", uid: "uid-a", machineID: MACHINE };
const ROWS: Row[] = [
  { fact: "nothing has changed, and no Node has the id", nodes: [named(1)], change() {}, found: "", lists: ["500"] },
  { fact: "there are no Nodes", change() {}, found: "", lists: ["500"] },
  { fact: "nothing has changed, and a Node has the id", nodes: [A], change() {}, found: "a", lists: ["500"] },
  {
    fact: "a Node has joined",
    nodes: [named(1)],
    change: ({ cluster }) => cluster.put(A),
    found: "a",
    lists: ["500", "one"],
  },
  {
    fact: "the Node was deleted",
    nodes: [A],
    change: ({ cluster }) => cluster.remove("a"),
    found: "",
    lists: ["500"],
  },
  {
    fact: "another Node has the name",
    nodes: [{ ...A, machineID: OTHER_MACHINE }],
    change: ({ cluster }) => cluster.put({ ...A, uid: "uid-2" }),
    found: "a uid-2",
    lists: ["500", "one"],
  },
  {
    fact: "the machine-id has changed to the client's",
    nodes: [{ ...A, machineID: OTHER_MACHINE }],
    change: ({ cluster }) => cluster.change("a", { machineID: MACHINE }),
    found: "a",
    lists: ["500", "one"],
  },
  {
    fact: "the machine-id has changed to another",
    nodes: [A],
    change: ({ cluster }) => cluster.change("a", { machineID: OTHER_MACHINE }),
    found: "",
    lists: ["500", "one"],
  },
  {
    fact: "the annotation was set to the client's id",
    nodes: [named(1)],
    change: ({ cluster }) => cluster.change("n1", { annotations: { [ID_ANNOTATION]: ALICE } }),
    found: "n1",
    lists: ["500", "one"],
  },
  {
    fact: "too many Nodes have changed to read them singly",
    nodes: Array.from({ length: 60 }, (_, n) => named(n)),
    change({ cluster }) {
      for (let n = 0; n < 51; n++) cluster.change(`n${n}`, { machineID: n === 7 ? MACHINE : OTHER_MACHINE });
    },
    found: "n7",
    lists: ["500", "50", "50"],
  },
];

for (const { fact, nodes = [], change, found, lists } of ROWS) {
  Deno.test(`the watch is behind, and ${fact}: found: ${found || "none"}`, async () => {
    await using world = await World.begin(...nodes);
    world.cluster.holdBack();
    change(world);
    equal(await world.find(), found);
    deepEqual(world.lists, lists);
  });
}

for (const [count, lists] of [[1, ["500", "one"]], [51, ["500", "50", "50"]]] as const) {
  Deno.test(`what the search reads of ${count} other Nodes is known from then on, and is not read again`, async () => {
    await using world = await World.begin(
      ...Array.from({ length: 60 }, (_, n) => ({ ...named(n), unschedulable: true })),
    );
    world.cluster.holdBack();
    for (let n = 0; n < count; n++) world.cluster.kubectl("uncordon", `n${n}`);
    equal(world.watch.peek("n0")?.unschedulable, true);
    equal(await world.find(), "");
    deepEqual(world.lists, lists);
    equal(world.watch.peek(`n${count - 1}`)?.unschedulable, false);
    equal(await world.find(), "");
    deepEqual(world.lists, [...lists, "500"]);
  });
}

Deno.test("a host that joins again under another name between two calls is found", async () => {
  await using world = await World.begin(named(1));
  world.cluster.holdBack();
  world.cluster.put(A);
  // Neither the Node as it is by then nor the first list alone shows both.
  world.afterNext("list nodes", () => {
    world.cluster.remove("a");
    world.cluster.put({ ...A, name: "b", uid: "uid-b" });
  });
  equal(await world.find(), "a");
});

Deno.test("a host that joins again under another name is found although the watch shows that at once", async () => {
  await using world = await World.begin(A);
  world.afterNext("list nodes", () => {
    world.cluster.remove("a");
    world.cluster.put({ ...A, name: "b", uid: "uid-b" });
  });
  equal(await world.find(), "a");
});

Deno.test("all pages of a list are read", async () => {
  await using world = await World.begin(named(1), named(2), named(3), named(4));
  world.cluster.pageLimit = 2;
  world.cluster.holdBack();
  world.cluster.put(A);
  equal(await world.find(), "a");
  deepEqual(world.lists, ["500", "500", "500", "one"]);
});

Deno.test("a list whose version is forgotten between two pages begins again, once", async () => {
  await using world = await World.begin(named(1), named(2));
  world.cluster.pageLimit = 2;
  world.cluster.holdBack();
  world.afterNext("list nodes", () => {
    world.cluster.compact();
    world.cluster.put(A);
  });
  equal(await world.find(), "", "two Nodes fit into one page");
  world.afterNext("list nodes", () => world.cluster.compact());
  equal(await world.find(), "a");
  deepEqual(world.lists.slice(1), ["500", "500", "500", "500", "one"]);
  world.cluster.hook = (call, when) => {
    if (call === "list nodes" && when === "after") world.cluster.compact();
  };
  await rejects(
    world.find(),
    (error) => error instanceof UnavailableError && /forgets the version/.test(error.message),
  );
});

Deno.test("a version that is forgotten before a Node is read leads to a list of all", async () => {
  await using world = await World.begin(named(1));
  world.cluster.holdBack();
  world.cluster.put(A);
  world.afterNext("list nodes", () => world.cluster.compact());
  equal(await world.find(), "a");
  deepEqual(world.lists, ["500", "one", "50"]);
});

Deno.test("a watch that is lost while Nodes are listed proves nothing", async () => {
  await using world = await World.begin(named(1));
  world.cluster.denied.add("watch nodes");
  // As after a restore from a backup: the same version, but another state.
  const known = world.watch.peek("n1")!;
  ok(known.ids.length === 0);
  const answered = Promise.withResolvers<void>();
  world.cluster.hook = async (call, when) => {
    if (call !== "list nodes" || when !== "after") return;
    world.cluster.hook = () => {};
    world.cluster.breakWatches();
    await answered.promise;
  };
  const finding = world.watch.listById(ALICE);
  await world.clock.until(lost(world));
  answered.resolve();
  deepEqual(await world.clock.until(finding), []);
  deepEqual(world.lists, ["500", "50"]);
});

async function lost({ watch, clock }: World): Promise<void> {
  while (watch.isSynced) await clock.sleep(1);
}

Deno.test("while the watch is lost, all Nodes are read in pages", async () => {
  await using world = await World.begin(...Array.from({ length: 120 }, (_, n) => named(n)));
  world.cluster.denied.add("list nodes");
  world.cluster.breakWatches();
  await world.clock.until(lost(world));
  await rejects(world.find(), ForbiddenError);
  world.cluster.denied.clear();
  world.cluster.denied.add("watch nodes");
  world.cluster.put(A);
  equal(await world.find(), "a");
  deepEqual(world.lists, ["50", "50", "50"]);
});

Deno.test("requests wait for a watch that has just begun, and share one reading, which takes no whole Nodes", async () => {
  const nodes = Array.from({ length: 120 }, (_, n) => named(n));
  await using world = await World.begin(...nodes);
  const gate = Promise.withResolvers<void>();
  world.cluster.hook = (call, when) => call === "watch nodes" && when === "before" ? gate.promise : undefined;
  const watch = new NodeWatch(new NodeCalls(world.cluster.client), {}, { clock: world.clock });
  const stop = new AbortController();
  const running = watch.run(stop.signal);
  const finding = [watch.listById(ALICE), watch.listById(ALICE)];
  await world.clock.pass(5_000);
  deepEqual(world.lists, [], "a list beside the watch that lists all Nodes");
  finding.push(watch.listById(ALICE));
  world.cluster.put(A);
  gate.resolve();
  const found = await world.clock.until(Promise.all(finding));
  deepEqual(found.map((nodes) => nodes.map(({ name }) => name)), [["a"], ["a"], ["a"]]);
  deepEqual(world.lists, ["500"]);
  stop.abort();
  await world.clock.until(running);
});

Deno.test("where a watch that has just begun fails, or is not in step after 30 s, all Nodes are read in pages", async () => {
  for (const fault of ["failure", "silence"]) {
    await using world = await World.begin(A);
    const gate = Promise.withResolvers<void>();
    world.cluster.hook = (call, when) => call === "watch nodes" && when === "before" ? gate.promise : undefined;
    const watch = new NodeWatch(new NodeCalls(world.cluster.client), {}, { clock: world.clock });
    const stop = new AbortController();
    const running = watch.run(stop.signal);
    const finding = watch.listById(ALICE);
    await world.clock.pass(29_000);
    deepEqual(world.lists, []);
    if (fault === "failure") gate.reject(new UnavailableError("broken"));
    else await world.clock.pass(1_000);
    deepEqual((await world.clock.until(finding)).map(({ name }) => name), ["a"]);
    deepEqual(world.lists, ["50"]);
    gate.resolve();
    stop.abort();
    await world.clock.until(running);
  }
});

Deno.test("a list that is denied is an error, not an empty list", async () => {
  await using world = await World.begin(named(1));
  world.cluster.denied.add("list nodes");
  await rejects(world.find(), ForbiddenError);
});

/** A watch of many Nodes, and calls, both scripted. */
class Script implements SeenNodes, FreshNodesCalls {
  readonly clock = new IdleClock();
  readonly fresh: FreshNodes;
  readonly #all = new Map<string, NodeView>(Array.from({ length: 501 }, (_, n) => [`n${n}`, state(`n${n}`, 1)]));
  readonly #waiters = new Set<() => void>();
  readonly made: string[] = [];
  isSynced = true;
  moment = 10n;
  ownChanges = 0;
  /** The version of the cluster. */
  version = 10;
  /** Acts before a call is answered. */
  hook: (call: string) => void | Promise<void> = () => {};

  constructor(options: FreshNodesOptions = {}) {
    this.fresh = new FreshNodes(this, this, this.clock, options);
  }

  get nodes(): Iterable<NodeView> {
    return this.#all.values();
  }

  get count(): number {
    return this.#all.size;
  }

  peek(name: string): NodeView | undefined {
    return this.#all.get(name);
  }

  peekById(id: string): NodeView[] {
    return [...this.nodes].filter(({ ids }) => ids.includes(id));
  }

  started(): Promise<void> {
    return Promise.resolve();
  }

  /** What a watch makes of this is tested with {@link World}. */
  learn(): void {}

  async until(condition: () => boolean, ms: number, signal: AbortSignal): Promise<boolean> {
    const over = new AbortController();
    const look = () => condition() && over.abort();
    this.#waiters.add(look);
    look();
    await this.clock.sleep(ms, AbortSignal.any([signal, over.signal])).catch(() => {});
    this.#waiters.delete(look);
    return condition();
  }

  /** Has the watch show a change. */
  show(node: NodeView): void {
    this.#all.set(node.name, node);
    this.moment = BigInt(node.resourceVersion);
    this.fresh.noteChange();
    for (const look of this.#waiters) look();
  }

  /** Has the cluster change, and the watch show that a millisecond later. */
  change(): void {
    const changed = state("n1", ++this.version);
    this.clock.sleep(1).then(() => this.show(changed));
  }

  /** Has the watch show as many changes as make waiting worthwhile. */
  beat(): void {
    for (let n = 0; n < 10; n++) this.show(state(`n${n}`, ++this.version));
  }

  async currentVersion(): Promise<string> {
    return await this.#call("version", () => `${this.version}`);
  }

  async listVersions() {
    const items: ObjectVersion[] = [...this.nodes];
    return await this.#call("versions", () => ({ items, version: `${this.version}` }));
  }

  async nodeAt(): Promise<undefined> {
    return await this.#call("one", () => undefined);
  }

  async listNodes(keep: (node: NodeView) => boolean): Promise<NodeView[]> {
    return await this.#call("all", () => [...this.nodes, state("listed", this.version, [ALICE])].filter(keep));
  }

  async find(id = ALICE): Promise<string[]> {
    return (await this.clock.until(this.fresh.byId(id))).nodes.map(({ name }) => name);
  }

  async #call<T>(call: string, answer: () => T): Promise<T> {
    this.made.push(call);
    await this.hook(call);
    return answer();
  }
}

function state(name: string, version: number, ids: readonly string[] = []): NodeView {
  return { ...viewNode({ metadata: { name, uid: `uid-${name}`, resourceVersion: `${version}` } }), ids };
}

Deno.test("where Nodes change all the time, one short call and the next change are enough", async () => {
  const script = new Script();
  script.beat();
  script.version = 30;
  script.clock.sleep(60).then(() => script.show(state("joined", 29, [ALICE])));
  script.clock.sleep(90).then(() => script.show(state("n1", 31)));
  deepEqual(await script.find(), ["joined"]);
  equal(script.clock.passed, 90, "the change before did not yet show everything");
  deepEqual(script.made, ["version"]);
});

Deno.test("a version that the watch had reached before the call proves nothing until the next change", async () => {
  const script = new Script();
  script.beat();
  script.version = Number(script.moment);
  script.clock.sleep(60).then(() => script.show(state("joined", script.version + 1, [ALICE])));
  deepEqual(await script.find(), ["joined"]);
  equal(script.clock.passed, 60);
  deepEqual(script.made, ["version"]);
});

Deno.test("only the last ten changes say whether Nodes change all the time: within 3 s, among more than 500 Nodes", async () => {
  for (const [ms, count, call] of [[3_000, 501, "version"], [3_001, 501, "versions"], [0, 500, "versions"]] as const) {
    const script = new Script();
    Object.defineProperty(script, "count", { value: count });
    // These are too long ago to count.
    script.beat();
    await script.clock.pass(60_000);
    script.beat();
    await script.clock.pass(ms);
    script.version = 50;
    script.clock.sleep(60).then(() => script.show(state("n1", 51)));
    deepEqual(await script.find(), []);
    deepEqual(script.made, [call], `${ms} ms, ${count} Nodes`);
  }
});

Deno.test("options say which changes are worth a wait, and are told how each wait ends", async () => {
  const outcomes: string[] = [];
  const frequent = { nodes: 501, changes: 2, withinMs: 60_000 };
  const script = new Script({ frequent, waited: (outcome) => outcomes.push(outcome) });
  const find = async (way: string, outcome?: string) => {
    await script.find();
    equal(script.made.shift(), way);
    script.made.length = 0;
    deepEqual(outcomes.splice(0), outcome === undefined ? [] : [outcome]);
  };
  script.show(state("n1", ++script.version));
  script.show(state("n502", ++script.version));
  script.change();
  await find("version", "proven");
  await script.clock.pass(59_999);
  script.change();
  await find("version", "proven");
  await script.clock.pass(60_001);
  await find("versions");
  script.show(state("n1", ++script.version));
  await find("versions");
  script.show(state("n1", ++script.version));
  await find("version", "late");
  script.show(state("n1", ++script.version));
  script.show(state("n1", ++script.version));
  script.version -= 5;
  await find("version", "went_back");
  script.version += 6;
  await find("version", "late");
  script.clock.sleep(1).then(() => script.show(state("n1", script.version + 1, [])));
  script.hook = () => void script.ownChanges++;
  await find("version", "changed");
});

Deno.test("nine changes are not enough to wait for the next one", async () => {
  const script = new Script();
  for (let n = 0; n < 9; n++) script.show(state(`n${n}`, ++script.version));
  deepEqual(await script.find(), []);
  deepEqual(script.made, ["versions"]);
});

Deno.test("a Node with the ids of two requests that share a reading is one Node for each", async () => {
  const script = new Script();
  const other = parseClientId("other")!;
  script.beat();
  script.version = 30;
  script.clock.sleep(60).then(() => script.show(state("joined", 31, [ALICE, other])));
  const found = await script.clock.until(Promise.all([script.fresh.byId(ALICE), script.fresh.byId(other)]));
  deepEqual(found.map(({ nodes }) => nodes.map(({ name }) => name)), [["joined"], ["joined"]]);
  deepEqual(script.made, ["version"]);
});

Deno.test("where the next change does not come, the versions are compared", async () => {
  const script = new Script();
  script.beat();
  script.version = 30;
  deepEqual(await script.find(), []);
  equal(script.clock.passed, 2_000);
  deepEqual(script.made, ["version", "versions"]);
});

Deno.test("where Nodes change seldom, or are few, nobody waits for a change", async () => {
  const seldom = new Script();
  for (let n = 0; n < 20; n++) {
    seldom.show(state(`n${n}`, ++seldom.version));
    await seldom.clock.pass(400);
  }
  await seldom.find();
  deepEqual(seldom.made, ["versions"]);
  const world = await World.begin(named(1));
  for (let n = 0; n < 20; n++) world.cluster.change("n1", { bootID: `boot-${n}` });
  await world.clock.pass(1);
  await world.find();
  deepEqual(world.lists, ["500"]);
  await world[Symbol.asyncDispose]();
});

Deno.test("what our own calls show during the wait is not mixed with what the watch has shown before", async () => {
  const script = new Script();
  script.beat();
  script.version = 30;
  script.clock.sleep(60).then(() => {
    script.ownChanges++;
    script.show(state("n1", ++script.version));
  });
  await script.find();
  deepEqual(script.made, ["version", "versions"]);
});

Deno.test("our own calls that change what is seen are counted, and others are not", async () => {
  await using world = await World.begin(A, named(1));
  const { watch } = world;
  const known = watch.peek("a")!;
  watch.learn(known);
  equal(watch.ownChanges, 0);
  watch.learn({ ...known, resourceVersion: "1000" });
  equal(watch.ownChanges, 1);
  world.cluster.remove("n1");
  await world.clock.pass(1);
  equal(watch.peek("n1"), undefined);
  equal(watch.ownChanges, 1);
  watch.forget({ ...known, uid: "earlier" });
  equal(watch.ownChanges, 1);
  watch.forget(known);
  equal(watch.ownChanges, 2);
});

Deno.test("a watch that is lost during the wait, or whose cluster was restored, proves nothing", async () => {
  const lost = new Script();
  lost.beat();
  lost.version = 30;
  lost.clock.sleep(60).then(() => {
    lost.isSynced = false;
    lost.show(state("n1", 31));
  });
  deepEqual(await lost.find(), ["listed"]);
  deepEqual(lost.made, ["version", "all"]);
  for (const change of ["often", "seldom"]) {
    const restored = new Script();
    if (change === "often") restored.beat();
    restored.version = 5;
    deepEqual(await restored.find(), ["listed"]);
    equal(restored.made.at(-1), "all");
  }
});

Deno.test("a Node of the same name and version, but with another UID, is another Node", async () => {
  const script = new Script();
  const listed = [...script.nodes].map((node) => node.name === "n7" ? { ...node, uid: "restored" } : node);
  script.listVersions = () => Promise.resolve({ items: listed, version: "10" });
  deepEqual(await script.find(), ["listed"]);
  deepEqual(script.made, ["one", "all"]);
});

Deno.test("requests share a reading that has not begun, and cheap readings run side by side, four at most", async () => {
  const script = new Script();
  script.beat();
  script.version++;
  const gate = Promise.withResolvers<void>();
  script.hook = () => gate.promise;
  const asked: Promise<unknown>[] = [];
  const ask = () => asked.push(script.fresh.byId(ALICE), script.fresh.byId(ALICE));
  ask();
  await script.clock.pass(0);
  deepEqual(script.made, ["version"]);
  ask();
  await script.clock.pass(19);
  equal(script.made.length, 1, "the second reading waits for more requests");
  ask();
  await script.clock.pass(2);
  equal(script.made.length, 2, "and begins although the first one runs");
  for (let n = 0; n < 5; n++) {
    ask();
    await script.clock.pass(100);
  }
  equal(script.made.length, 4);
  gate.resolve();
  script.clock.sleep(1).then(() => {
    script.show(state("n1", script.version));
    script.change();
  });
  await script.clock.until(Promise.all(asked));
  equal(script.made.length, 5);
});

Deno.test("readings of the versions of many Nodes run one after another", async () => {
  const script = new Script();
  const gate = Promise.withResolvers<void>();
  script.hook = () => gate.promise;
  const first = script.fresh.byId(ALICE);
  await script.clock.pass(0);
  const second = script.fresh.byId(ALICE);
  await script.clock.pass(1_000);
  deepEqual(script.made, ["versions"]);
  gate.resolve();
  await script.clock.until(Promise.all([first, second]));
  deepEqual(script.made, ["versions", "versions"]);
});

Deno.test("a search is as old as the reading that shows its Nodes, whatever was tried before it", async () => {
  const script = new Script();
  script.beat();
  const began = script.clock.monotonic();
  const { readAt } = await script.clock.until(script.fresh.byId(ALICE));
  deepEqual(script.made, ["version", "versions"]);
  equal(readAt - began, 2_000);
});
