/**
 * Every step of a drain, and what others do at that step: they uncordon the node, delete or replace it, end the hold,
 * or take rights away. On a cluster in memory in which a test acts between the calls. What a yes, an eviction and a
 * cordon may be then is checked on the cluster itself, not by the program's own judgement.
 *
 * @module
 */

import { deepEqual, equal, ok } from "node:assert/strict";
import { KubernetesNodeKeeper } from "../../src/keeper/node_keeper.ts";
import { CORDON_ANNOTATION } from "../../src/keeper/nodes/cordon.ts";
import { UnavailableError } from "../../src/lock/errors.ts";
import { type ClientId, type Group, parseClientId, parseGroup } from "../../src/lock/identity.ts";
import type { DrainOutcome, Hold } from "../../src/lock/node_keeper.ts";
import type { HeldNode } from "../../src/lock/semaphore.ts";
import { IdleClock } from "../support/fake_clock.ts";
import { FakeCluster, type FakeNode, type FakePod } from "./fake_cluster.ts";

const ID = parseClientId("978a225b3d7b40e9acd7ce9b62f68444")!;
const GROUP = parseGroup("default")!;
const A: FakeNode = { name: "a", uid: "uid-a", machineID: "1c09ca98649c4c7abc779cd04c96812e" };
const OTHER_MACHINE = "ad432f2cb0c28bbcd1f87a20199237f9";
const never = new AbortController().signal;

/** How long a request waits, and how long a client waits between two requests, in milliseconds. */
const WAIT_MS = 30_000;
const POLL_MS = 30_000;
/** How long a disturbance lasts. */
const DISTURBED_MS = 60_000;
/** How often a client asks before the test gives up. */
const MAX_POLLS = 20;

/** The steps of a drain, each as the call around which others act. An undisturbed drain makes each call once. */
const STEPS: [step: string, call: string, when: "before" | "after", delayMs?: number][] = [
  ["before the cordon's patch", "patch nodes", "before"],
  ["after the cordon's patch", "patch nodes", "after"],
  ["before the pods are listed", "watch pods", "before"],
  ["after the pods are listed", "watch pods", "after"],
  ["while an eviction is sent", "evict web", "before"],
  ["while an eviction is answered", "evict web", "after"],
  ["while a pod terminates", "evict web", "after", 1_000],
  ["before the volumes are listed", "list attachments", "before"],
  ["while the volumes are awaited", "list attachments", "after", 1_000],
  ["between the end of the drain and the proof's read of the node", "get nodes", "before"],
  ["between the proof's read of the node and its list of the pods", "get nodes", "after"],
];

/** A cluster, its keepers, the hold and the client that asks. */
class World {
  readonly clock = new IdleClock();
  readonly cluster = new FakeCluster(this.clock);
  /** The names of the pods that another machine runs under the node's name. */
  readonly theirs = new Set<string>();
  readonly log: string[] = [];
  readonly keepers: KubernetesNodeKeeper[] = [];
  /** The hold; undefined where it is gone. */
  hold: Hold | undefined;

  /** An administrator whose cordon must stay; undefined where there is none. */
  cordonedBy: "kubectl" | undefined;

  /** The Node as a keeper read it last. What happens after that read and leaves no pod, nobody can see. */
  read: FakeNode | undefined;

  /** Cordons the node as an administrator does. The cordon is theirs, unless the node was cordoned before. */
  kubectlCordon(): void {
    const node = this.cluster.nodes.get("a");
    if (node === undefined) return;
    if (!node.unschedulable) this.cordonedBy = "kubectl";
    this.cluster.kubectl("cordon", "a");
  }

  /**
   * Begins with a granted slot, two pods and a volume on the node.
   *
   * @param replicas How many keepers there are. What one alone must do, another one could do for it.
   */
  async begin(replicas = 2): Promise<void> {
    const { cluster, clock } = this;
    cluster.put(A);
    const createdAt = new Date(clock.now() - 60_000);
    cluster.pods = ["web", "db"].map((name) => ({ name, node: "a", createdAt, stopsInMs: 5_000 }));
    cluster.attachments = [{ name: "volume", node: "a" }];
    clock.sleep(15_000).then(() => cluster.attachments = []);
    this.grant();
    const write = (message: string, { error }: Record<string, unknown>) => this.log.push(`${message} ${error ?? ""}`);
    for (let replica = 0; replica < replicas; replica++) {
      const keeper = new KubernetesNodeKeeper(cluster.client, {
        readHolder: (id: ClientId, group: Group) => {
          equal(id, ID);
          equal(group, GROUP);
          return Promise.resolve(this.hold && { since: this.hold.since });
        },
        random: () => 0.5,
        log: { info: write, warning: write, error: write },
      });
      keeper.run();
      this.keepers.push(keeper);
    }
    await clock.pass(1);
    ok(this.keepers.every((keeper) => keeper.isSynced), this.log.join());
    cluster.calls.length = 0;
  }

