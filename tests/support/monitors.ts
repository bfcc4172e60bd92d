/**
 * Starts a real Prometheus and a real Alertmanager, from Debian's packages of these names.
 *
 * @module
 */

import { until } from "./condition.ts";

/** Why no monitors can be started here; undefined if they can. */
export const MONITORS_LACK: string | undefined = lack();

/** A running monitor. */
export interface RunningMonitor extends AsyncDisposable {
  /** Its base URL. */
  readonly url: string;
}

/** A value that a Prometheus scrapes five times a second. */
export interface Gauge extends AsyncDisposable {
  /** Where it is served. */
  readonly target: string;
  /** The value. */
  value: number;
}

/** Serves a gauge of a name. */
export function serveGauge(name: string): Gauge {
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    () => new Response(`${name} ${gauge.value}\n`),
  );
  const gauge: Gauge = {
    target: `127.0.0.1:${server.addr.port}`,
    value: 0,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
  return gauge;
}

/**
 * Starts a Prometheus that scrapes a target, and waits until it answers.
 *
 * @param more Other parts of its configuration.
 */
export async function startPrometheus(
  folder: string,
  target: string,
  more: Record<string, unknown> = {},
): Promise<RunningMonitor> {
  const path = `${folder}/prometheus.yml`;
  const job = {
    job_name: "test",
    scrape_interval: "200ms",
    scrape_timeout: "200ms",
    static_configs: [{ targets: [target] }],
  };
  await Deno.writeTextFile(path, JSON.stringify({ scrape_configs: [job], ...more }));
  return await start("prometheus", (port) => [
    `--config.file=${path}`,
    `--storage.tsdb.path=${folder}/prometheus`,
    `--web.listen-address=127.0.0.1:${port}`,
  ]);
}

/** Starts an Alertmanager that tells nobody, and waits until it answers. */
export async function startAlertmanager(folder: string): Promise<RunningMonitor> {
  const path = `${folder}/alertmanager.yml`;
  await Deno.writeTextFile(path, JSON.stringify({ route: { receiver: "nobody" }, receivers: [{ name: "nobody" }] }));
  return await start("prometheus-alertmanager", (port) => [
    `--config.file=${path}`,
    `--storage.path=${folder}/alertmanager`,
    `--web.listen-address=127.0.0.1:${port}`,
    "--cluster.listen-address=",
  ]);
}

async function start(command: string, args: (port: number) => string[]): Promise<RunningMonitor> {
  const { port } = freePort();
  const process = new Deno.Command(command, { args: args(port), stdin: "null", stdout: "null", stderr: "null" })
    .spawn();
  const url = `http://127.0.0.1:${port}`;
  const stop = async () => {
    try {
      process.kill("SIGKILL");
    } catch (error) {
      // It has already ended.
      if (!(error instanceof TypeError)) throw error;
    }
    await process.status;
  };
  try {
    await until(() => isReady(url), { timeoutMs: 60_000, what: `${command} is ready` });
  } catch (error) {
    await stop();
    throw error;
  }
  return { url, [Symbol.asyncDispose]: stop };
}

async function isReady(url: string): Promise<boolean> {
  try {
    const reply = await fetch(`${url}/-/ready`);
    await reply.body?.cancel();
    return reply.ok;
  } catch {
    return false;
  }
}

function freePort(): { readonly port: number } {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return { port: listener.addr.port };
}

function lack(): string | undefined {
  const missing = ["prometheus", "prometheus-alertmanager"].filter((name) => !isInstalled(name));
  return missing.length === 0 ? undefined : `not installed: ${missing.join(", ")}`;
}

function isInstalled(command: string): boolean {
  return (Deno.env.get("PATH") ?? "").split(":").some((folder) => {
    try {
      return Deno.statSync(`${folder}/${command}`).isFile;
    } catch {
      return false;
    }
  });
}
