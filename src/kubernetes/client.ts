/**
 * Connects to a cluster and offers its typed APIs over one shared transport.
 * It loads only the generated part of the client library, and imports the
 * loader of kubeconfigs dynamically where one is used.
 *
 * @module
 */

import { createConfiguration } from "@kubernetes/client-node/dist/gen/configuration.js";
import { ResponseContext, wrapHttpLibrary } from "@kubernetes/client-node/dist/gen/http/http.js";
import { ServerConfiguration } from "@kubernetes/client-node/dist/gen/servers.js";
import {
  ObjectAuthorizationV1Api,
  ObjectCoordinationV1Api,
  ObjectCoreV1Api,
  ObjectEventsV1Api,
  ObjectStorageV1Api,
} from "@kubernetes/client-node/dist/gen/types/ObjectParamAPI.js";
import { ConfigError } from "../config/config_error.ts";
import { type Access, podAccess } from "./access.ts";
import { checkAnswer } from "./answer_check.ts";
import type { CalledMethod } from "./called_methods.ts";
import { callOptions, conditionOf } from "./calls.ts";
import type { Permission } from "./errors.ts";
import { ServerClock } from "./server_clock.ts";
import {
  type Answer,
  type BinaryAnswer,
  type Call,
  type Stream,
  Transport,
  type TransportOptions,
} from "./transport.ts";

/** How {@link connectKubernetes} connects. */
export interface ConnectOptions extends TransportOptions {
  /** The path of a kubeconfig file, or several joined by `:`; undefined in a pod. */
  readonly kubeconfig?: string;
  /**
   * The base URL of an API server that needs no credentials, such as `http://127.0.0.1:8001` of `kubectl proxy`. It
   * takes precedence over a kubeconfig and a pod's service account.
   */
  readonly apiServer?: string;
  /** The namespace to work in. @default the pod's own, or "default" */
  readonly namespace?: string;
  /** In a pod: the API server's host, from KUBERNETES_SERVICE_HOST. */
  readonly serviceHost?: string;
  /** In a pod: the API server's port, from KUBERNETES_SERVICE_PORT. @default {"443"} */
  readonly servicePort?: string;
  /** In a pod: the folder with the service account's files. @default where the kubelet mounts them */
  readonly serviceAccountFolder?: string;
  /** The server and the credentials, where they come from neither a kubeconfig nor a pod's files. */
  readonly access?: Access;
}

/** A connection to a cluster. Dispose of it to end its calls and close its connections. */
export interface KubernetesClient extends AsyncDisposable {
  /** The API server's base URL, without a trailing slash. */
  readonly server: string;
  /** The namespace to work in. */
  readonly namespace: string;
  /** The API server's time, as its answers tell it. */
  readonly clock: ServerClock;
  /**
   * The typed APIs. Their calls throw what {@link Transport.send} throws, never an ApiException. What they return is of
   * the kind, the name and the namespace that were asked for, and has a resourceVersion.
   */
  readonly apis: Apis;
  /** Gets a path of the API, such as `/api/v1/nodes`, and reads the answer. See {@link Transport.send}. */
  get(path: string, signal?: AbortSignal, headers?: Readonly<Record<string, string>>): Promise<Answer>;
  /** Gets a path of the API and reads the answer as bytes. See {@link Transport.send}. */
  getBinary(path: string, signal: AbortSignal | undefined, headers: Call["headers"]): Promise<BinaryAnswer>;
  /** Posts JSON to a path of the API and reads the answer. See {@link Transport.send}. */
  post(path: string, body: unknown, signal?: AbortSignal): Promise<Answer>;
  /** Gets a path of the API whose answer arrives over time. See {@link Transport.stream}. */
  stream(path: string, signal?: AbortSignal): Promise<Stream>;
}

/**
 * The typed APIs, with the methods of {@link "./called_methods.ts".CALLED_METHODS} alone. Each is created when it is
 * first used.
 */
