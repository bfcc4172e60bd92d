/**
 * A real Kubernetes control plane for one test file: etcd and kube-apiserver
 * from the folder that `KUBEBUILDER_ASSETS` names, on free ports of loopback,
 * with its own folder, certificates and users. Options add the controllers, the
 * scheduler, and kwok, which stands in for the kubelets.
 *
 * Longer than 330 lines because the processes, the users and the API of one control plane share its folder and state.
 *
 * @module
 */

import { generateKeyPairSync } from "node:crypto";
import { existsSync } from "node:fs";
import { createClientAuthority, signClientCertificate } from "./certificates.ts";

/** Which programs to start besides etcd and the API server. */
export interface ControlPlaneOptions {
  /** kube-controller-manager: ReplicaSets, budgets, garbage collection, … @default {false} */
  readonly controllers?: boolean;
  /** kube-scheduler. @default {false} */
  readonly scheduler?: boolean;
  /** kwok, which simulates the kubelet of every node. @default {false} */
  readonly kwok?: boolean;
  /** More flags of the API server. */
  readonly apiServerFlags?: readonly string[];
}

/** A rule of a Role. */
export interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
}

/** The role of the Go program: the rights that reading and writing locks need. */
export const LEASE_RULES: readonly Rule[] = [
  { apiGroups: ["coordination.k8s.io"], resources: ["leases"], verbs: ["get", "create", "update"] },
];

/** The parts, named after their programs. */
export type Part = "etcd" | "kube-apiserver" | "kube-controller-manager" | "kube-scheduler" | "kwok";

const ASSETS = Deno.env.get("KUBEBUILDER_ASSETS");

/** envtest contains only the first two. */
const WHOLE: readonly Part[] = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok"];

/** Explains why parts cannot start; undefined when they can. */
function lacking(parts: readonly Part[]): string | undefined {
  if (!ASSETS) return "KUBEBUILDER_ASSETS is not set";
  const missing = parts.filter((part) => !existsSync(`${ASSETS}/${part}`));
  return missing.length > 0 ? `KUBEBUILDER_ASSETS has no ${missing.join(", ")}` : undefined;
}

/** Options of {@link clusterTest}. */
export interface ClusterTestOptions {
  /** The test starts and stops parts, whose processes the sanitizers would report as leaks. @default {false} */
  readonly restarts?: boolean;
  /** The test needs the controllers, the scheduler and kwok. @default {false} */
  readonly whole?: boolean;
  /** What else the test lacks here, as a sentence; undefined if nothing. */
  readonly lack?: string;
}

/**
 * Defines a test that needs a control plane. Where there is none, the test is
 * skipped and its name says why; if `CI` is "true", it fails instead.
 */
export function clusterTest(name: string, run: () => Promise<void>, options: ClusterTestOptions = {}): void {
  const lack = lacking(options.whole ? WHOLE : WHOLE.slice(0, 2)) ?? options.lack;
  if (lack === undefined) {
    const sanitizers = options.restarts ? { sanitizeOps: false, sanitizeResources: false } : {};
    Deno.test({ name, ...sanitizers, fn: run });
  } else if (Deno.env.get("CI") === "true") {
    Deno.test(name, () => {
      throw new Error(`${lack}: CI skips no test`);
    });
  } else {
    Deno.test({ name: `${name} (skipped: ${lack})`, ignore: true, fn: run });
  }
}

/**
 * Starts a control plane before the first test of a file and stops it after the last one.
 *
 * @returns A function that returns the control plane. Call it only in tests.
 */
export function useControlPlane(options: ControlPlaneOptions = {}): () => ControlPlane {
  let running: ControlPlane | undefined;
  const whole = options.controllers || options.scheduler || options.kwok;
  if (lacking(whole ? WHOLE : WHOLE.slice(0, 2)) === undefined) {
    Deno.test.beforeAll(async () => {
      running = await ControlPlane.start(options);
    });
    Deno.test.afterAll(async () => {
      await running?.stop();
      running = undefined;
    });
  }
  return () => running!;
}

