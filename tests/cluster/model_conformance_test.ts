/** The modelled API server of the simulation answers as a real one does. @module */

import { deepEqual } from "node:assert/strict";
import { type Case, CASES, MERGE, type PlainAnswer, type Subject } from "../simulation/conformance/cases.ts";
import { DRAIN_CASES } from "../simulation/conformance/drain_cases.ts";
import { RESTORE_CASES } from "../simulation/conformance/restore_cases.ts";
import { modelSubject } from "../simulation/conformance/model_subject.ts";
import { clusterTest, type ControlPlane, useControlPlane } from "../support/control_plane.ts";

// Without a cache of its own, the API server asks etcd for old versions, which can be made to forget them.
const plane = useControlPlane({ apiServerFlags: ["--watch-cache-sizes=persistentvolumeclaims#0"] });

/** A real API server as a subject. Dispose of it to end its watches. */
async function realSubject(plane: ControlPlane): Promise<Subject & AsyncDisposable> {
  const namespace = await plane.createNamespace();
  await plane.request("POST", `/api/v1/namespaces/${namespace}/serviceaccounts`, { metadata: { name: "default" } })
    .catch(() => {});
  const client = Deno.createHttpClient({ caCerts: [plane.ca] });
  const over = new AbortController();
  const send = (
    method: string,
    path: string,
    body: unknown,
    type: string,
    accept: string,
    token: string = plane.adminToken,
  ) =>
    fetch(plane.server + path, {
      method,
      headers: { authorization: `Bearer ${token}`, "content-type": type, accept },
      body: body === undefined ? undefined : JSON.stringify(body),
      client,
      signal: over.signal,
    });
  return {
    namespace,
    prefix: namespace,
    async call(method, path, body, { type = "application/json", accept = "application/json" } = {}) {
      const response = await send(method, path, body, type, accept);
      return { status: response.status, body: await response.json() };
    },
    async watch(path) {
      const response = await send("GET", path, undefined, "application/json", "application/json");
      const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      return async (count) => {
        const lines = () => text.split("\n").slice(0, -1).map((line) => JSON.parse(line));
        while (lines().length < count) {
          const { done, value } = await reader.read();
          if (done) break;
          text += value;
        }
        await reader.cancel();
        return lines().slice(0, count);
      };
    },
    async compact() {
      const post = async (path: string, body: unknown) => {
        const response = await fetch(`${plane.etcd}/v3/kv/${path}`, { method: "POST", body: JSON.stringify(body) });
        return await response.json();
      };
      const { header: { revision } } = await post("range", { key: btoa("none") });
      await post("compaction", { revision });
    },
    expire: (token) => btoa(JSON.stringify({ ...JSON.parse(atob(token)), rv: 1 })).replace(/=+$/, ""),
    overload: () => overload(plane, namespace, client),
    backUp: () => plane.backUpEtcd(),
    async budget({ name, app, minAvailable, healthy }) {
      const path = `/apis/policy/v1/namespaces/${namespace}/poddisruptionbudgets`;
      const spec = { minAvailable, selector: { matchLabels: { app } } };
      await send("POST", path, { metadata: { name }, spec }, "application/json", "application/json")
        .then((answer) => answer.body?.cancel());
      // There is no controller that would do so.
      const status = {
        observedGeneration: 1,
        disruptionsAllowed: Math.max(0, healthy - minAvailable),
        currentHealthy: healthy,
        desiredHealthy: minAvailable,
        expectedPods: healthy,
      };
      await send("PATCH", `${path}/${name}/status`, { status }, MERGE, "application/json").then((it) =>
        it.body?.cancel()
      );
    },
    async renew(node) {
      const path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
      const renewTime = new Date().toISOString().replace("Z", "000Z");
      const spec = { holderIdentity: node, leaseDurationSeconds: 40, renewTime };
      await plane.request("POST", path, { metadata: { name: node }, spec });
    },
    async callWithout(_right, method, path, body, { type = "application/json", accept = "application/json" } = {}) {
      const response = await send(method, path, body, type, accept, await plane.createUser(namespace, []));
      return { status: response.status, body: await response.json() };
    },
    [Symbol.asyncDispose]() {
      over.abort();
      client.close();
      return Promise.resolve();
    },
  };
}

/** Lets a user make one call at a time, and makes many, until one is refused. */
async function overload(plane: ControlPlane, namespace: string, client: Deno.HttpClient): Promise<PlainAnswer> {
  const flows = "/apis/flowcontrol.apiserver.k8s.io/v1";
  const rules = [{ apiGroups: ["coordination.k8s.io"], resources: ["leases"], verbs: ["*"] }];
  const token = await plane.createUser(namespace, rules, "limited");
  await plane.request("POST", `${flows}/prioritylevelconfigurations`, {
    metadata: { name: namespace },
    spec: {
      type: "Limited",
      limited: { nominalConcurrencyShares: 0, borrowingLimitPercent: 0, limitResponse: { type: "Reject" } },
    },
  });
  await plane.request("POST", `${flows}/flowschemas`, {
    metadata: { name: namespace },
    spec: {
      priorityLevelConfiguration: { name: namespace },
      matchingPrecedence: 50,
      rules: [{
        subjects: [{ kind: "ServiceAccount", serviceAccount: { name: "limited", namespace } }],
        resourceRules: [{ apiGroups: ["*"], resources: ["*"], verbs: ["*"], namespaces: ["*"] }],
      }],
    },
  });
  const call = async () => {
    const url = `${plane.server}/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`;
    const response = await fetch(url, { headers: { authorization: `Bearer ${token}` }, client });
    const { status, headers } = response;
    const text = await response.text();
    return { status, type: headers.get("content-type"), text, retryAfter: headers.get("retry-after") };
  };
  // The API server learns of the schema shortly after it is made.
  for (let round = 0; round < 300; round++) {
    const refused = (await Promise.all(Array.from({ length: 20 }, call))).find(({ status }) => status !== 200);
    if (refused !== undefined) return refused;
  }
  throw new Error("the API server refused no call");
}

function agree(cases: Readonly<Record<string, Case>>, restarts: boolean): void {
  for (const [name, run] of Object.entries(cases)) {
    clusterTest(`the model and a real API server agree: ${name}`, async () => {
      await using real = await realSubject(plane());
      // Undefined and absent are the same in JSON.
      const plain = (value: unknown) => JSON.parse(JSON.stringify(value));
      deepEqual(plain(await run(modelSubject())), plain(await run(real)));
    }, { restarts });
  }
}

agree(CASES, false);
agree(DRAIN_CASES, false);
agree(RESTORE_CASES, true);
