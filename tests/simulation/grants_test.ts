/** When holds began, as the Leases show it. @module */

import { deepEqual, equal } from "node:assert/strict";
import { History, leaseFact } from "../chaos/nodes/history.ts";
import { Grants } from "./grants.ts";
import type { Stored } from "./world/objects.ts";

const T = Date.UTC(2030, 0, 1);
const at = (second: number) => new Date(T + second * 1_000).toISOString();

/** A Lease that was acquired at second 1, whose holders were granted their slots at these seconds. */
function lease(holders: Readonly<Record<string, number | undefined>>): Stored {
  const records = Object.entries(holders).filter(([, since]) => since !== undefined);
  const text = JSON.stringify(records.map(([id, since]) => ({ id, since: at(since!) })));
  return {
    metadata: { name: "fleetlock-g", annotations: { "fleetlock.internal/holders": text } },
    spec: { holderIdentity: Object.keys(holders).join(","), acquireTime: at(1) },
  } as Stored;
}

/** The seconds at which a hold of `a` began that was granted at second 3, after an edit by hand. */
function afterEdit(...holders: Parameters<typeof lease>): number {
  const grants = new Grants(new History());
  grants.began(lease({ a: 3 }), "g", "a", { revision: 1, at: T + 3_000 }, false);
  grants.edited(lease(...holders), "g", "a");
  return (grants.of("g", "a")!.at - T) / 1_000;
}

Deno.test("an edit by hand makes a hold as old as its record says, or the only one as its Lease says", () => {
  equal(afterEdit({ a: 2 }), 2);
  equal(afterEdit({ a: 4 }), 3);
  equal(afterEdit({ a: undefined }), 1);
  equal(afterEdit({ a: undefined, b: 5 }), 3);
});

Deno.test("a backup brings back a hold as of the moment at which its record appeared first", () => {
  const history = new History();
  const grants = new Grants(history);
  const write = (revision: number, second: number, holders: Parameters<typeof lease>[0], isRestored = false) => {
    const version = { revision, at: T + second * 1_000 };
    history.leases.add("g", { ...version, fact: leaseFact(lease(holders)) });
    if ("a" in holders) grants.began(lease(holders), "g", "a", version, isRestored);
    else grants.ended("g", "a");
  };
  // The clock of who granted it is a second ahead.
  write(10, 5, { a: 6 });
  write(11, 20, {});
  deepEqual(grants.of("g", "a"), undefined);
  write(12, 30, { a: 6 }, true);
  deepEqual(grants.of("g", "a"), { moment: 12, at: T + 5_000, edits: 0, since: T + 6_000 });
  equal(grants.firstMomentOf("g", "a"), 10);
  // The record was broken by hand before the backup.
  write(13, 40, { a: undefined }, true);
  equal(grants.firstMomentOf("g", "a"), 10);
});
