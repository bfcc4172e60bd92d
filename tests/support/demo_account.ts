/**
 * An account of a lively fleet, for the pictures of the status page and its tests.
 *
 * @module
 */

import type {
  Account,
  ClientAccount,
  GroupAccount,
  HolderAccount,
  RefusedAccount,
  TurnAccount,
} from "../../src/status/account.ts";
import { clientAccount } from "../../src/status/account_text.ts";

const MINUTE = 60_000;

/** A client whose id begins with eight digits. */
function client(start: string): ClientAccount {
  return clientAccount("demo", start.repeat(4));
}

/** An empty group. */
export function demoGroup(name: string, more: Partial<GroupAccount> = {}): GroupAccount {
  return {
    name,
    slots: 1,
    transitions: 0,
    holders: [],
    blocks: [],
    unasked: [],
    deferred: [],
    waiting: [],
    waitingMore: 0,
    turns: [],
    ...more,
  };
}

/** An account with some groups. */
export function demoAccount(now: number, groups: readonly GroupAccount[], more: Partial<Account> = {}): Account {
  return {
    version: 1,
    replica: "fleetlock-7c9f4d8b5d-x2kqv",
    program: "0.2.0",
    store: "kubernetes",
    at: new Date(now).toISOString(),
    started: new Date(now - 5 * 24 * 60 * MINUTE).toISOString(),
    isInStep: true,
    areNodesInStep: true,
    groups,
    ...more,
  };
}

/** A fleet of four groups in which one drain is stuck. */
export function demoFleet(now: number): Account {
  const ago = (minutes: number) => new Date(now - minutes * MINUTE).toISOString();
  const ahead = (minutes: number) => new Date(now + minutes * MINUTE).toISOString();
  const opening = now - 1;
  const turn = (id: string, node: string, begin: number, minutes: number): TurnAccount => {
    return { ...client(id), node, granted: ago(begin), released: ago(begin - minutes) };
  };
  const held: HolderAccount = {
    ...client("a41c07d2"),
    node: "worker-14",
    since: ago(4.2),
    stage: "rebooting",
    stageSince: ago(1.3),
    isStuck: false,
    lastPoll: ago(1.6),
  };
  const refused = (
    id: string,
    node: string,
    since: number,
    at: number,
    kind: string,
    sentence: string,
  ): RefusedAccount => {
    return { ...client(id), node, since: ago(since), at: ago(at), kind, sentence };
  };
  const full = 'all 3 reboot slots of group "workers" are held by node "worker-07", node "worker-14", node "worker-03"';
  return demoAccount(now, [
    demoGroup("control-plane", {
      transitions: 118,
      nextOpening: ahead(163),
      blocks: [{
        kind: "outside_window",
        rule: "allow",
        sentence: "grants are allowed from 22:00 to 04:00",
        until: ahead(163),
      }],
      waiting: [refused("e90b5a12", "control-2", 41, 1.1, "outside_window", "grants are allowed from 22:00 to 04:00")],
      turns: [turn("7be21f0c", "control-1", 1_205, 9), turn("03d8a6e4", "control-3", 1_231, 11)],
    }),
    demoGroup("edge", {
      transitions: 64,
      nextOpening: new Date(opening).toISOString(),
      pause: { reason: "firmware of the switches is being replaced", by: "ann", until: ahead(95) },
      blocks: [{ kind: "paused", rule: "pause", sentence: "ann has paused the group", until: ahead(95) }],
    }),
    demoGroup("storage", {
      slots: 1,
      transitions: 207,
      nextOpening: new Date(opening).toISOString(),
      deferred: [{
        ...client("5cd1e0b7"),
        node: "storage-2",
        until: ahead(38),
        pods: ["ceph/osd-11: its budget allows none"],
      }],
      turns: [
        turn("19aa04e2", "storage-4", 22, 8),
        turn("f0c2b1d9", "storage-1", 41, 12),
        turn("d77e9a30", "storage-3", 63, 16),
      ],
    }),
    demoGroup("workers", {
      slots: 3,
      transitions: 1_342,
      nextOpening: new Date(opening).toISOString(),
      holders: [
        {
          ...client("978a225b"),
          node: "worker-07",
          since: ago(47),
          stage: "blocked",
          stageSince: ago(42),
          isStuck: true,
          lastPoll: ago(2.1),
          pods: [
            { pod: "shop/checkout-6d5f9", reason: 'its PodDisruptionBudget "checkout" allows no disruption now' },
            { pod: "shop/cart-0", reason: 'its PodDisruptionBudget "cart" allows no disruption now' },
          ],
        },
        held,
        {
          ...client("c2f67b18"),
          node: "worker-03",
          since: ago(0.6),
          stage: "draining",
          stageSince: ago(0.6),
          isStuck: false,
          lastPoll: ago(0.6),
          pods: [{ pod: "web/front-7f6c4", reason: "evicted, ends in its grace period" }],
        },
      ],
      blocks: [{ kind: "lock_held", sentence: full }],
      waiting: [
        refused("8121764b", "worker-21", 36, 0.7, "lock_held", full),
        refused("4e0f93ac", "worker-02", 28, 3.4, "lock_held", full),
        refused("bb71d25f", "worker-11", 9, 4.2, "lock_held", full),
      ],
      turns: [
        turn("64f1c3a9", "worker-18", 11, 7),
        turn("0a9d7e55", "worker-05", 19, 8),
        turn("f3b8216d", "worker-12", 28, 9),
        turn("2d6c90e1", "worker-09", 33, 14),
        turn("91e7f4b0", "worker-20", 44, 12),
        turn("5a03bd8e", "worker-16", 52, 8),
        turn("c7e5109b", "worker-01", 66, 13),
      ],
    }),
  ]);
}
