/** The manifests of examples/k8s on a real API server, and the program with their roles. @module */

import { deepEqual, doesNotMatch, equal, match, rejects } from "node:assert/strict";
import { load } from "js-yaml";
import { fileURLToPath } from "node:url";
import { requiredPermissions, watchPermissions } from "../../src/stores/lease/leases.ts";
import type { Permission } from "../../src/kubernetes/errors.ts";
import { eventPermissions } from "../../src/kubernetes/events.ts";
import { keeperPermissions, optionalKeeperPermissions } from "../../src/keeper/permissions.ts";
import { createNode } from "../support/cluster_objects.ts";
import { until } from "../support/condition.ts";
import { clusterTest, useControlPlane } from "../support/control_plane.ts";
import { podTest, startInPod } from "../support/pod.ts";
import { startProgram } from "../support/program.ts";
import { preReboot, steadyState } from "../support/zincati.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const MANIFESTS = `${root}examples/k8s`;
const ALICE = "c988d2509fdf5cdcbed39037c56406fb";

// The Service's fixed address is in Typhoon's default range.
const plane = useControlPlane({ apiServerFlags: ["--service-cluster-ip-range=10.3.0.0/24"] });

clusterTest("the API server accepts the manifests without warnings and creates their objects", async () => {
  const dryRun = await plane().kubectl(
    "apply",
    "-k",
    MANIFESTS,
    "--dry-run=server",
    "--warnings-as-errors",
    "-o",
    "name",
  );
  const objects = dryRun.trim().split("\n").sort();
  deepEqual(objects, [
    "clusterrole.rbac.authorization.k8s.io/fleetlock",
    "clusterrolebinding.rbac.authorization.k8s.io/fleetlock",
    "deployment.apps/fleetlock",
    "poddisruptionbudget.policy/fleetlock",
    "role.rbac.authorization.k8s.io/fleetlock",
    "rolebinding.rbac.authorization.k8s.io/fleetlock",
    "service/fleetlock",
    "serviceaccount/fleetlock",
  ]);
  // README says so.
  const asFiles = plane().kubectl("apply", "-f", MANIFESTS, "--dry-run=server");
  await rejects(asFiles, /no matches for kind "Kustomization"/);
  await plane().kubectl("apply", "-k", MANIFESTS);
  for (const object of objects) await plane().kubectl("get", object, "--namespace", "default");
});

clusterTest("the Deployment's pods satisfy the restricted Pod Security Standard", async () => {
  const namespace = await plane().createNamespace();
  await plane().kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted");
  const { spec } = load(await Deno.readTextFile(`${MANIFESTS}/deployment.yaml`)) as {
    spec: { template: { spec: Record<string, unknown> } };
  };
  await plane().request("POST", `/api/v1/namespaces/${namespace}/pods`, {
    metadata: { name: "fleetlock" },
    spec: spec.template.spec,
  });
  await rejects(
    plane().request("POST", `/api/v1/namespaces/${namespace}/pods`, {
      metadata: { name: "root" },
      spec: { ...spec.template.spec, securityContext: { runAsUser: 0 } },
    }),
    /violates PodSecurity/,
  );
});

clusterTest("the program grants and releases with only the rights of the manifests", async () => {
  await plane().kubectl("apply", "-k", MANIFESTS);
  const token = await plane().createToken("default", "fleetlock");
  const kubeconfig = await plane().writeKubeconfig({ token });
  const node = await createNode(plane());
  await using program = await startProgram([], { KUBECONFIG: kubeconfig });
  await until(async () => (await fetch(`${program.url}/-/ready`).then((reply) => reply.text())).trim() === "ok");
  for (const id of [ALICE, node.id]) {
    equal((await preReboot(program.url, id)).status, 200);
    equal((await steadyState(program.url, id)).status, 200);
  }
  // The Events arrive after the replies.
  await until(async () => {
    const { items } = await plane().request("GET", "/apis/events.k8s.io/v1/namespaces/default/events");
    // deno-lint-ignore no-explicit-any
    const reasons = new Set(items.map((event: any) => event.reason));
    return ["Cordoned", "Drained", "Uncordoned", "LockGranted", "LockReleased"].every((each) => reasons.has(each));
  });
  equal((await program.stop()).code, 0);
  match(program.log(), /"cordoned the node".*"the node is drained"/s);
  doesNotMatch(program.log(), /permission|forbidden/i);
});

podTest("the program grants and releases in a pod with only its service account", async () => {
  await plane().kubectl("apply", "-k", MANIFESTS);
  await using program = await startInPod(plane(), { namespace: "default", name: "fleetlock" });
  await until(async () => (await fetch(`${program.url}/-/ready`).then((reply) => reply.text())).trim() === "ok");
  const client = crypto.randomUUID();
  equal((await preReboot(program.url, client)).status, 200);
  match(await plane().kubectl("get", "leases", "--namespace", "default"), new RegExp(client));
  equal((await steadyState(program.url, client)).status, 200);
  equal((await program.stop()).code, 0);
  doesNotMatch(program.log(), /permission|forbidden/i);
});

Deno.test("the roles contain exactly the permissions that the program needs", async () => {
  const granted = async (file: string) => {
    const { rules } = load(await Deno.readTextFile(`${MANIFESTS}/${file}`)) as {
      rules: { apiGroups: string[]; resources: string[]; verbs: string[] }[];
    };
    return rules.flatMap(({ apiGroups, resources, verbs }) =>
      apiGroups.flatMap((group) => resources.flatMap((resource) => verbs.map((verb) => `${verb} ${group}/${resource}`)))
    ).sort();
  };
  const wanted = (permissions: readonly Permission[]) =>
    [
      ...new Set(permissions.map(({ verb, group, resource, subresource }) =>
        `${verb} ${group}/${resource}${subresource ? `/${subresource}` : ""}`
      )),
    ].sort();
  deepEqual(
    await granted("role.yaml"),
    wanted([...requiredPermissions("default"), ...watchPermissions("default")]),
  );
  deepEqual(
    await granted("cluster-role.yaml"),
    wanted([
      ...keeperPermissions({ deletePods: false }),
      ...optionalKeeperPermissions(),
      ...eventPermissions("default"),
    ]),
  );
});
