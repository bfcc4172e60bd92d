/**
 * The bundle's serializer of models beside the client library's own, for all that the program sends and reads. @module
 */

import { ObjectSerializer as Library } from "@kubernetes/client-node/dist/gen/models/ObjectSerializer.js";
import { deepEqual, equal, ok } from "node:assert/strict";
import { PodCalls } from "../../src/keeper/drain/pod_calls.ts";
import { type PodView, viewPod } from "../../src/keeper/drain/pods.ts";
import { viewNode } from "../../src/keeper/nodes/node.ts";
import { NodeCalls } from "../../src/keeper/nodes/node_calls.ts";
import { missingPermissions } from "../../src/kubernetes/client.ts";
import { ClusterEvents } from "../../src/kubernetes/events.ts";
import { ObjectSerializer as PassThrough } from "../../src/kubernetes/model_serializer.ts";
import { parseClientId, parseGroup } from "../../src/lock/identity.ts";
import { leaseToState, stateToLease } from "../../src/stores/lease/codec.ts";
import { Leases } from "../../src/stores/lease/leases.ts";
import { fakeApiServer, json, status } from "../support/fake_api_server.ts";
import { FakeClock } from "../support/fake_clock.ts";

const T = "2026-01-02T03:04:05Z";
const T_MICRO = "2026-01-02T03:04:05.678901Z";
const metadata = (name: string, more: Record<string, unknown> = {}) => ({
  name,
  namespace: "default",
  uid: `uid of ${name}`,
  resourceVersion: "7",
  creationTimestamp: T,
  annotations: { "a/b": "c" },
  managedFields: [{
    manager: "kubectl",
    operation: "Update",
    time: T,
    fieldsV1: { "f:spec": { "f:unschedulable": {} } },
  }],
  ...more,
});
const LEASE = {
  apiVersion: "coordination.k8s.io/v1",
  kind: "Lease",
  metadata: metadata("fleetlock-default"),
  spec: { holderIdentity: "a", leaseTransitions: 3, acquireTime: T_MICRO, renewTime: T_MICRO },
};
const NODE = {
  apiVersion: "v1",
  kind: "Node",
  metadata: metadata("n", { namespace: undefined, deletionTimestamp: T }),
  spec: { unschedulable: true, taints: [{ key: "k", effect: "NoSchedule", timeAdded: T }] },
  status: {
    nodeInfo: { machineID: "1c09ca98649c4c7abc779cd04c96812e", bootID: "b" },
    conditions: [{ type: "Ready", status: "False", message: "m", lastHeartbeatTime: T }],
  },
};
const POD = {
  apiVersion: "v1",
  kind: "Pod",
  metadata: metadata("p", {
    deletionTimestamp: T,
    finalizers: ["f"],
    labels: { app: "web" },
    ownerReferences: [{ apiVersion: "apps/v1", kind: "ReplicaSet", name: "r", uid: "u", controller: true }],
  }),
  spec: {
    containers: [],
    tolerations: [{ operator: "Exists" }],
    volumes: [
      { name: "e", emptyDir: {} },
      { name: "c", persistentVolumeClaim: { claimName: "claim" } },
      { name: "g", ephemeral: { volumeClaimTemplate: { spec: {} } } },
    ],
  },
  status: { phase: "Running", conditions: [{ type: "PodScheduled", status: "True", lastTransitionTime: T }] },
};

/** What the program takes from each object that it reads. */
// deno-lint-ignore no-explicit-any
const READS: [type: string, object: any, read: (object: any) => unknown][] = [
  ["V1Node", NODE, (node) => viewNode(node)],
  ["V1Pod", POD, viewPod],
  ["V1Lease", LEASE, leaseToState],
  ["V1Lease", { ...LEASE, spec: { holderIdentity: "a" } }, leaseToState],
  [
    "V1LeaseList",
    { metadata: { resourceVersion: "9" }, items: [LEASE] },
    ({ items, metadata: { resourceVersion } }) => {
      return [items.map(leaseToState), resourceVersion];
    },
  ],
];
for (const [type, object, read] of READS) {
  Deno.test(`a ${type} reads the same through the library's serializer and as it is`, () => {
    const through = Library.deserialize(object, type, "");
    deepEqual(read(PassThrough.deserialize(object)), read(through));
  });
}

