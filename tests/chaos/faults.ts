/**
 * The kinds of faults of a run, and the times at which they happen, which a seed
 * determines. The promise of a fault settles when the fault is over. After
 * {@link makeFaults}, everything is as before, except connections that stay
 * silent.
 *
 * @module
 */

import { systemClock } from "../../src/lock/clock.ts";
import type { Random } from "../../src/simulator/random.ts";
import type { ControlPlane } from "../support/control_plane.ts";
import type { Replica } from "./replica.ts";

/** The targets of faults. */
export interface Victims {
  readonly plane: ControlPlane;
  readonly replicas: readonly Replica[];
}

/** A kind of fault. It chooses its target and its duration at random. */
type Fault = (victims: Victims, random: Random, wait: (ms: number) => Promise<void>) => Promise<void>;

const HOUR_MS = 3_600_000;

/** A random error of a replica's clock, in milliseconds: up to twelve hours either way. */
export function randomOffset(random: Random): number {
  return Math.round(random.between(-12, 12) * HOUR_MS);
}

const REPLICA_FAULTS: Record<string, Fault> = {
  async "replica killed and restarted"({ replicas }, random, wait) {
    const replica = random.pick(replicas);
    await replica.kill();
    await wait(random.between(0, 3_000));
    await replica.launch(randomOffset(random));
  },
  async "all replicas killed and restarted"({ replicas }, random, wait) {
    await Promise.all(replicas.map((replica) => replica.kill()));
    await wait(random.between(0, 1_000));
    for (const replica of replicas) await replica.launch(randomOffset(random));
  },
  async "replica paused"({ replicas }, random, wait) {
    const replica = random.pick(replicas);
    replica.pause();
    await wait(random.between(100, 4_000));
    replica.resume();
  },
  async "replica paused for longer than a proof holds"({ replicas }, random, wait) {
    const replica = random.pick(replicas);
    replica.pause();
    await wait(random.between(15_500, 18_000));
    replica.resume();
  },
  async "replica paused again and again"({ replicas }, random, wait) {
    const replica = random.pick(replicas);
    for (let times = 0; times < 20; times++) {
      replica.pause();
      await wait(random.between(10, 200));
      replica.resume();
      await wait(random.between(10, 100));
    }
  },
};

const CONTROL_PLANE_FAULTS: Record<string, Fault> = {
  async "API server paused"({ plane }, random, wait) {
    plane.pause("kube-apiserver");
    await wait(random.between(200, 3_000));
    plane.resume("kube-apiserver");
  },
  async "API server paused for longer than a call may take"({ plane }, random, wait) {
    plane.pause("kube-apiserver");
    await wait(random.between(10_500, 12_500));
    plane.resume("kube-apiserver");
  },
  async "etcd paused"({ plane }, random, wait) {
    plane.pause("etcd");
    await wait(random.between(200, 3_000));
    plane.resume("etcd");
  },
  async "API server killed and restarted"({ plane }, random, wait) {
    await plane.stopApiServer();
    await wait(random.between(0, 3_000));
    await plane.startApiServer();
  },
};

const CONNECTION_FAULTS: Record<string, Fault> = {
  "connections reset"({ replicas }, random) {
    random.pick(replicas).proxy.reset();
    return Promise.resolve();
  },
  "connections gone silent for good"({ replicas }, random) {
    random.pick(replicas).proxy.silence();
    return Promise.resolve();
  },
  async "all connections silent, new ones too"({ replicas }, random, wait) {
    const { proxy } = random.pick(replicas);
    proxy.silence();
    proxy.isHole = true;
    await wait(random.between(2_000, 6_000));
    proxy.isHole = false;
  },
  async "answers delayed"({ replicas }, random, wait) {
    const { proxy } = random.pick(replicas);
    proxy.delayMs = random.between(20, 200);
    await wait(random.between(2_000, 6_000));
    proxy.delayMs = 0;
  },
  async "answers dropped after the write"({ replicas }, random, wait) {
    const end = random.pick(replicas).proxy.dropAnswers();
    await wait(random.between(200, 3_000));
    end();
  },
};

/** Every kind of fault, by name. */
export const FAULT_KINDS: readonly string[] = [REPLICA_FAULTS, CONTROL_PLANE_FAULTS, CONNECTION_FAULTS].flatMap(
  Object.keys,
);

/**
 * Makes faults until the signal aborts. Faults of replicas, of the control plane
 * and of connections happen at the same time; faults of one of these groups
 * happen one after the other, each kind equally often.
 *
 * @param count Receives the kind of each fault that begins.
 */
export async function makeFaults(
  victims: Victims,
  random: Random,
  signal: AbortSignal,
  count: (kind: string) => void,
): Promise<void> {
  const wait = (ms: number) => systemClock.sleep(ms, signal).catch(() => {});
  await Promise.all(
    [REPLICA_FAULTS, CONTROL_PLANE_FAULTS, CONNECTION_FAULTS].map(async (kinds) => {
      const own = random.fork();
      let deck: string[] = [];
      while (!signal.aborted) {
        await wait(own.between(2_000, 10_000));
        if (signal.aborted) break;
        if (deck.length === 0) deck = Object.keys(kinds);
        const [kind] = deck.splice(own.below(deck.length), 1);
        count(kind!);
        await kinds[kind!]!(victims, own, wait);
      }
    }),
  );
}
