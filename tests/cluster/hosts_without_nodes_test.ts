/**
 * Which Nodes a client has now, on a real API server and with the fewest permissions, while the watch is silent.
 * @module
 */

import { deepEqual, equal } from "node:assert/strict";
import { NodeCalls } from "../../src/keeper/nodes/node_calls.ts";
import { NodeWatch } from "../../src/keeper/nodes/node_watch.ts";
import { connectKubernetes, type KubernetesClient } from "../../src/kubernetes/client.ts";
import { readPages } from "../../src/kubernetes/list_pages.ts";
import { parseClientId } from "../../src/lock/identity.ts";
import { createNode, setNodeStatus } from "../support/cluster_objects.ts";
import { until } from "../support/condition.ts";
import { clusterTest, useControlPlane } from "../support/control_plane.ts";
import { createClusterUser } from "../support/keepers.ts";

const plane = useControlPlane();

clusterTest("the Nodes of a client are those of one moment after the request, whatever the watch shows", async () => {
  const token = await createClusterUser(
    plane(),
    ["get", "list", "watch"].map((verb) => ({ verb, group: "", resource: "nodes" })),
  );
  await using connected = await connectKubernetes({ kubeconfig: await plane().writeKubeconfig({ token }) });
  let isSilent = false;
  const lists: string[] = [];
  let afterList = async () => {};
  const listed = async (path: string) => {
    const { limit, fieldSelector } = Object.fromEntries(new URLSearchParams(path.split("?")[1]));
    if (limit === undefined) return;
    lists.push(fieldSelector ?? limit);
    await afterList();
  };
  const client: KubernetesClient = {
    ...connected,
    async get(path, signal, headers) {
      const answer = await connected.get(path, signal, headers);
      await listed(path);
      return answer;
    },
    async getBinary(path, signal, headers) {
      const answer = await connected.getBinary(path, signal, headers);
      equal(answer.headers["content-type"]?.split(";", 1)[0], "application/vnd.kubernetes.protobuf");
      await listed(path);
      return answer;
    },
    async stream(path, signal) {
      const stream = await connected.stream(path, signal);
      const transform = (chunk: Uint8Array, to: TransformStreamDefaultController) => {
        if (!isSilent) to.enqueue(chunk);
      };
      return {
        body: stream.body.pipeThrough(new TransformStream({ transform })),
        retire: () => stream.retire(),
        [Symbol.asyncDispose]: () => stream[Symbol.asyncDispose](),
      };
    },
  };
  const calls = new NodeCalls(client);
  const watch = new NodeWatch(calls);
  const stop = new AbortController();
  const running = watch.run(stop.signal);
  await until(() => watch.isSynced);
  const find = async (id: string) => {
    lists.length = 0;
    return (await watch.listById(parseClientId(id)!)).map(({ name }) => name);
  };
  // The API server writes an empty list of metadata in another way than a full one.
  deepEqual([...watch.nodes], []);
  deepEqual(await find("alice"), []);
  deepEqual(lists, ["500"]);

  const seen = await createNode(plane(), { name: "seen" });
  await until(() => watch.peek("seen") !== undefined);
  isSilent = true;
  const joined = await createNode(plane(), { name: "joined" });
  deepEqual(await find(joined.id), ["joined"]);
  deepEqual(lists, ["500", "metadata.name=joined"]);
  deepEqual(await find(seen.id), ["seen"]);
  // Two calls show the Nodes of one moment, although they change in between.
  afterList = async () => {
    afterList = async () => {};
    await plane().request("DELETE", "/api/v1/nodes/joined");
    await createNode(plane(), { name: "again", machineId: joined.machineId });
  };
  deepEqual(await find(joined.id), ["joined"]);
  deepEqual(await find(joined.id), ["again"]);
  await setNodeStatus(plane(), "seen", { machineId: "f".repeat(32) });
  deepEqual(await find(seen.id), []);

  const two = await calls.listNodes(() => true);
  deepEqual(two.map(({ name }) => name), ["again", "seen"]);
  await createNode(plane(), { name: "third" });
  const view = (object: unknown) => (object as { metadata: { name: string } }).metadata.name;
  for (const metadataOnly of [false, true]) {
    const pages = await readPages(client, { path: "/api/v1/nodes", limit: 2, metadataOnly }, view);
    deepEqual(pages.items, ["again", "seen", "third"]);
    equal(BigInt(pages.version) >= BigInt(await calls.currentVersion()), true);
  }
  stop.abort();
  await running;
});
