import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { UnavailableError } from "../../src/lock/errors.ts";
import { GroupView } from "../../src/lock/group_view.ts";
import { type Decide, GroupWriter, type Proof } from "../../src/lock/group_writer.ts";
import { parseClientId, parseGroup } from "../../src/lock/identity.ts";
import { MemoryBackend, MemoryLockStore } from "../../src/lock/lock_store.ts";
import { FREE, type GroupState, type HeldNode, type Holder } from "../../src/lock/semaphore.ts";
import { HastyClock } from "../support/fake_clock.ts";
import { AlteringStore, ConflictingStore, CountingStore, UnavailableStore } from "../support/faulty_stores.ts";

const GROUP = parseGroup("default")!;
const OTHER = parseGroup("other")!;

/** A clock that notes its sleeps. */
class NotingClock extends HastyClock {
  readonly sleeps: number[] = [];

  override async sleep(ms: number): Promise<void> {
    this.sleeps.push(ms);
    await super.sleep(ms);
  }
}

function setUp<S extends MemoryLockStore>(store: S, random = () => 1) {
  const view = new GroupView();
  const clock = new NotingClock();
  return { store, view, clock, writer: new GroupWriter(store, view, { clock, random }) };
}

/** Puts a group into a backend and returns it, as another process would. */
async function put(backend: MemoryBackend, transitions: number) {
  const store = new MemoryLockStore(backend);
  const written = await store.write(GROUP, await store.read(GROUP), { ...FREE, transitions });
  ok(written !== "conflict");
  return written;
}

/** Answers with how many grants the state has seen. */
const answerWith = (needs: Proof): Decide<number> => ({ state }) => {
  return { kind: "answer", needs, answer: state.transitions };
};

/** Counts one grant more, and answers with their number. */
const countOne: Decide<number> = ({ state }) => {
  return { kind: "write", next: next(state), answer: (written) => written.state.transitions };
};

const next = (state: GroupState): GroupState => ({ ...state, transitions: state.transitions + 1 });

/** How many reads an answer costs, by what it needs and what is known beforehand. */
const READS: [known: "nothing" | "a group" | "all groups", needs: Proof, reads: number][] = [
  ["nothing", "anything", 1],
  ["nothing", "in_step", 1],
  ["nothing", "fresh", 1],
  ["a group", "anything", 0],
  ["a group", "in_step", 1],
  ["a group", "fresh", 1],
  ["all groups", "anything", 0],
  ["all groups", "in_step", 0],
  ["all groups", "fresh", 1],
];

for (const [known, needs, reads] of READS) {
  Deno.test(`when the view knows ${known}, an answer that needs "${needs}" costs ${reads} reads`, async () => {
    const backend = new MemoryBackend();
    const { store, view, writer } = setUp(new CountingStore(backend));
    const written = await put(backend, 3);
    if (known === "a group") view.learn(GROUP, written);
    if (known === "all groups") view.synced({ groups: new Map([[GROUP, written]]), version: written.version });
    equal(await writer.transact(GROUP, writer.arrive(), answerWith(needs)), 3);
    deepEqual(store.calls, { reads, writes: 0, lists: 0 });
    equal(view.get(GROUP)?.version, written.version, "the view learns what was read");
  });
}

Deno.test("a write on a known state costs no read, and the answer is made from what was written", async () => {
  const backend = new MemoryBackend();
  const { store, view, writer } = setUp(new CountingStore(backend));
  view.learn(GROUP, await put(backend, 3));
  equal(await writer.transact(GROUP, writer.arrive(), countOne), 4);
  deepEqual(store.calls, { reads: 0, writes: 1, lists: 0 });
  equal(view.get(GROUP)?.state.transitions, 4);
});

