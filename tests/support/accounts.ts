/** Builders of accounts, as replicas answer them. A test sets only the fields that it is about. @module */

import type { Account, ClientAccount, GroupAccount, HolderAccount } from "../../src/status/account.ts";
import { clientAccount } from "../../src/status/account_text.ts";

/** The time of the accounts, in milliseconds since the epoch. */
export const NOW = Date.UTC(2026, 10, 26, 3, 0);

/** A time some minutes before {@link NOW}, RFC 3339. */
export function before(minutes: number): string {
  return new Date(NOW - minutes * 60_000).toISOString();
}

/** The account of a replica. */
export function account(groups: readonly GroupAccount[], more: Partial<Account> = {}): Account {
  return {
    version: 1,
    replica: "fleetlock-a",
    program: "1.2.3",
    store: "kubernetes",
    at: before(0),
    started: before(600),
    isInStep: true,
    areNodesInStep: true,
    groups,
    ...more,
  };
}

/** A group that nobody holds. */
export function group(more: Partial<GroupAccount> = {}): GroupAccount {
  return {
    name: "workers",
    slots: 1,
    transitions: 3,
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

/** A client of the group `workers`, as accounts show it. */
export function client(id: string): ClientAccount {
  return clientAccount("workers", id);
}

/** A hold that drains. */
export function holder(more: Partial<HolderAccount> = {}): HolderAccount {
  return {
    ...client("978a225b3d7b40e9acd7ce9b62f68444"),
    node: "node-a",
    since: before(34),
    stage: "draining",
    isStuck: false,
    ...more,
  };
}
