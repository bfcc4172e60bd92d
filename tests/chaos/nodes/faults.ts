/**
 * The faults of a run with nodes: of replicas, of their connections and of the
 * API server, and what administrators do. A seed determines their kinds and times.
 *
 * @module
 */

import { systemClock } from "../../../src/lock/clock.ts";
import type { Random } from "../../../src/simulator/random.ts";
import type { Replica } from "../replica.ts";
import { ADMINISTRATOR_ACTS, type Fleet } from "./administrator.ts";

/** What faults act on. */
export interface Victims extends Fleet {
  readonly replicas: readonly Replica[];
}

type Fault = (victims: Victims, random: Random, wait: (ms: number) => Promise<void>) => Promise<void>;

/** A call over a connection that has gone silent ends at its deadline, in milliseconds. */
const CALL_DEADLINE_MS = 12_000;

const REPLICA_FAULTS: Record<string, Fault> = {
  async "replica killed and restarted"({ replicas, observer }, random, wait) {
    const replica = random.pick(replicas);
    observer.note(`${replica.name} is killed`);
    await replica.kill();
    await wait(random.between(0, 2_000));
    await replica.launch();
  },
  async "all replicas killed and restarted"({ replicas, observer }, random, wait) {
    observer.note("all replicas are killed");
    await Promise.all(replicas.map((replica) => replica.kill()));
    await wait(random.between(0, 1_000));
    for (const replica of replicas) await replica.launch();
  },
};

const CONNECTION_FAULTS: Record<string, Fault> = {
  "connections reset"({ replicas, observer }, random) {
    const { name, proxy } = random.pick(replicas);
    observer.note(`connections of ${name} are reset`);
    proxy.reset();
    return Promise.resolve();
  },
  "connections gone silent for good"({ replicas, observer }, random) {
    const { name, proxy } = random.pick(replicas);
    const end = observer.disturb(`connections of ${name} are silent`, name, CALL_DEADLINE_MS);
    proxy.silence();
    end();
    return Promise.resolve();
  },
  async "answers delayed"({ replicas, observer }, random, wait) {
    const { name, proxy } = random.pick(replicas);
    const end = observer.disturb(`answers to ${name} are delayed`, name);
    proxy.delayMs = random.between(20, 150);
    await wait(random.between(2_000, 5_000));
    proxy.delayMs = 0;
    end();
  },
  async "answers dropped after the write"({ replicas, observer }, random, wait) {
    const { name, proxy } = random.pick(replicas);
    const end = observer.disturb(`answers to ${name} are dropped`, name, CALL_DEADLINE_MS);
    const close = proxy.dropAnswers();
    await wait(random.between(200, 3_000));
    close();
    end();
  },
  async "API server paused"({ plane, observer }, random, wait) {
    const end = observer.disturb("the API server is paused", undefined, 1_000);
    plane.pause("kube-apiserver");
    await wait(random.between(200, 2_000));
    plane.resume("kube-apiserver");
    end();
  },
};

const DECKS: readonly Readonly<Record<string, Fault>>[] = [REPLICA_FAULTS, CONNECTION_FAULTS, ADMINISTRATOR_ACTS];

/** Every kind of fault, by name. */
export const NODE_FAULT_KINDS: readonly string[] = DECKS.flatMap(Object.keys);

/**
 * Makes faults until the signal aborts, and leaves nothing behind. Replicas, connections and administrators fail side
 * by side; of each, one after the other, each kind equally often.
 *
 * @param without Kinds that are left out.
 * @param count Receives the kind of each fault that begins.
 */
export async function makeNodeFaults(
  victims: Victims,
  random: Random,
  signal: AbortSignal,
  without: readonly string[],
  count: (kind: string) => void,
): Promise<void> {
  const wait = (ms: number) => systemClock.sleep(ms, signal).catch(() => {});
  await Promise.all(DECKS.map(async (kinds) => {
    const own = random.fork();
    const all = Object.keys(kinds).filter((kind) => !without.includes(kind));
    if (all.length === 0) return;
    let deck: string[] = [];
    while (!signal.aborted) {
      // A replica needs some seconds to start.
      await wait(kinds === ADMINISTRATOR_ACTS ? own.between(300, 2_500) : own.between(4_000, 10_000));
      if (signal.aborted) break;
      if (deck.length === 0) deck = [...all];
      const [kind] = deck.splice(own.below(deck.length), 1);
      count(kind!);
      await kinds[kind!]!(victims, own, wait);
    }
  }));
}