  /** Gives the client a slot that notes the Node which has its id, as the look before a grant does. */
  grant(): void {
    const found = [...this.cluster.nodes.values()].find(({ machineID }) => machineID === A.machineID);
    const node: HeldNode | undefined = found &&
      { name: found.name, uid: found.uid, machineId: A.machineID, bootId: "boot-1", phase: "draining" };
    this.hold = { group: GROUP, id: ID, since: this.clock.now(), node };
  }

  /** Ends the hold, as the watch of the locks shows it to every keeper. */
  endHold(): void {
    this.hold = undefined;
    for (const keeper of this.keepers) keeper.holdEnded(GROUP, ID);
  }

  /** Starts a pod on the node, as the scheduler does while the node is not cordoned. */
  start(name: string): FakePod {
    const pod = { name, node: "a", createdAt: new Date(this.clock.now() + 1_000), stopsInMs: 5_000 };
    this.cluster.start(pod);
    return pod;
  }

  /** Removes the pods of a machine whose Node is gone some time later, as the garbage collector does. */
  collect(): void {
    const pods = this.cluster.pods.filter(({ name }) => !this.theirs.has(name));
    this.clock.sleep(DISTURBED_MS).then(() => pods.forEach((pod) => this.cluster.end(pod)));
  }

  /** Asks the replicas in turn about the hold, as a client does until its yes. Returns the kinds of the answers. */
  async ask(): Promise<string[]> {
    const answers: string[] = [];
    while (answers.at(-1) !== "drained" && answers.length < MAX_POLLS) {
      // Where the hold is gone, the client's next request gets another one.
      if (this.hold === undefined) this.grant();
      const { hold } = this;
      const outcome = await this.clock.until(this.#drain(this.keepers[answers.length % this.keepers.length]!, hold!));
      answers.push(outcome.kind);
      if (outcome.kind === "moved" && this.hold === hold) {
        this.hold = { ...hold!, node: { ...outcome.node, phase: "draining" } };
      }
      if (outcome.kind === "drained") {
        if (this.hold === hold) return answers;
        // The write that would note it fails, since the hold is gone.
        answers.push("contended");
      }
      await this.clock.pass(POLL_MS);
    }
    return answers;
  }

  async #drain(keeper: KubernetesNodeKeeper, hold: Hold): Promise<DrainOutcome | { kind: "unavailable" }> {
    try {
      const outcome = await keeper.drain(hold, WAIT_MS, never);
      if (outcome.kind === "drained" && this.hold === hold) this.#checkYes();
      return outcome;
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      return { kind: "unavailable" };
    }
  }

  /** That nothing of the host's work runs on a cordoned node where the host is told to reboot. */
  #checkYes(): void {
    const { pods } = this.cluster;
    deepEqual(pods.filter(({ name }) => !this.theirs.has(name)).map(({ name }) => name), [], "pods are left at a yes");
    ok(this.read?.uid !== A.uid || this.read.unschedulable, "the node is not cordoned at a yes");
    equal(this.read?.deletedAt, undefined, "the Node is being deleted at a yes");
  }

  /**
   * That a node carries our annotation exactly while the cordon is ours, and that a cordon stays where it should.
   *
   * @param isHeld Whether the client holds a slot, so that its node must be cordoned.
   */
  checkRest(isHeld: boolean): void {
    const { faults, nodes } = this.cluster;
    deepEqual(faults, []);
    const node = nodes.get("a");
    if (node === undefined) return;
    const isMarked = node.annotations?.[CORDON_ANNOTATION] !== undefined;
    const cordonedBy = node.unschedulable ? node.cordonedBy : undefined;
    const ours = isHeld && node.uid === A.uid ? "fleetlock" : undefined;
    deepEqual([cordonedBy, isMarked], [this.cordonedBy ?? ours, this.cordonedBy === undefined && ours !== undefined]);
  }

  async end(): Promise<void> {
    await this.clock.until(Promise.all(this.keepers.map((keeper) => keeper[Symbol.asyncDispose]())));
  }
}

/** What others do. */
interface Disturbance {
  readonly what: string;
  /** Does it. */
  begin(world: World): unknown;
  /** Ends it, a minute later. */
  end?(world: World): unknown;
  /** Whether it can be noticed only by who sees it happen. */
  readonly onlySeen?: boolean;
}

function replace(world: World): void {
  world.cluster.remove("a");
  world.collect();
  const createdAt = new Date(world.clock.now() + 500);
  world.cluster.put({ name: "a", uid: "uid-c", machineID: OTHER_MACHINE, createdAt });
  world.theirs.add("theirs");
  const pod = { name: "theirs", node: "a", createdAt: new Date(createdAt.getTime() + 2_000), stopsInMs: 1_000 };
  world.cluster.start(pod);
}

