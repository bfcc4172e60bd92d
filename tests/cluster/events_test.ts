/** Events on a real API server. @module */

import { deepEqual, equal, ok } from "node:assert/strict";
import { connectKubernetes, type KubernetesClient } from "../../src/kubernetes/client.ts";
import { ClusterEvents, eventPermissions } from "../../src/kubernetes/events.ts";
import { clusterTest, useControlPlane } from "../support/control_plane.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { createClusterUser } from "../support/keepers.ts";

const plane = useControlPlane();

async function connect(permissions = eventPermissions("default")): Promise<KubernetesClient> {
  const token = await createClusterUser(plane(), permissions);
  return await connectKubernetes({ kubeconfig: await plane().writeKubeconfig({ token }), namespace: "default" });
}

// deno-lint-ignore no-explicit-any
async function eventsOf(name: string): Promise<any[]> {
  const { items } = await plane().request("GET", "/apis/events.k8s.io/v1/namespaces/default/events");
  // deno-lint-ignore no-explicit-any
  return items.filter((one: any) => one.regarding.name === name);
}

clusterTest("Events about a Node and a Lease are stored for kubectl to show", async () => {
  await using client = await connect();
  await using events = new ClusterEvents(client, { instance: "pod-1" });
  const node = `node-${crypto.randomUUID()}`;
  events.record({ kind: "Node", name: node }, "Cordoned", "Cordoned for a reboot");
  events.record({ kind: "Lease", name: "fleetlock-default" }, "LockGranted", "Granted to a", true);
  await events.settled();
  const [cordoned] = await eventsOf(node);
  equal(cordoned.regarding.uid, node);
  deepEqual(
    [cordoned.reason, cordoned.type, cordoned.reportingInstance, cordoned.note],
    ["Cordoned", "Normal", "pod-1", "Cordoned for a reboot"],
  );
  const [granted] = await eventsOf("fleetlock-default");
  deepEqual([granted.regarding.kind, granted.regarding.namespace, granted.type], ["Lease", "default", "Warning"]);
});

clusterTest("repetitions become one Event with a count that is updated from time to time", async () => {
  await using client = await connect();
  const clock = new FakeClock();
  await using events = new ClusterEvents(client, { instance: "pod-1", clock });
  const subject = { kind: "Node", name: `node-${crypto.randomUUID()}` } as const;
  for (let minute = 0; minute < 4; minute++) {
    for (let times = 0; times < 10; times++) events.record(subject, "DrainBlocked", "by a budget", true);
    await events.settled();
    await clock.advance(60_000);
  }
  const series = await eventsOf(subject.name);
  equal(series.length, 1);
  equal(series[0].series.count, 40);
  equal(Date.parse(series[0].series.lastObservedTime), clock.now() - 60_000);
  // After a while without repetitions a new Event begins, and so it does when the API server has deleted the old one.
  await clock.advance(360_000);
  events.record(subject, "DrainBlocked", "by a budget", true);
  await events.settled();
  equal((await eventsOf(subject.name)).length, 2);
  for (const { metadata } of await eventsOf(subject.name)) {
    await plane().request("DELETE", `/apis/events.k8s.io/v1/namespaces/default/events/${metadata.name}`);
  }
  for (let times = 0; times < 2; times++) {
    await clock.advance(60_000);
    events.record(subject, "DrainBlocked", "by a budget", true);
    await events.settled();
  }
  equal((await eventsOf(subject.name)).length, 1);
});

clusterTest("a burst of Events is cut, and failures are reported once and affect nothing else", async () => {
  const failures: unknown[] = [];
  await using client = await connect([]);
  await using events = new ClusterEvents(client, {
    instance: "pod-1",
    clock: new FakeClock(),
    onFailure: (error) => failures.push(error),
  });
  for (let index = 0; index < 1_000; index++) events.record({ kind: "Node", name: `n${index}` }, "Drained", "x");
  await events.settled();
  equal(events.dropped, 975);
  equal(failures.length, 1);
  ok(String(failures[0]).includes("the permission to create events"));
});
