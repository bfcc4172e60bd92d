import { deepEqual, match } from "node:assert/strict";
import { parseClientId, parseGroup } from "../../src/lock/identity.ts";
import { LockService } from "../../src/lock/lock_service.ts";
import { MemoryBackend, MemoryLockStore } from "../../src/lock/lock_store.ts";
import type { NodeIdentity } from "../../src/lock/node_keeper.ts";
import { skipObserver, skipWarner } from "../../src/service/policies.ts";
import { HastyClock } from "../support/fake_clock.ts";
import { ScriptedKeeper } from "../support/scripted_keeper.ts";
import { reason, ScriptedPolicy } from "../support/scripted_policy.ts";

for (const [writeMs, dropped] of [[0, ["worker-1"]], [1_001, []]] as const) {
  Deno.test(`a skip that no rule needed is ${writeMs > 0 ? "left where the slot is given back" : "removed where the slot stays"}`, async () => {
    const [group, alice] = [parseGroup("default")!, parseClientId("alice")!];
    const backend = new MemoryBackend();
    const [policy, clock, store] = [new ScriptedPolicy(), new HastyClock(), new MemoryLockStore(backend)];
    const write = store.write.bind(store);
    store.write = async (...args) => {
      store.write = write;
      await clock.advance(writeMs);
      policy.peeks = { reasons: [reason("frozen")] };
      return await write(...args);
    };
    const drops: string[] = [];
    const dropSkip = ({ name }: NodeIdentity) => {
      drops.push(name);
      return Promise.resolve();
    };
    const keeper = new ScriptedKeeper(() => backend.groups.get(group)?.state.holders[0]);
    const locks = new LockService(store, { policy, keeper, clock, observer: skipObserver({ dropSkip }) });
    await locks.preReboot(alice, group);
    deepEqual(drops, dropped);
  });
}

Deno.test("a skip that names what is not a rule is warned of once for each Node and value", () => {
  const told: unknown[] = [];
  const look = skipWarner({
    warning: (_, { node, unknown, names }) => {
      match(String(names), /^all, allowUnknownGroups, .*, health, health\.notReady, /);
      told.push([node, unknown]);
    },
  });
  look({ name: "a" });
  for (
    const skip of ["all", "health", " freeze , health.budgets,", "alow, freeze,setle,alow", "alow, freeze,setle,alow"]
  ) {
    look({ name: "a", skip });
  }
  look({ name: "b", skip: "alow" });
  look({ name: "a", skip: "heal" });
  deepEqual(told, [["a", "alow, setle"], ["b", "alow"], ["a", "heal"]]);
});
