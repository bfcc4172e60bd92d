/** The memory store: the contract of all stores. @module */

import { ABSENT, MemoryBackend, MemoryLockStore } from "../../src/lock/lock_store.ts";
import { lockStoreContract } from "../contracts/lock_store_contract.ts";

lockStoreContract({
  name: "memory",
  open() {
    const backend = new MemoryBackend();
    return Promise.resolve({
      first: new MemoryLockStore(backend),
      second: new MemoryLockStore(backend),
      deleteGroup(group) {
        backend.groups.delete(group);
        const version = ++backend.version;
        for (const watcher of backend.watchers) watcher.changed(group, ABSENT, version);
      },
      [Symbol.asyncDispose]: () => Promise.resolve(),
    });
  },
});
