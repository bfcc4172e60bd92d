/**
 * Checks of the cluster itself: the API server, the permissions, the Leases, and
 * the address that hosts would use. They change nothing.
 *
 * @module
 */

import type { PolicyOptions } from "../../policies/options.ts";
import type { KubernetesClient } from "../../kubernetes/client.ts";
import { missingPermissions } from "../../kubernetes/client.ts";
import { parseJson } from "../../lock/json.ts";
import { describePermission, ForbiddenError, type Permission, roleFor } from "../../kubernetes/errors.ts";
import { readPages } from "../../kubernetes/list_pages.ts";
import { usedPermissions } from "../../service/permissions.ts";
import { describeDuration } from "../../lock/wording.ts";
import { Leases } from "../../stores/lease/leases.ts";
import { groupOfLease, isForeignDrainRecord } from "../../stores/lease/codec.ts";
import { type Check, type CheckPart, type CheckResult, countOf } from "./check.ts";

/** The oldest minor version of Kubernetes 1 that the server is tested with. */
const OLDEST_MINOR = 30;

/** From which difference on the clocks are worth a warning, in milliseconds. */
const SKEW_MS = 5_000;

/** What the cluster's checks need to know. */
export interface ClusterCheckOptions {
  /** Whether the server is not installed yet. */
  readonly isBefore: boolean;
  /** Whether this process runs with the server's own service account. */
  readonly isInPod: boolean;
  /** The name of the server's service account. */
  readonly serviceAccount: string;
  /** The label selector of the server's pods. */
  readonly selector: string;
  /** How the server drains nodes; undefined if it does not. */
  readonly drain?: Parameters<typeof usedPermissions>[0];
  /** What the configuration file says of drains; undefined without a valid one. */
  readonly policies?: Pick<PolicyOptions, "defaults" | "groups">;
  /** Ends the checks early. */
  readonly signal?: AbortSignal;
}

/** Makes the checks. */
export function clusterChecks(client: KubernetesClient, options: ClusterCheckOptions): CheckPart[] {
  const { signal, isBefore } = options;
  const reach = "check the address, and that the credentials are still valid: kubectl version";
  return [
    {
      category: "cluster",
      name: "the API server answers",
      hint: reach,
      otherwise: "the API server cannot be asked",
      run: async () => [...await checkVersion(client, signal), checkClock(client)],
    },
    {
      category: "permissions",
      name: isBefore ? "you may install the server" : "the server has its permissions",
      hint: "run the check in the server's pod: kubectl exec deploy/fleetlock -- fleetlock check",
      run: () => isBefore ? checkInstaller(client, signal) : checkPermissions(client, options),
    },
    ...(isBefore ? [] : [
      {
        category: "locks" as const,
        name: "the Leases can be read",
        hint: `grant get and list leases in namespace ${client.namespace}`,
        run: () => checkLeases(client, signal),
      },
      {
        category: "address" as const,
        name: "hosts can reach the server",
        hint: `look with kubectl get service -n ${client.namespace}`,
        run: () => checkAddress(client, options),
      },
    ]),
  ];
}

async function checkVersion(client: KubernetesClient, signal?: AbortSignal): Promise<CheckResult[]> {
  const { text } = await client.get("/version", signal);
  const { major, minor, gitVersion } = (parseJson(text) ?? {}) as Record<string, unknown>;
  const number = Number.parseInt(String(minor), 10);
  const answers = { name: "the API server answers", status: "ok", detail: client.server } as const;
  const name = `the API server's version is at least 1.${OLDEST_MINOR}`;
  if (Number.isNaN(number)) return [answers, { name, status: "warning", detail: "it does not tell its version" }];
  const isOld = Number(major) === 1 && number < OLDEST_MINOR;
  return [answers, {
    name,
    status: isOld ? "failed" : "ok",
    detail: String(gitVersion ?? `${major}.${minor}`),
    ...(isOld && { hint: `upgrade the cluster to Kubernetes 1.${OLDEST_MINOR} or later` }),
  }];
}

function checkClock({ clock }: KubernetesClient): CheckResult {
  const name = "this machine's clock agrees with the API server's";
  const skew = clock.skewMs;
  if (skew === undefined) return { name, status: "skipped", detail: "the API server does not tell its time" };
  if (Math.abs(skew) < SKEW_MS) return { name, status: "ok" };
  const detail = `it is ${describeDuration(Math.abs(skew))} ${skew > 0 ? "ahead" : "behind"}`;
  return { name, status: "warning", detail, hint: "set the clocks with chrony or systemd-timesyncd" };
}

/** What an installation creates. */
const INSTALLED: readonly Permission[] = [
  { verb: "create", group: "apps", resource: "deployments" },
  { verb: "create", group: "", resource: "services" },
  { verb: "create", group: "", resource: "serviceaccounts" },
  { verb: "create", group: "rbac.authorization.k8s.io", resource: "roles" },
  { verb: "create", group: "rbac.authorization.k8s.io", resource: "rolebindings" },
];

const INSTALLED_FOR_ALL: readonly Permission[] = [
  { verb: "create", group: "rbac.authorization.k8s.io", resource: "clusterroles" },
  { verb: "create", group: "rbac.authorization.k8s.io", resource: "clusterrolebindings" },
];

async function checkInstaller(client: KubernetesClient, signal?: AbortSignal): Promise<CheckResult[]> {
  const { namespace } = client;
  const wanted = [...INSTALLED.map((one) => ({ ...one, namespace })), ...INSTALLED_FOR_ALL];
  const missing = await missingPermissions(client, wanted, signal);
  const name = "you may install the server";
  if (missing.length === 0) return [{ name, status: "ok", detail: `${wanted.length} permissions` }];
  return missing.map((one) => ({
    name,
    status: "failed",
    detail: `you may not ${describePermission(one)}`,
    hint: "ask an administrator of the cluster to install it",
  }));
}