const DISTURBANCES: Disturbance[] = [
  {
    what: "nobody does anything",
    begin() {},
  },
  {
    what: "others uncordon the node and a pod starts",
    begin(world) {
      world.cluster.kubectl("uncordon", "a");
      world.start("newcomer");
    },
  },
  {
    what: "others uncordon the node, a pod starts, and they cordon it",
    begin(world) {
      world.cluster.kubectl("uncordon", "a");
      world.start("newcomer");
      world.kubectlCordon();
    },
  },
  {
    what: "others uncordon the node and cordon it two seconds later, and the Node does not show who did",
    begin(world) {
      world.cluster.namesManagers = false;
      world.cluster.kubectl("uncordon", "a");
      world.clock.sleep(2_000).then(() => world.kubectlCordon());
    },
    onlySeen: true,
  },
  {
    what: "the Node is deleted",
    begin(world) {
      world.cluster.remove("a");
      world.collect();
    },
  },
  {
    what: "the Node is replaced by another machine's",
    begin: replace,
  },
  {
    what: "the hold goes",
    begin: (world) => world.endHold(),
  },
  {
    what: "the hold is replaced by the client's next one",
    begin(world) {
      world.endHold();
      world.hold = undefined;
      // Two holds of a client are further apart than the precision of a grant's time.
      world.grant();
      world.hold = { ...world.hold!, since: world.hold!.since + 2_000 };
    },
  },
  {
    what: "the Node is being deleted, and is gone after a minute",
    begin: (world) =>
      world.cluster.nodes.has("a") && world.cluster.change("a", { deletedAt: new Date(world.clock.now()) }),
    end(world) {
      world.cluster.remove("a");
      world.collect();
    },
  },
  {
    what: "the pods' namespace is being deleted, and they are gone after a minute",
    begin: (world) => world.cluster.isNamespaceEnding = true,
    end: (world) => world.cluster.pods.forEach((pod) => world.cluster.end(pod)),
  },
  {
    what: "the pods are deleted, and finalizers keep them for a minute",
    begin: (world) => world.cluster.pods.forEach((pod) => pod.deletedAt ??= new Date(world.clock.now())),
    end: (world) => world.cluster.pods.forEach((pod) => world.cluster.end(pod)),
  },
  ...["patch nodes", "list pods", "create evictions", "get nodes", "list attachments"].map((right): Disturbance => ({
    what: `the right to ${right} goes`,
    begin: (world) => world.cluster.denied.add(right),
    end: (world) => world.cluster.denied.delete(right),
  })),
];

for (const { what, begin, end, onlySeen } of DISTURBANCES) {
  for (const [step, call, when, delayMs = 0] of STEPS) {
    for (const watch of onlySeen ? ["shows it"] : ["shows it", "is behind"]) {
      Deno.test(`${what} ${step}, and the watch of the nodes ${watch}: no yes with a pod left, and one in the end`, async () => {
        const world = new World();
        await world.begin(onlySeen ? 1 : 2);
        const { cluster, clock } = world;
        let isDone = false;
        const act = () => {
          if (watch === "is behind") cluster.holdBack();
          begin(world);
          clock.sleep(DISTURBED_MS).then(() => {
            end?.(world);
            cluster.catchUp();
          });
        };
        cluster.hook = (made, at) => {
          if (made === "get nodes" && at === "after") world.read = cluster.nodes.get("a");
          if (isDone || made !== call || at !== when) return;
          isDone = true;
          if (delayMs === 0) act();
          else clock.sleep(delayMs).then(act);
        };
        const answers = await world.ask();
        ok(isDone, "the step was not reached");
        equal(answers.at(-1), "drained", `${answers}\n${world.log.join("\n")}`);
        await clock.pass(DISTURBED_MS * 3);
        world.checkRest(true);
        // The host has rebooted: its slot is freed.
        const { since } = world.hold!;
        world.hold = undefined;
        await clock.until(Promise.all(world.keepers.map((keeper) => keeper.uncordon(GROUP, ID, since))));
        await clock.pass(DISTURBED_MS * 3);
        world.checkRest(false);
        await world.end();
      });
    }
  }
}

for (const [step, call, when, delayMs = 0] of STEPS.slice(0, 7)) {
  Deno.test(`the hold goes ${step}, and nobody asks again: nothing more is evicted, and our cordon is lifted`, async () => {
    const world = new World();
    await world.begin(1);
    const { cluster, clock } = world;
    // It keeps the drain at work.
    world.cluster.start({ name: "kept", node: "a", createdAt: new Date(clock.now() - 60_000) });
    let goneAt = Infinity;
    const act = () => {
      goneAt = clock.monotonic();
      world.endHold();
    };
    cluster.hook = (made, at) => {
      if (made.startsWith("evict")) ok(clock.monotonic() <= goneAt, `evicts for nobody: ${made}`);
      if (goneAt !== Infinity || made !== call || at !== when) return;
      if (delayMs === 0) act();
      else clock.sleep(delayMs).then(act);
    };
    const { kind } = await clock.until(world.keepers[0]!.drain(world.hold!, WAIT_MS, never));
    equal(kind, "abandoned");
    await clock.pass(DISTURBED_MS);
    world.checkRest(false);
    ok(cluster.pods.some(({ name }) => name === "kept"));
    await world.end();
  });
}
