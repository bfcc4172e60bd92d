/**
 * Where a command finds the locks: in a cluster, in a SQLite file, or behind one
 * server's URL. It opens what the flags and the environment name, and reads and
 * writes nothing there.
 *
 * @module
 */

import { ConfigError } from "../config/config_error.ts";
import { type Environment, variableOf } from "../config/settings.ts";
import { namespaceName, storeChoice } from "../config/values.ts";
import { connectKubernetes, type ConnectOptions, type KubernetesClient } from "../kubernetes/client.ts";
import type { LockStore } from "../lock/lock_store.ts";
import { openStore } from "../stores/open.ts";

/** What a person says about the place, by the names of the flags. */
export interface PlaceFlags {
  /** `sqlite:PATH`, or `kubernetes`. */
  readonly store?: string;
  /** The URL of one server, whose state is read. */
  readonly server?: string;
  /** The URL of an API server that needs no credentials, such as that of `kubectl proxy`. */
  readonly apiServer?: string;
  /** The path of a kubeconfig. */
  readonly kubeconfig?: string;
  /** The namespace of the Leases. */
  readonly namespace?: string;
}

/** The locks of a cluster. */
export interface ClusterPlace {
  /** Tells it from the other places. */
  readonly kind: "cluster";
  /** The connection to the API server. */
  readonly client: KubernetesClient;
  /** The locks. */
  readonly store: LockStore;
  /** Whether this process runs in a pod with a service account, and uses it. */
  readonly isInPod: boolean;
}

/** The locks of a SQLite file. */
export interface FilePlace {
  /** Tells it from the other places. */
  readonly kind: "sqlite";
  /** The path of the file. */
  readonly path: string;
  /** The locks. */
  readonly store: LockStore;
}

/** One server, which shows its state and takes no orders. */
export interface ServerPlace {
  /** Tells it from the other places. */
  readonly kind: "server";
  /** Its URL, without a slash at its end. */
  readonly url: URL;
}

/** A place. Dispose of it. */
export type Place = (ClusterPlace | FilePlace | ServerPlace) & AsyncDisposable;

/** A place whose locks can be read and written. */
export type StorePlace = Extract<Place, { readonly store: LockStore }>;

/** Which place the flags and the environment name. */
export type PlaceChoice =
  /** The cluster. */
  | { readonly kind: "cluster" }
  /** The SQLite file of a path. */
  | { readonly kind: "sqlite"; readonly path: string }
  /** The server of a URL. */
  | { readonly kind: "server"; readonly url: URL };

/**
 * Finds out which place the flags name; else the SQLite file or the cluster that the environment names.
 *
 * @throws {ConfigError} Several are named, or a flag is not valid. The message says what to do.
 */
export function choosePlace(flags: PlaceFlags, environment: Environment): PlaceChoice {
  const given = [flags.server && "--server", flags.store && "--store", flags.apiServer && "--api-server"]
    .filter((name) => name);
  if (given.length > 1) throw new ConfigError(`${given.join(" and ")} exclude each other: give one of them`);
  if (flags.server) return { kind: "server", url: serverUrl(flags.server) };
  const isElsewhere = flags.apiServer !== undefined || flags.kubeconfig !== undefined;
  const text = flags.store ?? (isElsewhere ? undefined : environment[variableOf("store")] || undefined);
  const choice = text === undefined ? undefined : storeChoice.parse(text);
  if (text !== undefined && (choice === undefined || choice.kind === "memory")) {
    throw new ConfigError(
      `--store must be kubernetes or sqlite:PATH: it is ${
        JSON.stringify(text)
      }; for a server that keeps its locks in ` +
        "memory, give --server URL",
    );
  }
  return choice?.kind === "sqlite" ? { kind: "sqlite", path: choice.path } : { kind: "cluster" };
}

/**
 * Opens the place that the flags name; else the SQLite file or the cluster that the environment names.
 *
 * @param connection Overrides options of the connection to the API server.
 * @throws {ConfigError} None is named, several are, or the one cannot be used. The message says what to do.
 */
export async function openPlace(
  flags: PlaceFlags,
  environment: Environment,
  connection: Partial<ConnectOptions> = {},
): Promise<Place> {
  const choice = choosePlace(flags, environment);
  switch (choice.kind) {
    case "server":
      return { ...choice, ...nothingToClose };
    case "sqlite":
      return await openFile(choice.path);
    case "cluster":
      return await openCluster(flags, environment, connection);
  }
}