async function checkPermissions(
  client: KubernetesClient,
  { isInPod, serviceAccount, drain, policies, signal }: ClusterCheckOptions,
): Promise<CheckResult[]> {
  const { namespace } = client;
  const { required, optional } = usedPermissions(drain, namespace, policies);
  const all = [...required, ...optional];
  const user = `system:serviceaccount:${namespace}:${serviceAccount}`;
  const name = "the server has its permissions";
  let missing: Permission[];
  try {
    missing = isInPod ? await missingPermissions(client, all, signal) : await missingOf(client, user, all, signal);
  } catch (error) {
    if (!(error instanceof ForbiddenError)) throw error;
    return [{
      name,
      status: "skipped",
      detail: "you may not ask for the permissions of others",
      hint: "run the check in the server's pod: kubectl exec deploy/fleetlock -- fleetlock check",
    }];
  }
  if (missing.length === 0) return [{ name, status: "ok", detail: `${all.length} permissions of ${user}` }];
  return missing.map((one) => ({
    name: `the server may ${describePermission(one)}`,
    status: required.includes(one) ? "failed" : "warning",
    detail: required.includes(one) ? "it may not" : "it may not, which makes it slower or quieter",
    hint: `grant it to ${user} in ${roleFor(one)}`,
  }));
}

/** Asks which permissions a user lacks (create subjectaccessreviews). */
async function missingOf(
  client: KubernetesClient,
  user: string,
  wanted: readonly Permission[],
  signal?: AbortSignal,
): Promise<Permission[]> {
  const [, , namespace] = user.split(":");
  const groups = ["system:serviceaccounts", `system:serviceaccounts:${namespace}`, "system:authenticated"];
  const apiVersion = "authorization.k8s.io/v1";
  const allowed = await Promise.all(wanted.map(async (resourceAttributes) => {
    const body = { apiVersion, kind: "SubjectAccessReview", spec: { user, groups, resourceAttributes } };
    const { text } = await client.post(`/apis/${apiVersion}/subjectaccessreviews`, body, signal);
    return (parseJson(text) as { status?: { allowed?: boolean } } | undefined)?.status?.allowed === true;
  }));
  return wanted.filter((_, at) => !allowed[at]);
}

async function checkLeases(client: KubernetesClient, signal?: AbortSignal): Promise<CheckResult[]> {
  const { items } = await new Leases(client).list(signal);
  const ours = items.filter((lease) => groupOfLease(lease) !== undefined && !isForeignDrainRecord(lease));
  const detail = `${countOf(ours.length, "group")} in namespace ${client.namespace}`;
  const ending = ours.filter(({ metadata }) => metadata?.deletionTimestamp);
  return [
    { name: "the Leases can be read", status: "ok", detail },
    ...ending.map(({ metadata }) => ({
      name: `the Lease ${metadata!.name} stays`,
      status: "failed" as const,
      detail: `it is being deleted and waits for ${metadata!.finalizers?.join(", ") || "its end"}`,
      hint: "nobody gets a slot of its group until it is gone",
    })),
  ];
}

/** The part of a Service that tells its address. */
interface Service {
  readonly metadata?: { readonly name?: string };
  readonly spec?: {
    readonly type?: string;
    readonly clusterIP?: string;
    readonly selector?: Readonly<Record<string, string>>;
    readonly ports?: readonly { readonly port?: number; readonly nodePort?: number }[];
  };
  readonly status?: { readonly loadBalancer?: { readonly ingress?: readonly { ip?: string; hostname?: string }[] } };
}

async function checkAddress(
  client: KubernetesClient,
  { selector, signal }: ClusterCheckOptions,
): Promise<CheckResult[]> {
  const path = `/api/v1/namespaces/${encodeURIComponent(client.namespace)}/services`;
  const labels = Object.fromEntries(selector.split(",").map((pair) => pair.split("=")));
  const isOurs = ({ spec }: Service) => {
    const wanted = Object.entries(spec?.selector ?? {});
    return wanted.length > 0 && wanted.every(([key, value]) => labels[key] === value);
  };
  const name = "hosts can reach the server";
  let services: Service[];
  try {
    services = (await readPages(client, { path, limit: 100 }, (one) => one as Service, signal)).items.filter(isOurs);
  } catch (error) {
    if (!(error instanceof ForbiddenError)) throw error;
    return [{ name, status: "skipped", detail: `you may not list services in namespace ${client.namespace}` }];
  }
  if (services.length === 0) {
    const hint = "apply examples/k8s/service.yaml, or use an address of your own in base_url";
    return [{ name, status: "warning", detail: `no Service selects pods with ${selector}`, hint }];
  }
  return services.map((service) => ({ name, ...addressOf(service) }));
}

function addressOf({ metadata, spec, status }: Service): Pick<Check, "status" | "detail" | "hint"> {
  const { port, nodePort } = spec?.ports?.[0] ?? {};
  const [ingress] = status?.loadBalancer?.ingress ?? [];
  const host = ingress?.ip ?? ingress?.hostname ?? spec?.clusterIP;
  if (!host || host === "None") {
    const detail = `the Service ${metadata?.name} has no address of its own`;
    return { status: "warning", detail, hint: "give it a clusterIP, as in examples/k8s/service.yaml" };
  }
  const shown = host.includes(":") ? `[${host}]` : host;
  const other = nodePort === undefined ? "" : `, or http://NODE:${nodePort}/`;
  return { status: "ok", detail: `base_url = "http://${shown}${port === 80 ? "" : `:${port}`}/"${other}` };
}