Deno.test("a write on an old state conflicts, and the decision is made again on what is there", async () => {
  const backend = new MemoryBackend();
  const { store, view, writer, clock } = setUp(new CountingStore(backend));
  view.learn(GROUP, await put(backend, 3));
  await put(backend, 7);
  const seen: number[] = [];
  const answer = await writer.transact(GROUP, writer.arrive(), (found) => {
    seen.push(found.state.transitions);
    return countOne(found);
  });
  deepEqual([answer, seen], [8, [3, 7]]);
  deepEqual(store.calls, { reads: 1, writes: 2, lists: 0 });
  deepEqual(clock.sleeps, [10]);
});

Deno.test("the answer after a conflict is fresh, without another read", async () => {
  const backend = new MemoryBackend();
  const { store, view, writer } = setUp(new CountingStore(backend));
  view.learn(GROUP, await put(backend, 3));
  await put(backend, 7);
  const answer = await writer.transact<number>(GROUP, writer.arrive(), (found) => {
    return found.state.transitions === 3 ? countOne(found) : answerWith("fresh")(found);
  });
  equal(answer, 7);
  deepEqual(store.calls, { reads: 1, writes: 1, lists: 0 });
});

Deno.test("a transaction gives up after 11 conflicts, with pauses that double", async () => {
  const { store, clock, writer } = setUp(new ConflictingStore(Infinity));
  deepEqual(await writer.transact(GROUP, writer.arrive(), countOne), {
    kind: "refused",
    refusal: { kind: "contended" },
  });
  deepEqual(clock.sleeps, [10, 20, 40, 80, 160, 320, 640, 1_280, 2_560, 5_120]);
  equal((await store.read(GROUP)).state.transitions, 0);
});

Deno.test("a transaction whose last try succeeds has its answer", async () => {
  const { store, writer } = setUp(new ConflictingStore(10));
  equal(await writer.transact(GROUP, writer.arrive(), countOne), 1);
  equal(store.conflicts, 0);
});

/** A store that notes how many of its operations run at a time. Each takes some turns of the event loop. */
class CrowdedStore extends CountingStore {
  running = 0;
  most = 0;

  override read(...args: Parameters<CountingStore["read"]>) {
    return this.#noting(() => super.read(...args));
  }

  override write(...args: Parameters<CountingStore["write"]>) {
    return this.#noting(() => super.write(...args));
  }

  async #noting<T>(operate: () => Promise<T>): Promise<T> {
    this.most = Math.max(this.most, ++this.running);
    try {
      await turn();
      return await operate();
    } finally {
      this.running--;
    }
  }
}

for (const isKnown of [false, true]) {
  Deno.test(`of a crowd that writes a group that is ${isKnown ? "known" : "not known"}, one operation runs at a time, and none conflicts`, async () => {
    const { store, view, clock, writer } = setUp(new CrowdedStore());
    if (isKnown) view.synced({ groups: new Map(), version: 0 });
    const crowd = Array.from({ length: 20 }, () => writer.transact(GROUP, writer.arrive(), countOne));
    deepEqual(await Promise.all(crowd), crowd.map((_, i) => i + 1));
    equal(store.most, 1);
    deepEqual(store.calls, { reads: isKnown ? 0 : 1, writes: crowd.length, lists: 0 });
    deepEqual(clock.sleeps, []);
  });
}

Deno.test("the pause after a conflict is a random part of its longest", async () => {
  const { clock, writer } = setUp(new ConflictingStore(2), () => 0.25);
  equal(await writer.transact(GROUP, writer.arrive(), countOne), 1);
  deepEqual(clock.sleeps, [2.5, 5]);
});

Deno.test("after a conflict the pause comes before the read, so that a group that changes all the time is written", async () => {
  const backend = new MemoryBackend();
  const { view, clock, writer } = setUp(new MemoryLockStore(backend));
  view.learn(GROUP, await put(backend, 3));
  await put(backend, 7);
  const sleep = clock.sleep.bind(clock);
  clock.sleep = async (ms) => {
    await sleep(ms);
    await put(backend, 11);
  };
  equal(await writer.transact(GROUP, writer.arrive(), countOne), 12);
  deepEqual(clock.sleeps, [10]);
});