/** Refuses a place whose locks cannot be written. @throws {ConfigError} It is one. */
export function requireStore(place: Place): StorePlace {
  if (place.kind !== "server") return place as StorePlace;
  throw new ConfigError(
    "a server takes no orders from commands: leave out --server, and run the command with a kubeconfig, in the " +
      "server's pod, or with --store sqlite:PATH",
  );
}

/** The connection to the cluster of a place; undefined where there is none. */
export function clusterOf(place: StorePlace): KubernetesClient | undefined {
  return place.kind === "cluster" ? place.client : undefined;
}

const nothingToClose: AsyncDisposable = { [Symbol.asyncDispose]: () => Promise.resolve() };

async function openFile(path: string): Promise<Place> {
  // Opening it would create it, and an empty store looks like a fleet at rest.
  const found = await Deno.stat(path).catch(() => undefined);
  if (!found?.isFile) throw new ConfigError(`there is no file ${path}: give the path that the server has in --store`);
  const store = await openStore({ kind: "sqlite", path }, undefined);
  return { kind: "sqlite", path, store, [Symbol.asyncDispose]: () => store[Symbol.asyncDispose]() };
}

async function openCluster(
  flags: PlaceFlags,
  environment: Environment,
  connection: Partial<ConnectOptions>,
): Promise<Place> {
  let namespace = checkNamespace(flags.namespace, "--namespace") ?? checkNamespace(environment.NAMESPACE, "NAMESPACE");
  const isInPod = !flags.apiServer && !flags.kubeconfig && !environment.KUBECONFIG &&
    Boolean(environment.KUBERNETES_SERVICE_HOST);
  const kubeconfig = flags.kubeconfig || environment.KUBECONFIG ||
    (isInPod ? undefined : await ownKubeconfig(environment));
  if (!flags.apiServer && !isInPod && !kubeconfig) {
    throw new ConfigError(
      "no cluster and no file found: set KUBECONFIG, give --api-server URL of kubectl proxy, --store sqlite:PATH, or " +
        "--server URL of one server",
    );
  }
  if (!flags.apiServer && kubeconfig !== undefined) namespace ??= await namespaceOfContext(kubeconfig);
  const client = await connectKubernetes({
    ...(flags.apiServer ? { apiServer: flags.apiServer } : { kubeconfig }),
    namespace,
    serviceHost: environment.KUBERNETES_SERVICE_HOST,
    servicePort: environment.KUBERNETES_SERVICE_PORT,
    ...connection,
  });
  const store = await openStore({ kind: "kubernetes" }, client);
  return {
    kind: "cluster",
    client,
    store,
    isInPod,
    async [Symbol.asyncDispose]() {
      await store[Symbol.asyncDispose]();
      await client[Symbol.asyncDispose]();
    },
  };
}

/**
 * Checks the name of a namespace.
 *
 * @param source What an error names.
 * @returns Undefined where none is given.
 * @throws {ConfigError} It is not a name of a namespace.
 */
function checkNamespace(name: string | undefined, source: string): string | undefined {
  if (!name || namespaceName.parse(name) !== undefined) return name || undefined;
  throw new ConfigError(`${source} must be ${namespaceName.expected}: it is ${JSON.stringify(name)}`);
}

/**
 * Gets the namespace in which kubectl works where none is given.
 *
 * @param path See {@link readKubeconfig}.
 */
async function namespaceOfContext(path: string): Promise<string | undefined> {
  // In a pod, no kubeconfig and no parser of YAML is needed.
  const { readKubeconfig } = await import("../kubernetes/kubeconfig_files.ts");
  const { namespace } = await readKubeconfig(path);
  return checkNamespace(namespace, `the namespace of the current context of the kubeconfig ${path}`);
}

/** The kubeconfig that kubectl uses where nothing else is said. */
async function ownKubeconfig({ HOME: home }: Environment): Promise<string | undefined> {
  if (!home) return undefined;
  const path = `${home}/.kube/config`;
  return await Deno.stat(path).then(({ isFile }) => isFile ? path : undefined).catch(() => undefined);
}

/**
 * Reads the URL of a server.
 *
 * @throws {ConfigError} It is not an http or https URL.
 */
export function serverUrl(text: string): URL {
  const url = URL.parse(text);
  if (url === null || !/^https?:$/.test(url.protocol) || url.search !== "" || url.hash !== "") {
    throw new ConfigError(
      `The URL of a server must look like http://10.3.0.15 or https://host/path: it is ${JSON.stringify(text)}`,
    );
  }
  url.pathname = url.pathname.replace(/\/+$/, "");
  return url;
}
