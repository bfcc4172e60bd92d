import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { UnavailableError } from "../../src/lock/errors.ts";
import { GroupView } from "../../src/lock/group_view.ts";
import { type Decide, GroupWriter, type Proof, PROOF_TTL_MS } from "../../src/lock/group_writer.ts";
import { parseGroup } from "../../src/lock/identity.ts";
import { MemoryBackend, MemoryLockStore } from "../../src/lock/lock_store.ts";
import { FREE, type GroupState } from "../../src/lock/semaphore.ts";
import { HastyClock } from "../support/fake_clock.ts";
import { ConflictingStore, CountingStore, UnavailableStore } from "../support/faulty_stores.ts";

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
const answerWith = (needs: Proof): Decide<number> => (state) => {
  return { kind: "answer", needs, answer: state.transitions };
};

/** Counts one grant more, and answers with their number. */
const countOne: Decide<number> = (state) => {
  return { kind: "write", next: next(state), answer: (written) => written.transitions };
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
  const answer = await writer.transact(GROUP, writer.arrive(), (state, late: number | undefined) => {
    seen.push(state.transitions);
    return countOne(state, late);
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
  const answer = await writer.transact<number>(GROUP, writer.arrive(), (state, late) => {
    return state.transitions === 3 ? countOne(state, late) : answerWith("fresh")(state, late);
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
  deepEqual(clock.sleeps, [10, 20, 40, 80, 160, 320, 640, 1_280, 2_560, 5_120, 10_240]);
  equal((await store.read(GROUP)).state.transitions, 0);
});

Deno.test("the pause after a conflict is a random part of its longest", async () => {
  const { clock, writer } = setUp(new ConflictingStore(2), () => 0.25);
  equal(await writer.transact(GROUP, writer.arrive(), countOne), 1);
  deepEqual(clock.sleeps, [2.5, 5]);
});

for (const lateMs of [PROOF_TTL_MS, PROOF_TTL_MS + 1]) {
  const isLate = lateMs > PROOF_TTL_MS;
  Deno.test(`a write that comes back after ${lateMs} ms ${isLate ? "is proven again" : "is proof enough"}`, async () => {
    let delayMs = lateMs;
    class Slow extends CountingStore {
      override async write(...args: Parameters<CountingStore["write"]>) {
        const written = await super.write(...args);
        await clock.advance(delayMs);
        delayMs = 0;
        return written;
      }
    }
    const { store, clock, writer } = setUp(new Slow());
    const lates: (number | undefined)[] = [];
    const answer = await writer.transact<number>(GROUP, writer.arrive(), (state, late) => {
      lates.push(late);
      return countOne(state, late);
    });
    equal(answer, isLate ? 2 : 1);
    equal(store.calls.writes, isLate ? 2 : 1);
    deepEqual(lates, isLate ? [undefined, 1] : [undefined], "the decision knows the answer that came late");
  });
}

Deno.test("a transaction whose every proof comes late gives up", async () => {
  class Slow extends CountingStore {
    override async write(...args: Parameters<CountingStore["write"]>) {
      const written = await super.write(...args);
      await clock.advance(PROOF_TTL_MS + 1);
      return written;
    }
  }
  const { store, clock, writer } = setUp(new Slow());
  deepEqual(await writer.transact(GROUP, writer.arrive(), countOne), {
    kind: "refused",
    refusal: { kind: "contended" },
  });
  equal(store.calls.writes, 11);
});

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