export interface Apis {
  /** Leases. */
  readonly coordination: Pick<ObjectCoordinationV1Api, CalledMethod<"coordination">>;
  /** Our own permissions. */
  readonly authorization: Pick<ObjectAuthorizationV1Api, CalledMethod<"authorization">>;
  /** Nodes, pods (with their evictions) and claims. */
  readonly core: Pick<ObjectCoreV1Api, CalledMethod<"core">>;
  /** Events. */
  readonly events: Pick<ObjectEventsV1Api, CalledMethod<"events">>;
  /** VolumeAttachments. */
  readonly storage: Pick<ObjectStorageV1Api, CalledMethod<"storage">>;
}

/**
 * Reads the configuration and creates a client. Connects at the first call, so
 * an unreachable API server is not an error yet.
 *
 * @throws {ConfigError} The kubeconfig or the service account's files cannot be used.
 */
export async function connectKubernetes(options: ConnectOptions = {}): Promise<KubernetesClient> {
  const access = await findAccess(options);
  const clock = new ServerClock(options.clock);
  const transport = new Transport(access, options, clock);
  await transport.connect();
  const { server } = access;
  return {
    server,
    namespace: options.namespace || access.namespace || "default",
    clock,
    apis: makeApis(server, transport),
    get: (path, signal, headers) => transport.send({ method: "GET", url: server + path, signal, headers }),
    getBinary: (path, signal, headers) => transport.sendBinary({ method: "GET", url: server + path, signal, headers }),
    post: (path, body, signal) =>
      transport.send({
        method: "POST",
        url: server + path,
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
        signal,
      }),
    stream: (path, signal) => transport.stream({ method: "GET", url: server + path, signal }),
    [Symbol.asyncDispose]: () => transport[Symbol.asyncDispose](),
  };
}

/**
 * Asks the API server which permissions we lack, with SelfSubjectAccessReviews
 * (create selfsubjectaccessreviews, which everybody may by default).
 *
 * @param signal Ends the calls early, which then throw the signal's reason.
 * @returns The denied ones of `wanted`.
 * @throws What {@link Transport.send} throws.
 */
export async function missingPermissions(
  client: KubernetesClient,
  wanted: readonly Permission[],
  signal?: AbortSignal,
): Promise<Permission[]> {
  const allowed = await Promise.all(wanted.map(async (permission) => {
    const review = await client.apis.authorization.createSelfSubjectAccessReview(
      { body: { spec: { resourceAttributes: { ...permission } } } },
      callOptions(signal),
    );
    return review.status?.allowed === true;
  }));
  return wanted.filter((_, index) => !allowed[index]);
}

async function findAccess(options: ConnectOptions): Promise<Access> {
  if (options.access) return options.access;
  if (options.apiServer) return openAccess(options.apiServer);
  if (options.kubeconfig) {
    return (await import("./kubeconfig.ts")).kubeconfigAccess(options.kubeconfig, { clock: options.clock });
  }
  if (options.serviceHost) {
    const { serviceHost, servicePort, serviceAccountFolder, clock } = options;
    return podAccess(serviceHost, servicePort || undefined, serviceAccountFolder, clock);
  }
  throw new ConfigError("No Kubernetes cluster found: run in a pod, or set KUBECONFIG to a kubeconfig file");
}

/** Gets the access to an API server that needs no credentials. */
function openAccess(url: string): Access {
  const parsed = URL.parse(url);
  if (parsed === null || !/^https?:$/.test(parsed.protocol) || parsed.username !== "" || parsed.password !== "") {
    throw new ConfigError("The address of the API server must be an http or https URL, as in http://127.0.0.1:8001");
  }
  const tls = { source: "the address of the API server" };
  return {
    server: parsed.href.replace(/\/+$/, ""),
    credentials: () => Promise.resolve({ headers: {}, tls }),
  };
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
          mayLeave: conditionOf(request),
        };
        const answer = await transport.send(call);
        checkAnswer(call.method, call.url, call.body, answer.text);
        return new ResponseContext(answer.status, answer.headers, {
          text: () => Promise.resolve(answer.text),
          binary: () => Promise.reject(new Error("none of the APIs that we use answers in binary")),
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
    get events() {
      return get(ObjectEventsV1Api);
    },
    get storage() {
      return get(ObjectStorageV1Api);
    },
  };
}
