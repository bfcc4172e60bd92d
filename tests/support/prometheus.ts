/**
 * Prometheus and promtool for the tests of the alerts, and the rules in the form
 * that both read.
 *
 * @module
 */

import { load } from "js-yaml";
import { until } from "./condition.ts";

/** The path of Prometheus; undefined where Debian's package `prometheus` is not installed. */
export const PROMETHEUS: string | undefined = installed("prometheus");

/** The path of promtool, which is in the same package. */
export const PROMTOOL: string | undefined = installed("promtool");

/** Stands after the name of a test that needs either of them, and says why it is skipped. */
export const SKIPPED: string = PROMETHEUS === undefined || PROMTOOL === undefined
  ? " (skipped: the package prometheus is not installed)"
  : "";

/** The folder of the manifests. */
export const MONITORING: URL = new URL("../../examples/monitoring/", import.meta.url);

/** One alert. */
export interface AlertRule {
  readonly alert: string;
  expr: string;
  for?: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: { readonly summary: string; readonly description: string };
}

/** What a rule file holds. */
export interface RuleFile {
  readonly groups: readonly { readonly name: string; readonly rules: readonly AlertRule[] }[];
}

/** An alert that fires, as Prometheus tells it. */
export interface FiringAlert {
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly state: "pending" | "firing";
}

/** A running Prometheus. */
export interface Prometheus extends AsyncDisposable {
  /** The alerts that are pending or firing now. */
  alerts(): Promise<FiringAlert[]>;
  /** The value of a query that returns one series; undefined where it returns none. */
  query(expr: string): Promise<number | undefined>;
}

/** Reads the rules of the manifest. */
export async function readRules(): Promise<RuleFile> {
  const manifest = load(await Deno.readTextFile(new URL("prometheus-rule.yaml", MONITORING)));
  return (manifest as { spec: RuleFile }).spec;
}

/** Runs promtool in a folder. */
export async function promtool(folder: string, ...args: string[]): Promise<{ success: boolean; output: string }> {
  const { success, stdout, stderr } = await new Deno.Command(PROMTOOL!, { args, cwd: folder }).output();
  const text = new TextDecoder();
  return { success, output: text.decode(stdout) + text.decode(stderr) };
}

/**
 * Starts Prometheus and waits until it answers.
 *
 * @param scrapes The part `scrape_configs` of its configuration.
 * @param rules The rules that it evaluates once a second.
 */
export async function startPrometheus(scrapes: readonly unknown[], rules: RuleFile): Promise<Prometheus> {
  const folder = await Deno.makeTempDir({ prefix: "fleetlock-test-" });
  await Deno.writeTextFile(`${folder}/rules.yaml`, JSON.stringify(rules));
  const config = {
    global: { scrape_interval: "1s", scrape_timeout: "1s", evaluation_interval: "1s" },
    rule_files: ["rules.yaml"],
    scrape_configs: scrapes,
  };
  await Deno.writeTextFile(`${folder}/prometheus.yaml`, JSON.stringify(config));
  const address = freeAddress();
  const process = new Deno.Command(PROMETHEUS!, {
    args: [
      `--config.file=${folder}/prometheus.yaml`,
      `--storage.tsdb.path=${folder}/data`,
      `--web.listen-address=${address}`,
    ],
    stdout: "null",
    stderr: "piped",
  }).spawn();
  let log = "";
  let hasEnded = false;
  const reading = (async () => {
    for await (const chunk of process.stderr.pipeThrough(new TextDecoderStream())) log += chunk;
    hasEnded = true;
  })();
  const stop = async () => {
    if (!hasEnded) process.kill("SIGKILL");
    await Promise.all([process.status, reading]);
    await Deno.remove(folder, { recursive: true });
  };
  const get = async (path: string) => await (await fetch(`http://${address}/api/v1/${path}`)).json();
  try {
    await until(async () => {
      if (hasEnded) throw new Error(`Prometheus has ended:\n${log}`);
      return (await get("rules").catch(() => undefined))?.status === "success";
    }, { timeoutMs: 60_000, what: () => `Prometheus answers:\n${log}` });
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    alerts: async () => (await get("alerts")).data.alerts,
    async query(expr) {
      const { data } = await get(`query?query=${encodeURIComponent(expr)}`);
      return data.result[0] && Number(data.result[0].value[1]);
    },
    [Symbol.asyncDispose]: stop,
  };
}

/** Prometheus does not say which port it was given. */
function freeAddress(): string {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return `127.0.0.1:${listener.addr.port}`;
}

function installed(name: string): string | undefined {
  return (Deno.env.get("PATH") ?? "").split(":").map((folder) => `${folder}/${name}`).find((path) => {
    try {
      return Deno.statSync(path).isFile;
    } catch {
      return false;
    }
  });
}
