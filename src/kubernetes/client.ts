/**
 * Connects to a cluster and offers its typed APIs over one shared transport.
 * Only the generated part of the client library is loaded here; a kubeconfig's
 * loader comes in dynamically, when there is one.
 *
 * @module
 */

import { type ConfigurationOptions, createConfiguration } from "@kubernetes/client-node/dist/gen/configuration.js";
import { ResponseContext, wrapHttpLibrary } from "@kubernetes/client-node/dist/gen/http/http.js";
import { of } from "@kubernetes/client-node/dist/gen/rxjsStub.js";
import { ServerConfiguration } from "@kubernetes/client-node/dist/gen/servers.js";
import {
  ObjectAuthorizationV1Api,
  ObjectCoordinationV1Api,
  ObjectCoreV1Api,
  ObjectEventsV1Api,
  ObjectPolicyV1Api,
  ObjectStorageV1Api,
} from "@kubernetes/client-node/dist/gen/types/ObjectParamAPI.js";
import { UnavailableError } from "../lock/errors.ts";
import { type Access, podAccess } from "./access.ts";
import { ConfigError } from "../config/config_error.ts";
import type { Permission } from "./errors.ts";
import { type Answer, type Call, type Stream, Transport, type TransportOptions } from "./transport.ts";

/** How to connect. */
export interface ConnectOptions extends TransportOptions {
  /** Path of a kubeconfig file (several joined by `:`); undefined in a pod. */
  readonly kubeconfig?: string;
  /** The namespace to work in. @default the pod's own, or "default" */
  readonly namespace?: string;
  /** In a pod: the API server's host, as KUBERNETES_SERVICE_HOST has it. */
  readonly serviceHost?: string;
  /** In a pod: the API server's port, as KUBERNETES_SERVICE_PORT has it. @default {"443"} */
  readonly servicePort?: string;
  /** In a pod: the folder with the service account's files. @default where the kubelet puts them */
  readonly serviceAccountFolder?: string;
}

/** A connection to a cluster. Dispose of it to end its calls and close its connections. */
export interface KubernetesClient extends AsyncDisposable {
  /** The API server's base URL, without a slash at its end. */
  readonly server: string;
  /** The namespace to work in. */
  readonly namespace: string;
  /** The typed APIs. Their calls throw what {@link Transport.send} throws, never an ApiException. */
  readonly apis: Apis;
  /** Calls a path of the API, such as `/api/v1/nodes`, and reads the answer. See {@link Transport.send}. */
  get(path: string, signal?: AbortSignal): Promise<Answer>;
  /** Calls a path of the API whose answer comes in over time. See {@link Transport.stream}. */
  stream(path: string, signal?: AbortSignal): Promise<Stream>;
}

/** The typed APIs, each made when it is first used. */
export interface Apis {
  /** Leases. */
  readonly coordination: ObjectCoordinationV1Api;
  /** What we may. */
  readonly authorization: ObjectAuthorizationV1Api;
  /** Nodes, pods and namespaces. */
  readonly core: ObjectCoreV1Api;
  /** Evictions and disruption budgets. */
  readonly policy: ObjectPolicyV1Api;
  /** Events. */
  readonly events: ObjectEventsV1Api;
  /** VolumeAttachments. */
  readonly storage: ObjectStorageV1Api;
}

/**
 * Reads the configuration and makes a client. Connects at the first call, so a
 * server that is away is no fault yet.
 *
 * @throws {ConfigError} The kubeconfig or the service account's files cannot be used.
 */
export async function connectKubernetes(options: ConnectOptions = {}): Promise<KubernetesClient> {
  const access = await findAccess(options);
  const transport = new Transport(access, options);
  await transport.connect();
  const { server } = access;
  return {
    server,
    namespace: options.namespace || access.namespace || "default",
    apis: makeApis(server, transport),
    get: (path, signal) => transport.send({ method: "GET", url: server + path, signal }),
    stream: (path, signal) => transport.stream({ method: "GET", url: server + path, signal }),
    [Symbol.asyncDispose]: () => transport[Symbol.asyncDispose](),
  };
}

/**
 * Makes one call of a typed API end early.
 *
 * @returns The second argument of the call, undefined where there is no signal.
 */
export function withSignal(signal: AbortSignal | undefined): ConfigurationOptions | undefined {
  if (signal === undefined) return undefined;
  return {
    middleware: [{
      pre(context) {
        context.setSignal(signal);
        return of(context);
      },
      post: (context) => of(context),
    }],
  };
}

/**
 * Asks the API server what our credentials do not allow, by
 * SelfSubjectAccessReviews (create selfsubjectaccessreviews, which everybody may).
 *
 * @param signal Ends it early, with the signal's reason.
 * @returns Those of `wanted` that are denied.
 * @throws As every call.
 */
export async function missingPermissions(
  client: KubernetesClient,
  wanted: readonly Permission[],
  signal?: AbortSignal,
): Promise<Permission[]> {
  const allowed = await Promise.all(wanted.map(async (permission) => {
    const review = await client.apis.authorization.createSelfSubjectAccessReview(
      { body: { spec: { resourceAttributes: { ...permission } } } },
      withSignal(signal),
    );
    return review.status?.allowed === true;
  }));
  return wanted.filter((_, index) => !allowed[index]);
}

async function findAccess(options: ConnectOptions): Promise<Access> {
  if (options.kubeconfig) return (await import("./kubeconfig.ts")).kubeconfigAccess(options.kubeconfig);
  if (options.serviceHost) {
    return podAccess(options.serviceHost, options.servicePort || undefined, options.serviceAccountFolder);
  }
  throw new ConfigError("No Kubernetes cluster found: run in a pod, or set KUBECONFIG to a kubeconfig file");
}

function makeApis(server: string, transport: Transport): Apis {
  const configuration = createConfiguration({
    baseServer: new ServerConfiguration(server, {}),
    httpApi: wrapHttpLibrary({
      async send(request) {
        const body = request.getBody();
        const call: Call = {
          method: request.getHttpMethod(),
          url: request.getUrl(),
          headers: request.getHeaders(),
          body: typeof body === "string" ? body : undefined,
          signal: request.getSignal(),
        };
        const answer = await transport.send(call);
        if (!answer.headers["content-type"]?.includes("json")) {
          throw new UnavailableError(`the answer from ${server} is no JSON: is that the API server's address?`);
        }
        return new ResponseContext(answer.status, answer.headers, {
          text: () => Promise.resolve(answer.text),
          binary: () => Promise.reject(new Error("no API that we use answers in binary")),
          stream: () => null,
        });
      },
    }),
  });
  const made = new Map<unknown, unknown>();
  const get = <T>(Api: new (of: typeof configuration) => T): T => {
    if (!made.has(Api)) made.set(Api, new Api(configuration));
    return made.get(Api) as T;
  };
  return {
    get coordination() {
      return get(ObjectCoordinationV1Api);
    },
    get authorization() {
      return get(ObjectAuthorizationV1Api);
    },
    get core() {
      return get(ObjectCoreV1Api);
    },
    get policy() {
      return get(ObjectPolicyV1Api);
    },
    get events() {
      return get(ObjectEventsV1Api);
    },
    get storage() {
      return get(ObjectStorageV1Api);
    },
  };
}