Deno.test("every body that the program sends is the same with the library's serializer and as it is", async () => {
  const id = parseClientId("a")!;
  const group = parseGroup("default")!;
  const clock = new FakeClock();
  const sent: string[] = [];
  await using fake = await fakeApiServer(async (request) => {
    const text = await request.text();
    if (text === "") return json(LEASE);
    sent.push(`${request.method} ${new URL(request.url).pathname}`);
    bodies.push(text);
    return status(500);
  });
  // What the generated APIs give to the library's serializer, and what they then send.
  const given: unknown[] = [];
  const bodies: string[] = [];
  const serialize = Library.serialize;
  let depth = 0;
  Library.serialize = function (data, type, format) {
    if (depth === 0 && typeof data === "object") given.push(data);
    depth++;
    try {
      return serialize.call(Library, data, type, format);
    } finally {
      depth--;
    }
  };
  try {
    const leases = new Leases(fake.client);
    const ignore = () => {};
    const holders = [{ id, since: Date.UTC(2026, 0, 1, 0, 0, 0, 123) }];
    const state = { holders, transitions: 4, renewed: Date.UTC(2026, 0, 2, 0, 0, 0, 456) };
    await leases.create(stateToLease(group, "default", state)).catch(ignore);
    const base = await leases.get("fleetlock-default");
    ok(base !== undefined);
    await leases.replace(stateToLease(group, "default", state, base)).catch(ignore);
    const pod = viewPod(POD as unknown as Parameters<typeof viewPod>[0]) as PodView;
    const pods = new PodCalls(fake.client);
    await pods.evict(pod).catch(ignore);
    await pods.deletePod(pod).catch(ignore);
    const node = viewNode(NODE as unknown as Parameters<typeof viewNode>[0]);
    await new NodeCalls(fake.client).patchNode(node, { cordon: "x", unschedulable: true }).catch(ignore);
    await missingPermissions(fake.client, [{ verb: "get", group: "", resource: "nodes" }]).catch(ignore);
    await using events = new ClusterEvents(fake.client, { instance: "i", clock });
    events.record({ kind: "Node", name: "n" }, "Drained", "It is drained.");
    await events.settled();
  } finally {
    Library.serialize = serialize;
  }
  deepEqual(sent.map((one) => one.replace(/[0-9a-f]{16}/, "…")), [
    "POST /apis/coordination.k8s.io/v1/namespaces/default/leases",
    "PUT /apis/coordination.k8s.io/v1/namespaces/default/leases/fleetlock-default",
    "POST /api/v1/namespaces/default/pods/p/eviction",
    "DELETE /api/v1/namespaces/default/pods/p",
    "PATCH /api/v1/nodes/n",
    "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
    "POST /apis/events.k8s.io/v1/namespaces/default/events",
  ]);
  // The library sends a date with milliseconds, as JSON does.
  deepEqual(given.map((data) => JSON.parse(PassThrough.stringify(data))), bodies.map((text) => JSON.parse(text)));
});

Deno.test("the bundle's serializer reads a media type as the library does, and prefers JSON", () => {
  for (const type of [undefined, "application/json", "Application/JSON; charset=utf-8", ""]) {
    equal(PassThrough.normalizeMediaType(type), Library.normalizeMediaType(type));
  }
  equal(PassThrough.getPreferredMediaType(), Library.getPreferredMediaType([]));
  deepEqual(PassThrough.parse('{"a":1}'), Library.parse('{"a":1}', "application/json"));
});
