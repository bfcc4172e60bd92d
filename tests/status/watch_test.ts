import { deepEqual, equal } from "node:assert/strict";
import { type ClientId, type Group, parseGroup } from "../../src/lock/identity.ts";
import type { Holder } from "../../src/lock/semaphore.ts";
import type { HolderAccount } from "../../src/status/account.ts";
import { StuckWatch } from "../../src/status/stuck_watch.ts";
import { Witness, type WitnessedNode } from "../../src/status/witness.ts";
import { FakeClock } from "../support/fake_clock.ts";

const WORKERS: Group = parseGroup("workers")!;
const ID = "978a225b3d7b40e9acd7ce9b62f68444" as ClientId;

Deno.test("a stuck hold is told once for each stage, and the watch runs only while there are holds", async () => {
  const clock = new FakeClock();
  const told: string[] = [];
  const stopping = new AbortController();
  let holds: { group: Group; since: number; holder: HolderAccount }[] = [];
  const watch = new StuckWatch({
    accountant: { holds: () => holds },
    stuck: (group, { stage }) => told.push(`${group} ${stage}`),
    clock,
    signal: stopping.signal,
  });
  const hold = (stage: HolderAccount["stage"], isStuck: boolean, since = 1) => {
    return { group: WORKERS, since, holder: { id: "978a225b…", hash: "1", since: "", stage, isStuck } };
  };
  equal(clock.sleepers, 0);
  holds = [hold("draining", false)];
  watch.begin();
  watch.begin();
  equal(clock.sleepers, 1);
  await clock.advance(30_000);
  deepEqual(told, []);
  holds = [hold("draining", true)];
  for (let look = 0; look < 3; look++) await clock.advance(30_000);
  deepEqual(told, ["workers draining"]);
  holds = [hold("rebooting", true)];
  await clock.advance(30_000);
  holds = [hold("rebooting", true, 2)];
  await clock.advance(30_000);
  deepEqual(told, ["workers draining", "workers rebooting", "workers rebooting"]);
  holds = [];
  await clock.advance(30_000);
  deepEqual([watch.isRunning, clock.sleepers], [false, 0]);
  watch.begin();
  equal(clock.sleepers, 1);
  stopping.abort();
  await watch.ended();
  deepEqual([watch.isRunning, clock.sleepers], [false, 0]);
  watch.begin();
  equal(clock.sleepers, 0);
});

Deno.test("a reboot is told where its host held no slot, and only there", () => {
  const node = (bootId: string, more: Partial<WitnessedNode> = {}): WitnessedNode => {
    return { name: "node-a", uid: "u", ids: [ID], bootId, ...more };
  };
  const held = (more: Partial<Holder> = {}): Holder => {
    return { id: ID, since: 1, node: { name: "node-a", uid: "u", bootId: "one", phase: "drained" }, ...more };
  };
  const later = 60 * 60_000;
  type Case = { holders?: Holder[]; turns?: { holder: Holder; released: number }[]; now?: number; isInStep?: boolean };
  const rebooted = ({ holders = [], turns = [], now = later, isInStep = true }: Case) => {
    const told: string[] = [];
    const witness = new Witness({
      holders: () => holders,
      turns: () => turns,
      now: () => now,
      isInStep: () => isInStep,
      rebooted: ({ name }) => told.push(name),
    });
    witness.nodeChanged(node("one"));
    witness.nodeChanged(node("one"));
    witness.nodeChanged({ ...node("one"), bootId: undefined });
    witness.nodeChanged(node("two"));
    // A new node is not a reboot of the earlier one.
    witness.nodeChanged(node("three", { uid: "v" }));
    return told.length;
  };
  equal(rebooted({}), 1);
  equal(rebooted({ isInStep: false }), 0);
  equal(rebooted({ holders: [held()] }), 0);
  // A hold without a node is about its client's, whatever the form of its id.
  const dashed = "978A225B-3d7b-40e9-acd7-ce9b62f68444" as ClientId;
  equal(rebooted({ holders: [held({ id: dashed, node: undefined })] }), 0);
  const elsewhere = held({ id: "other" as ClientId, node: { name: "node-b", uid: "w", phase: "drained" } });
  equal(rebooted({ holders: [elsewhere], turns: [{ holder: elsewhere, released: later }] }), 1);
  // A turn that is over explains the end of the boot in which it began, and what shows soon after it.
  equal(rebooted({ turns: [{ holder: held(), released: 0 }] }), 0);
  const earlier = held({ node: { ...held().node!, bootId: "zero" } });
  equal(rebooted({ turns: [{ holder: earlier, released: 0 }] }), 1);
  equal(rebooted({ turns: [{ holder: earlier, released: later - 1_000 }] }), 0);
});
