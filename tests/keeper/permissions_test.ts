import { deepEqual, ok } from "node:assert/strict";
import { PodCalls } from "../../src/keeper/drain/pod_calls.ts";
import { viewPod } from "../../src/keeper/drain/pods.ts";
import { NodeCalls } from "../../src/keeper/nodes/node_calls.ts";
import { viewNode } from "../../src/keeper/nodes/node.ts";
import { keeperPermissions, optionalKeeperPermissions } from "../../src/keeper/permissions.ts";
import { parseResourcePath } from "../../src/kubernetes/answer_check.ts";
import type { Permission } from "../../src/kubernetes/errors.ts";
import { fakeApiServer, status } from "../support/fake_api_server.ts";

/** The verbs of the API by the HTTP methods of calls. */
const VERBS: Record<string, string> = { POST: "create", PATCH: "patch", DELETE: "delete" };

const verbOf = (method: string, name: string | undefined, isWatch: boolean) =>
  VERBS[method] ?? (isWatch ? "watch" : name === undefined ? "list" : "get");

/** Names a permission in one line. Pods and claims have namespaces, but are looked after in every one. */
const lineOf = ({ verb, group, resource, subresource, namespace }: Permission) =>
  `${verb} ${group}/${resource}${subresource ? `/${subresource}` : ""}${namespace ? ` in ${namespace}` : ""}`;

/** Makes every call of the keeper, and returns what each one needs permission for. */
async function neededBy(deletePods: boolean): Promise<string[]> {
  const needed = new Set<string>();
  await using fake = await fakeApiServer((request) => {
    const { pathname, searchParams } = new URL(request.url);
    const { apiVersion, name, namespace, subresource } = parseResourcePath(pathname)!;
    const [, resource = ""] = /\/(nodes|leases|pods|persistentvolumeclaims|volumeattachments)\b/.exec(pathname) ?? [];
    const isWatch = searchParams.has("watch");
    needed.add(lineOf({
      verb: verbOf(request.method, name, isWatch),
      group: apiVersion.includes("/") ? apiVersion.split("/")[0]! : "",
      resource,
      ...(subresource && { subresource }),
      ...(resource === "leases" && { namespace }),
    }));
    return status(404, { reason: "NotFound", message: "not found" });
  });
  const [nodes, pods] = [new NodeCalls(fake.client), new PodCalls(fake.client)];
  const node = viewNode({ metadata: { name: "a", uid: "u", resourceVersion: "1" } });
  const pod = viewPod({ metadata: { name: "web", namespace: "shop", uid: "u" } });
  const stop = { nodes: new AbortController(), pods: new AbortController() };
  const watcher = (of: "nodes" | "pods") => ({ synced: () => {}, changed: () => {}, lost: () => stop[of].abort() });
  await Promise.allSettled([
    nodes.getNode("a"),
    nodes.listNodes(() => true),
    nodes.listVersions(),
    nodes.currentVersion(),
    nodes.nodeAt("a", "1"),
    nodes.patchNode(node, { unschedulable: true }),
    nodes.kubeletRenewal("a"),
    nodes.watchNodes(watcher("nodes"), stop.nodes.signal, new Map()),
    pods.listPods("a"),
    pods.evict(pod),
    pods.tryEviction(pod),
    ...(deletePods ? [pods.deletePod(pod)] : []),
    pods.listAttachments("a"),
    pods.hasAttachment("v"),
    pods.volumeOf({ namespace: "shop", name: "data" }),
    pods.watchPods("a", watcher("pods"), stop.pods.signal),
  ]);
  return [...needed].sort();
}

for (const deletePods of [false, true]) {
  Deno.test(`the permissions that are listed are those of the keeper's calls, ${deletePods ? "with" : "without"} deletions`, async () => {
    const listed = [...keeperPermissions({ deletePods }), ...optionalKeeperPermissions()];
    deepEqual(listed.map(lineOf).sort(), await neededBy(deletePods));
    // The keeper works without the optional ones.
    const must = keeperPermissions({ deletePods }).map(lineOf);
    ok(optionalKeeperPermissions().every((one) => !must.includes(lineOf(one))));
    deepEqual(optionalKeeperPermissions().map(lineOf), ["get /persistentvolumeclaims"]);
  });
}