Deno.test("those who wait for a write that conflicts share one read", async () => {
  const backend = new MemoryBackend();
  const { store, view, writer } = setUp(new CountingStore(backend));
  view.learn(GROUP, await put(backend, 3));
  await put(backend, 7);
  const first = writer.transact(GROUP, writer.arrive(), countOne);
  const others = [1, 2, 3].map(() => writer.transact(GROUP, writer.arrive(), answerWith("fresh")));
  deepEqual([await Promise.all(others), await first], [[7, 7, 7], 8]);
  deepEqual(store.calls, { reads: 2, writes: 2, lists: 0 });
});

Deno.test("an answer is made from what the store returned, and says when the write began", async () => {
  class Slow extends MemoryLockStore {
    override async write(...args: Parameters<MemoryLockStore["write"]>) {
      await clock.advance(500);
      return await super.write(...args);
    }
  }
  const { clock, writer } = setUp(new Slow());
  await clock.advance(100);
  const began = clock.monotonic();
  const written = await writer.transact(GROUP, writer.arrive(), ({ state }) => {
    return { kind: "write", next: next(state), answer: (written) => written };
  });
  deepEqual(written, { state: { ...FREE, transitions: 1 }, ending: undefined, began });
});

const ID = parseClientId("a")!;
const NODE: HeldNode = { name: "n", uid: "u", bootId: "b", phase: "drained" };
const HOLDER: Holder = { id: ID, since: 5, node: NODE };

Deno.test("a store that forgets that a node cannot be read gives no answer", async () => {
  const { writer } = setUp(new AlteringStore((state) => ({ ...state, holders: [{ id: ID, since: 5 }] })));
  const answer = await writer.transact(GROUP, writer.arrive(), ({ state }) => {
    const holders: Holder[] = [{ id: ID, since: 5, isNodeUnreadable: true }];
    return { kind: "write", next: { ...state, holders }, answer: () => "written" };
  });
  deepEqual(answer, { kind: "refused", refusal: { kind: "write_altered" } });
});

/** What a store may keep instead of {@link HOLDER}, and whether that is noticed. */
const ALTERED: [what: string, kept: readonly Holder[], isNoticed: boolean][] = [
  ["what was sent", [HOLDER], false],
  ["another order of the fields and unknown fields", [{ extra: { x: 1 }, node: NODE, since: 5, id: ID }], false],
  ["no holder", [], true],
  ["another holder", [{ ...HOLDER, id: parseClientId("b")! }], true],
  ["one holder more", [HOLDER, { id: parseClientId("b")!, since: 6 }], true],
  ["another time of the grant", [{ ...HOLDER, since: 6 }], true],
  ["no node", [{ id: ID, since: 5 }], true],
  ["another node", [{ ...HOLDER, node: { ...NODE, name: "m" } }], true],
  ["another UID", [{ ...HOLDER, node: { ...NODE, uid: "v" } }], true],
  ["another machine", [{ ...HOLDER, node: { ...NODE, machineId: "m" } }], true],
  ["another time of the renewal", [{ ...HOLDER, renewed: 6 }], true],
  ["another boot", [{ ...HOLDER, node: { ...NODE, bootId: "c" } }], true],
  ["another phase", [{ ...HOLDER, node: { ...NODE, phase: "draining" } }], true],
  ["a node that cannot be read", [{ id: ID, since: 5, isNodeUnreadable: true }], true],
  ["another number of slots", [{ ...HOLDER, slots: 2 }], true],
  ["a yes", [{ ...HOLDER, hadYes: true }], true],
];