/** A running control plane. */
export class ControlPlane implements AsyncDisposable {
  /** The folder of its files, which is removed at the end. Tests may add files. */
  readonly folder: string;
  /** The API server's port on 127.0.0.1. */
  readonly port: number;
  /** The token of a cluster administrator. */
  readonly adminToken: string = crypto.randomUUID();
  /** The path of an administrator's kubeconfig. */
  readonly kubeconfig: string;
  /** The certificate of the API server's authority, PEM. */
  ca = "";
  /** The URL of etcd, which answers JSON over plain HTTP. */
  etcd = "";
  readonly #processes = new Map<Part, Deno.ChildProcess>();
  readonly #commands = new Map<Part, string[]>();
  #client: Deno.HttpClient | undefined;

  private constructor(folder: string, port: number) {
    this.folder = folder;
    this.port = port;
    this.kubeconfig = `${folder}/admin.kubeconfig`;
  }

  /** The API server's base URL. */
  get server(): string {
    return `https://127.0.0.1:${this.port}`;
  }

  /**
   * Starts the parts and waits until the API server is ready.
   *
   * @throws {Error} The API server is not ready within a minute. The message contains the end of its log.
   */
  static async start(options: ControlPlaneOptions = {}): Promise<ControlPlane> {
    const folder = await Deno.makeTempDir({ prefix: "control-plane-" });
    const [port, etcd, peer] = freePorts(3);
    const plane = new ControlPlane(folder, port!);
    try {
      await plane.#prepare();
      plane.etcd = `http://127.0.0.1:${etcd}`;
      plane.#run("etcd", [
        `--data-dir=${folder}/etcd`,
        `--listen-client-urls=http://127.0.0.1:${etcd}`,
        `--advertise-client-urls=http://127.0.0.1:${etcd}`,
        `--listen-peer-urls=http://127.0.0.1:${peer}`,
        `--initial-advertise-peer-urls=http://127.0.0.1:${peer}`,
        `--initial-cluster=default=http://127.0.0.1:${peer}`,
        "--unsafe-no-fsync",
      ]);
      plane.#run("kube-apiserver", [
        `--etcd-servers=http://127.0.0.1:${etcd}`,
        "--bind-address=127.0.0.1",
        `--secure-port=${port}`,
        `--cert-dir=${folder}/certificates`,
        `--client-ca-file=${folder}/client-ca.crt`,
        `--token-auth-file=${folder}/tokens.csv`,
        `--service-account-key-file=${folder}/service-account.pub`,
        `--service-account-signing-key-file=${folder}/service-account.key`,
        "--service-account-issuer=https://kubernetes.default.svc",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--authorization-mode=RBAC",
        "--disable-admission-plugins=ServiceAccount",
        "--endpoint-reconciler-type=none",
        "--allow-privileged",
        ...options.apiServerFlags ?? [],
      ]);
      await plane.#ready();
      if (options.controllers) {
        plane.#run("kube-controller-manager", [
          `--kubeconfig=${plane.kubeconfig}`,
          "--leader-elect=false",
          "--secure-port=0",
          `--service-account-private-key-file=${folder}/service-account.key`,
          "--use-service-account-credentials=false",
        ]);
      }
      if (options.scheduler) {
        plane.#run("kube-scheduler", [`--kubeconfig=${plane.kubeconfig}`, "--leader-elect=false", "--secure-port=0"]);
      }
      if (options.kwok) {
        plane.#run("kwok", [
          `--kubeconfig=${plane.kubeconfig}`,
          "--manage-all-nodes=true",
          // Without a Lease that is renewed, a node becomes NotReady after 50 s.
          "--node-lease-duration-seconds=40",
          `--config=${ASSETS}/kwok-stages.yaml`,
        ]);
      }
      return plane;
    } catch (error) {
      const log = await plane.log("kube-apiserver");
      await plane.stop();
      throw new Error(`The control plane did not start: ${log.slice(-2000)}`, { cause: error });
    }
  }

  /** Reads the log of a part. */
  async log(part: Part): Promise<string> {
    return await Deno.readTextFile(`${this.folder}/${part}.log`).catch(() => "");
  }

  /** Pauses a part (SIGSTOP). Its connections stay open and silent. */
  pause(part: Part): void {
    this.#processes.get(part)?.kill("SIGSTOP");
  }

  /** Resumes a paused part. */
  resume(part: Part): void {
    this.#processes.get(part)?.kill("SIGCONT");
  }

  /** Kills a part (SIGKILL). */
  async kill(part: Part): Promise<void> {
    const process = this.#processes.get(part);
    if (process === undefined) return;
    this.#processes.delete(part);
    // SIGKILL ends a paused process too.
    try {
      process.kill("SIGKILL");
    } catch (error) {
      // The process has already ended. Its log says why.
      if (!(error instanceof TypeError)) throw error;
    }
    await process.status;
  }

  /**
   * Copies what etcd has stored. etcd stops for that, and the API server waits for it.
   *
   * @returns What puts the copy back and starts the API server again.
   */
  async backUpEtcd(): Promise<() => Promise<void>> {
    const [data, copy] = [`${this.folder}/etcd`, `${this.folder}/etcd-${crypto.randomUUID()}`];
    await this.kill("etcd");
    const { success } = await new Deno.Command("cp", { args: ["-a", data, copy] }).output();
    if (!success) throw new Error("the data of etcd could not be copied");
    this.#run("etcd");
    await this.#ready();
    return async () => {
      await this.stopApiServer();
      await this.kill("etcd");
      await Deno.remove(data, { recursive: true });
      await Deno.rename(copy, data);
      this.#run("etcd");
      await this.startApiServer();
    };
  }

  /** Kills the API server, which refuses connections until {@link startApiServer}. */
  async stopApiServer(): Promise<void> {
    await this.kill("kube-apiserver");
    this.#client?.close();
    this.#client = undefined;
  }

  /** Starts the API server again, on the same port, and waits until it is ready. */
  async startApiServer(): Promise<void> {
    this.#run("kube-apiserver");
    await this.#ready();
  }

  /** Kills the API server and starts it again. */
  async restartApiServer(): Promise<void> {
    await this.stopApiServer();
    await this.startApiServer();
  }

  /**
   * Calls the API as the administrator.
   *
   * @param path Such as `/api/v1/namespaces`.
   * @returns The parsed body if it is JSON, otherwise its text.
   * @throws {Error} The response is an error.
   */
  // deno-lint-ignore no-explicit-any
  async request(method: string, path: string, body?: unknown, type = "application/json"): Promise<any> {
    this.#client ??= Deno.createHttpClient({ caCerts: [this.ca] });
    const response = await fetch(this.server + path, {
      method,
      headers: { authorization: `Bearer ${this.adminToken}`, "content-type": type },
      body: body === undefined ? undefined : JSON.stringify(body),
      client: this.#client,
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return response.headers.get("content-type")?.includes("json") ? JSON.parse(text) : text;
  }

  /**
   * Runs kubectl as the administrator.
   *
   * @returns Its output.
   * @throws {Error} kubectl failed. The message is its error output.
   */
  async kubectl(...args: string[]): Promise<string> {
    const { success, stdout, stderr } = await new Deno.Command("kubectl", {
      args: ["--kubeconfig", this.kubeconfig, ...args],
    }).output();
    if (!success) throw new Error(new TextDecoder().decode(stderr));
    return new TextDecoder().decode(stdout);
  }

  /**
   * Creates a namespace with a unique name.
   *
   * @returns Its name.
   */
  async createNamespace(): Promise<string> {
    const name = `test-${crypto.randomUUID().slice(0, 8)}`;
    await this.request("POST", "/api/v1/namespaces", { metadata: { name } });
    return name;
  }

  /**
   * Creates a service account in a namespace, with a Role of these rules.
   *
   * @returns A token of it, like that of a pod.
   */
  async createUser(
    namespace: string,
    rules: readonly Rule[],
    name = `user-${crypto.randomUUID().slice(0, 8)}`,
  ): Promise<string> {
    const rbac = `/apis/rbac.authorization.k8s.io/v1/namespaces/${namespace}`;
    await this.request("POST", `/api/v1/namespaces/${namespace}/serviceaccounts`, { metadata: { name } });
    await this.request("POST", `${rbac}/roles`, { metadata: { name }, rules });
    await this.request("POST", `${rbac}/rolebindings`, {
      metadata: { name },
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name },
      subjects: [{ kind: "ServiceAccount", name, namespace }],
    });
    return await this.createToken(namespace, name);
  }

  /** Creates another token of a service account. */
  async createToken(namespace: string, name: string): Promise<string> {
    const path = `/api/v1/namespaces/${namespace}/serviceaccounts/${name}/token`;
    return (await this.request("POST", path, { spec: { expirationSeconds: 3600 } })).status.token;
  }

  /**
   * Writes a kubeconfig.
   *
   * @param user The user's entry, such as `{ token }`.
   * @param cluster Changes to the cluster's entry, such as `{ server }`.
   * @returns Its path.
   */
  async writeKubeconfig(user: unknown, cluster: Record<string, unknown> = {}, path?: string): Promise<string> {
    path ??= `${this.folder}/${crypto.randomUUID()}.kubeconfig`;
    const config = {
      apiVersion: "v1",
      kind: "Config",
      clusters: [{
        name: "test",
        cluster: { server: this.server, "certificate-authority-data": btoa(this.ca), ...cluster },
      }],
      users: [{ name: "test", user }],
      contexts: [{ name: "test", context: { cluster: "test", user: "test" } }],
      "current-context": "test",
    };
    await Deno.writeTextFile(path, JSON.stringify(config));
    return path;
  }

  /**
   * Creates a client certificate.
   *
   * @param name The user's name.
   * @param group The user's group, such as "system:masters".
   * @returns The certificate and its key, PEM.
   */
  createCertificate(name: string, group: string): Promise<{ cert: string; key: string }> {
    return signClientCertificate(this.folder, name, group);
  }

  /** Kills all parts and removes the folder. */
  async stop(): Promise<void> {
    this.#client?.close();
    this.#client = undefined;
    for (const part of [...this.#processes.keys()].reverse()) await this.kill(part);
    await Deno.remove(this.folder, { recursive: true }).catch(() => {});
  }

  /** Calls {@link stop}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async #prepare(): Promise<void> {
    const { folder } = this;
    const { publicKey, privateKey } = generateKeyPairSync("rsa", {
      modulusLength: 2048,
      publicKeyEncoding: { type: "spki", format: "pem" },
      privateKeyEncoding: { type: "pkcs8", format: "pem" },
    });
    await Promise.all([
      Deno.writeTextFile(`${folder}/service-account.pub`, publicKey),
      Deno.writeTextFile(`${folder}/service-account.key`, privateKey),
      Deno.writeTextFile(`${folder}/tokens.csv`, `${this.adminToken},admin,admin,"system:masters"\n`),
      createClientAuthority(folder),
    ]);
  }

  #run(part: Part, flags: string[] = this.#commands.get(part)!): void {
    this.#commands.set(part, flags);
    // The shell redirects the output to a file and then becomes the program.
    const script = 'exec "$0" "$@" >>"$LOG" 2>&1';
    const process = new Deno.Command("sh", {
      args: ["-c", script, `${ASSETS}/${part}`, ...flags],
      env: { LOG: `${this.folder}/${part}.log` },
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    this.#processes.set(part, process);
  }

  async #ready(): Promise<void> {
    const deadline = performance.now() + 60_000;
    while (true) {
      try {
        this.ca ||= await this.#readAuthority();
        await this.request("GET", "/readyz");
        // The API server creates the default namespace and the roles shortly after it is ready.
        await this.request("GET", "/api/v1/namespaces/default");
        break;
      } catch (error) {
        if (performance.now() > deadline) throw error;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
    await this.writeKubeconfig({ token: this.adminToken }, {}, this.kubeconfig);
  }

  /**
   * Reads the authority from the file in which the API server stores its own certificate, followed by the authority's.
   */
  async #readAuthority(): Promise<string> {
    const text = await Deno.readTextFile(`${this.folder}/certificates/apiserver.crt`);
    const certificates = text.match(/-----BEGIN CERTIFICATE-----[^]*?-----END CERTIFICATE-----\n?/g) ?? [];
    if (certificates.length < 2) throw new Error("the API server's certificates are not there yet");
    return certificates.at(-1)!;
  }
}

/** Finds different ports that are free now. */
function freePorts(count: number): number[] {
  const listeners = Array.from({ length: count }, () => Deno.listen({ hostname: "127.0.0.1", port: 0 }));
  const ports = listeners.map((listener) => listener.addr.port);
  for (const listener of listeners) listener.close();
  return ports;
}
