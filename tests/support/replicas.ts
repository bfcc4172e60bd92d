/**
 * Starts servers in this process on a real API server.
 *
 * @module
 */

import { parseConfig } from "../../src/config/config.ts";
import type { SettingName } from "../../src/config/settings.ts";
import { type Service, type ServiceOptions, startService } from "../../src/service/service.ts";
import { until } from "./condition.ts";
import type { ControlPlane } from "./control_plane.ts";

/** Options of {@link startReplicas}. */
export interface ReplicaOptions {
  /** How many. @default {1} */
  readonly count?: number;
  /** The path of their kubeconfig. @default {one of an administrator} */
  readonly kubeconfig?: string;
  /** Their namespace. @default {a new one} */
  readonly namespace?: string;
  /** Their connection to the API server. */
  readonly connection?: ServiceOptions["connection"];
  /** Wraps the store of each. */
  readonly wrapStore?: ServiceOptions["wrapStore"];
  /** Decides about grants, instead of the configuration. */
  readonly policy?: ServiceOptions["policy"];
  /** More variables of their environment. */
  readonly environment?: Readonly<Record<string, string>>;
  /** More flags. */
  readonly flags?: Partial<Record<SettingName, string>>;
}

/** Running servers. */
export interface Replicas extends AsyncDisposable {
  readonly namespace: string;
  readonly urls: readonly [string, ...string[]];
  readonly services: readonly Service[];
  /** Reads a group's Lease as the administrator. */
  // deno-lint-ignore no-explicit-any
  lease(group?: string): Promise<any>;
}

/** Starts servers and waits until they are ready. */
export async function startReplicas(plane: ControlPlane, options: ReplicaOptions = {}): Promise<Replicas> {
  const namespace = options.namespace ?? await plane.createNamespace();
  const environment = {
    KUBECONFIG: options.kubeconfig ?? plane.kubeconfig,
    NAMESPACE: namespace,
    ...options.environment,
  };
  const config = parseConfig({ address: "127.0.0.1:0", ...options.flags }, environment);
  await using stack = new AsyncDisposableStack();
  const services: Service[] = [];
  for (let n = 0; n < (options.count ?? 1); n++) {
    const { connection, policy, wrapStore } = options;
    services.push(stack.use(await startService(config, { version: "0.0.0", connection, policy, wrapStore })));
  }
  const [url, ...others] = services.map((service) => service.url);
  for (const each of [url!, ...others]) await until(() => isReady(each));
  const resources = stack.move();
  return {
    namespace,
    services,
    urls: [url!, ...others],
    lease: (group = "default") =>
      plane.request("GET", `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases/fleetlock-${group}`),
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

/** Asks a server whether it is ready. */
export async function isReady(url: string): Promise<boolean> {
  const reply = await fetch(`${url}/-/ready`);
  await reply.body?.cancel();
  return reply.ok;
}