for (const [what, holders, isNoticed] of ALTERED) {
  Deno.test(`a store that keeps ${what} ${isNoticed ? "gives no answer" : "gives an answer"}`, async () => {
    const backend = new MemoryBackend();
    const { view, writer } = setUp(new AlteringStore((state) => ({ ...state, holders }), backend));
    const answer = await writer.transact(GROUP, writer.arrive(), ({ state }) => {
      return { kind: "write", next: { ...state, holders: [HOLDER] }, answer: () => "written" };
    });
    deepEqual(answer, isNoticed ? { kind: "refused", refusal: { kind: "write_altered" } } : "written");
    deepEqual(view.get(GROUP)?.state.holders, holders, "the view learns what is there");
  });
}

/** A store whose reads look at once, and whose results arrive when the test says. */
class GatedStore extends CountingStore {
  readonly gates: PromiseWithResolvers<void>[] = [];

  override async read(...args: Parameters<CountingStore["read"]>) {
    const found = await super.read(...args);
    const gate = Promise.withResolvers<void>();
    this.gates.push(gate);
    await gate.promise;
    return found;
  }
}

/** Lets everything run that can. */
const turn = () => new Promise((resolve) => setTimeout(resolve, 0));

Deno.test("requests share a running operation, but a read that began earlier is not fresh for them", async () => {
  const backend = new MemoryBackend();
  const { store, writer } = setUp(new GatedStore(backend));
  await put(backend, 3);
  const early = writer.transact(GROUP, writer.arrive(), answerWith("fresh"));
  await turn();
  await put(backend, 7);
  const inStep = writer.transact(GROUP, writer.arrive(), answerWith("in_step"));
  const fresh = [1, 2, 3].map(() => writer.transact(GROUP, writer.arrive(), answerWith("fresh")));
  await turn();
  equal(store.calls.reads, 1);
  store.gates[0]!.resolve();
  deepEqual([await early, await inStep], [3, 3]);
  await turn();
  store.gates[1]!.resolve();
  deepEqual(await Promise.all(fresh), [7, 7, 7]);
  equal(store.calls.reads, 2);
});

Deno.test("operations on different groups run side by side", async () => {
  const { store, writer } = setUp(new GatedStore());
  const both = [GROUP, OTHER].map((group) => writer.transact(group, writer.arrive(), answerWith("fresh")));
  await turn();
  equal(store.gates.length, 2);
  for (const gate of store.gates) gate.resolve();
  deepEqual(await Promise.all(both), [0, 0]);
});

Deno.test("a fault of the store reaches everyone who waits for the operation, and the next one runs", async () => {
  const { store, writer } = setUp(new UnavailableStore());
  await store.setUnavailable(true);
  const both = [1, 2].map(() => writer.transact(GROUP, writer.arrive(), countOne));
  for (const each of both) await rejects(each, UnavailableError);
  await store.setUnavailable(false);
  equal(await writer.transact(GROUP, writer.arrive(), countOne), 1);
});

Deno.test("a probe asks the store only while the watch is behind or the last operation failed", async () => {
  const { store, view, writer } = setUp(new CountingStore());
  const reads = async () => {
    store.reset();
    await writer.probe(GROUP);
    return store.calls.reads;
  };
  equal(await reads(), 1, "no watch yet");
  view.synced({ groups: new Map(), version: 0 });
  equal(await reads(), 0, "in step");
  const read = store.read;
  store.read = () => Promise.reject(new UnavailableError("away"));
  await rejects(writer.transact(GROUP, writer.arrive(), answerWith("fresh")), UnavailableError);
  await rejects(writer.probe(GROUP), UnavailableError);
  store.read = read;
  equal(await reads(), 1, "after a failed operation");
  equal(await reads(), 0, "after one that worked");
  view.lost("gone");
  equal(await reads(), 1, "the watch is behind");
});

Deno.test("a probe of a writer that has done nothing yet rests on a watch in step", async () => {
  const { store, view, writer } = setUp(new CountingStore());
  view.synced({ groups: new Map(), version: 0 });
  await writer.probe(GROUP);
  deepEqual(store.calls, { reads: 0, writes: 0, lists: 0 });
});
