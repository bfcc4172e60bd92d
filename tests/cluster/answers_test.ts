/** The answers of a real API server pass the checks of what was asked for, and its refusals are told apart. @module */

import { equal, ok, rejects } from "node:assert/strict";
import { callOptions, MERGE_PATCH, valueOfStatus } from "../../src/kubernetes/calls.ts";
import { connectKubernetes } from "../../src/kubernetes/client.ts";
import { KubernetesError } from "../../src/kubernetes/errors.ts";
import { UnavailableError } from "../../src/lock/errors.ts";
import { createNode, createPod } from "../support/cluster_objects.ts";
import { clusterTest, useControlPlane } from "../support/control_plane.ts";

const plane = useControlPlane();

clusterTest("every call on nodes, pods and volumes is answered with what was asked for", async () => {
  await using client = await connectKubernetes({
    kubeconfig: await plane().writeKubeconfig({ token: plane().adminToken }),
  });
  const { core, storage, authorization } = client.apis;
  const namespace = await plane().createNamespace();
  const { name: node } = await createNode(plane());
  for (const name of ["evicted", "deleted"]) await createPod(plane(), { name, namespace, node });
  await createPod(plane(), { name: "pending", namespace }, "Pending");
  equal((await core.readNode({ name: node })).metadata?.name, node);
  equal((await core.listPodForAllNamespaces({ fieldSelector: `spec.nodeName=${node}` })).items.length, 2);
  await core.createNamespacedPodEviction({ namespace, name: "evicted", body: { metadata: { name: "evicted" } } });
  await core.deleteNamespacedPod({ namespace, name: "deleted" });
  await core.deleteNamespacedPod({ namespace, name: "pending", body: { gracePeriodSeconds: 0 } });
  await storage.listVolumeAttachment();
  const review = { body: { spec: { resourceAttributes: { verb: "get", resource: "nodes" } } } };
  equal((await authorization.createSelfSubjectAccessReview(review)).status?.allowed, true);
  ok(Math.abs(client.clock.skewMs!) < 2_000 && client.clock.isFresh(60_000));

  const subject = { subject: "it" };
  equal(await valueOfStatus(core.readNode({ name: "none" }), { 404: "none" }, subject), "none");
  equal(await valueOfStatus(storage.readVolumeAttachment({ name: "none" }), { 404: "none" }, subject), "none");
  await rejects(client.get("/apis/none/v1/nothing"), UnavailableError, "its page for an unknown path is not a Status");
  // Another UID, as of a new Node of the same name, is a conflict; another refusal is not.
  const patch = (body: unknown) => core.patchNode({ name: node, body }, callOptions(undefined, MERGE_PATCH));
  equal((await patch({ spec: { unschedulable: true } })).spec?.unschedulable, true);
  for (const metadata of [{ uid: crypto.randomUUID() }, { resourceVersion: "1" }]) {
    await rejects(patch({ metadata }), (error) => error instanceof KubernetesError && error.status === 409);
  }
  const invalid = patch({ metadata: { labels: { "not a key": "x" } } });
  await rejects(invalid, (error) => error instanceof KubernetesError && error.status === 422);
});
