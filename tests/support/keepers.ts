/**
 * Node keepers over a test's control plane, with locks that the test sets, and with exactly the permissions that a
 * keeper claims to need.
 *
 * @module
 */

import { connectKubernetes, type KubernetesClient } from "../../src/kubernetes/client.ts";
import type { Permission } from "../../src/kubernetes/errors.ts";
import { ClusterEvents, eventPermissions } from "../../src/kubernetes/events.ts";
import { KubernetesNodeKeeper, type NodeKeeperOptions } from "../../src/keeper/node_keeper.ts";
import { keeperPermissions, optionalKeeperPermissions } from "../../src/keeper/permissions.ts";
import { type ClientId, type Group, parseClientId, parseGroup } from "../../src/lock/identity.ts";
import type { Hold } from "../../src/lock/node_keeper.ts";
import type { HeldNode } from "../../src/lock/semaphore.ts";
import { until } from "./condition.ts";
import type { ControlPlane } from "./control_plane.ts";

/** Locks, as a lock store would keep them. */
export class TestLocks {
  readonly #holders = new Map<string, number>();

  /** Gives a client a slot. */
  grant(id: string, options: { group?: string; since?: number; node?: HeldNode } = {}): Hold {
    const { group = "default", since = Date.now(), node } = options;
    this.#holders.set(`${group} ${id}`, since);
    return { group: parseGroup(group)!, id: parseClientId(id)!, since, node };
  }

  /** Takes a slot away, as somebody who deletes the Lease does. */
  drop({ id, group }: Hold): void {
    this.#holders.delete(`${group} ${id}`);
  }

  /** See {@link NodeKeeperOptions.readHolder}. */
  readHolder = (id: ClientId, group: Group): Promise<{ since: number } | undefined> => {
    const since = this.#holders.get(`${group} ${id}`);
    return Promise.resolve(since === undefined ? undefined : { since });
  };
}

/** A keeper, its client, and what it logged. */
export interface TestKeeper extends AsyncDisposable {
  readonly keeper: KubernetesNodeKeeper;
  readonly client: KubernetesClient;
  readonly events: ClusterEvents;
  /** The messages of its log. */
  readonly log: string[];
  /** Verb and path of each of its calls, watches included. */
  readonly calls: string[];
  /** Ends it as SIGKILL would: its drains stop where they are. */
  stop(): Promise<void>;
}

/** Starts a keeper and waits until it has seen the nodes. */
export async function startKeeper(
  plane: ControlPlane,
  locks: TestLocks,
  options: Partial<NodeKeeperOptions> & { namespace?: string } = {},
  permissions: Permission[] = [
    ...keeperPermissions({ deletePods: options.drainOptions?.onTimeout === "delete" }),
    ...optionalKeeperPermissions(),
    ...eventPermissions("default"),
  ],
): Promise<TestKeeper> {
  const kubeconfig = await plane.writeKubeconfig({ token: await createClusterUser(plane, permissions) });
  const connected = await connectKubernetes({ kubeconfig, namespace: options.namespace });
  const calls: string[] = [];
  const client = recording(connected, calls);
  const log: string[] = [];
  const write = (message: string, fields: Record<string, unknown>) => {
    const error = fields.error instanceof Error ? `: ${fields.error.message}` : "";
    log.push(message + error);
  };
  const events = new ClusterEvents(client, { instance: "test", onFailure: (error) => log.push(`event: ${error}`) });
  const keeper = new KubernetesNodeKeeper(client, {
    readHolder: locks.readHolder,
    events,
    log: { info: write, warning: write, error: write },
    ...options,
  });
  const running = keeper.run();
  let stopped = false;
  const stop = async () => {
    if (stopped) return;
    stopped = true;
    await keeper[Symbol.asyncDispose]();
    await running;
    await events[Symbol.asyncDispose]();
    await connected[Symbol.asyncDispose]();
  };
  const synced = permissions.some(({ verb, resource }) => verb === "list" && resource === "nodes");
  if (synced) await until(() => keeper.isSynced, { what: "the keeper sees the nodes" });
  return { keeper, client, events, log, calls, stop, [Symbol.asyncDispose]: stop };
}

/** Makes a service account with exactly these permissions. Returns a token for it. */
export async function createClusterUser(plane: ControlPlane, permissions: readonly Permission[]): Promise<string> {
  const name = `keeper-${crypto.randomUUID().slice(0, 8)}`;
  const rbac = "/apis/rbac.authorization.k8s.io/v1";
  await plane.request("POST", "/api/v1/namespaces/default/serviceaccounts", { metadata: { name } });
  for (const namespace of new Set(permissions.map((permission) => permission.namespace))) {
    const rules = permissions.filter((one) => one.namespace === namespace).map((one) => ({
      apiGroups: [one.group],
      resources: [one.subresource ? `${one.resource}/${one.subresource}` : one.resource],
      verbs: [one.verb],
    }));
    const kind = namespace === undefined ? "ClusterRole" : "Role";
    const base = namespace === undefined ? rbac : `${rbac}/namespaces/${namespace}`;
    await plane.request("POST", `${base}/${kind.toLowerCase()}s`, { metadata: { name }, rules });
    await plane.request("POST", `${base}/${kind.toLowerCase()}bindings`, {
      metadata: { name },
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind, name },
      subjects: [{ kind: "ServiceAccount", name, namespace: "default" }],
    });
  }
  return await plane.createToken("default", name);
}

/** Records the calls of a client. */
function recording(client: KubernetesClient, calls: string[]): KubernetesClient {
  const note = (path: string) => calls.push(path);
  const apis = new Proxy(client.apis, {
    get: (target, api) =>
      // deno-lint-ignore no-explicit-any
      new Proxy((target as any)[api], {
        get: (object, method) => {
          const value = object[method];
          if (typeof value !== "function") return value;
          return (...parameters: unknown[]) => {
            note(String(method));
            return value.apply(object, parameters);
          };
        },
      }),
  });
  return {
    server: client.server,
    namespace: client.namespace,
    clock: client.clock,
    apis,
    get: (path, signal, headers) => {
      note(`get ${path.split("?")[0]}`);
      return client.get(path, signal, headers);
    },
    getBinary: (path, signal, headers) => {
      note(`get ${path.split("?")[0]}`);
      return client.getBinary(path, signal, headers);
    },
    post: (path) => Promise.reject(new Error(`unexpected POST of ${path}`)),
    stream: (path, signal) => {
      note(`watch ${path.split("?")[0]}`);
      return client.stream(path, signal);
    },
    [Symbol.asyncDispose]: () => client[Symbol.asyncDispose](),
  };
}
