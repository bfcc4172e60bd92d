/** Replicas of the whole server on one real API server. @module */

import { deepEqual, equal, match } from "node:assert/strict";
import { until } from "../support/condition.ts";
import { clusterTest, useControlPlane } from "../support/control_plane.ts";
import { startReplicas } from "../support/replicas.ts";
import { preReboot, steadyState } from "../support/zincati.ts";

const plane = useControlPlane();
const ALICE = "c988d2509fdf5cdcbed39037c56406fb";
const BOB = "049ad0f57ade4723a48692b7b692c318";

clusterTest(
  "a client acquires, renews and releases a slot while every replica refuses another, and kubectl shows the holder",
  async () => {
    await using all = await startReplicas(plane(), { count: 3 });
    const [first, second, third] = all.urls as unknown as [string, string, string];
    deepEqual(await preReboot(first, ALICE), { status: 200, text: "obtained reboot lease" });
    equal((await all.lease()).spec.holderIdentity, ALICE);
    deepEqual(await preReboot(second, ALICE), { status: 200, text: "retained reboot lease" });
    for (const url of all.urls) {
      const refused = await preReboot(url, BOB);
      equal(refused.kind, "lock_held");
      match(refused.value!, new RegExp(`held by ${ALICE.slice(0, 8)}… since `));
    }
    equal((await steadyState(third, BOB)).status, 200);
    equal((await all.lease()).spec.holderIdentity, ALICE);
    equal((await steadyState(third, ALICE)).status, 200);
    equal((await all.lease()).spec.holderIdentity, "");
    await until(async () => (await preReboot(first, BOB)).status === 200);
  },
);

clusterTest("each of 100 races of 60 clients over three replicas has exactly one winner", async () => {
  await using all = await startReplicas(plane(), { count: 3 });
  for (let round = 0; round < 100; round++) {
    const group = `round-${round % 50}`;
    const replies = await Promise.all(
      Array.from({ length: 60 }, (_, n) => preReboot(all.urls[n % 3]!, `client-${n}`, group)),
    );
    const winners = replies.flatMap((reply, n) => reply.status === 200 ? [`client-${n}`] : []);
    deepEqual(winners.length, 1, `round ${round}: ${winners}`);
    equal(replies.filter((reply) => reply.kind === "lock_held").length, 59);
    const lease = await all.lease(group);
    equal(lease.spec.holderIdentity, winners[0]);
    equal((await steadyState(all.urls[round % 3]!, winners[0]!, group)).status, 200);
    equal(lease.spec.leaseTransitions, round < 50 ? 1 : 2);
  }
});
