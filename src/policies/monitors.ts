/**
 * Asks Prometheus and Alertmanager what speaks against a reboot. Requests that
 * come together share one question, and an answer is kept for some seconds, so
 * that no poll costs one. It knows no rule.
 *
 * @see https://prometheus.io/docs/prometheus/latest/querying/api/#instant-queries
 * @see https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml
 * @module
 */

import type { Clock } from "../lock/clock.ts";
import type { AlertmanagerHealth, PrometheusHealth } from "./options.ts";
import type { Alarm, Gathered } from "./snapshot.ts";

/** Where an answer comes from. */
export type Monitor = PrometheusHealth | AlertmanagerHealth;

/** Options of {@link Monitors}. */
export interface MonitorsOptions {
  /** Measures how old an answer is. */
  readonly clock: Pick<Clock, "monotonic">;
  /** How long an answer is kept, in milliseconds. @default {10_000} */
  readonly keptMs?: number;
  /** The time limit of a question, in milliseconds. @default {5_000} */
  readonly timeoutMs?: number;
}

/** How many alarms are kept of an answer. A sentence names fewer. */
const MAX_ALARMS = 20;

/** The longest answer that is read, in bytes. */
const MAX_BYTES = 4 * 1024 * 1024;

/** What is known of one monitor. */
interface Known {
  readonly answer: Gathered<readonly Alarm[]>;
  readonly until: number;
}

/** See the module. */
export class Monitors {
  readonly #options: Required<MonitorsOptions>;
  /** By the monitor's options, which a new configuration file replaces. */
  readonly #known = new WeakMap<Monitor, Known>();
  readonly #running = new WeakMap<Monitor, Promise<Gathered<readonly Alarm[]>>>();

  /** Makes one that has asked nobody yet. */
  constructor(options: MonitorsOptions) {
    this.#options = { keptMs: 10_000, timeoutMs: 5_000, ...options };
  }

  /** What a monitor said within the last seconds; `not_asked` where nobody asked it. It makes no calls. */
  known(monitor: Monitor | undefined): Gathered<readonly Alarm[]> {
    const known = monitor && this.#known.get(monitor);
    if (known === undefined || this.#options.clock.monotonic() >= known.until) return { kind: "not_asked" };
    return known.answer;
  }

  /** Asks a monitor, or takes what it said within the last seconds. Does not throw. */
  ask(monitor: Monitor | undefined): Promise<Gathered<readonly Alarm[]>> {
    const known = this.known(monitor);
    if (monitor === undefined || known.kind !== "not_asked") return Promise.resolve(known);
    let running = this.#running.get(monitor);
    if (running === undefined) {
      running = this.#ask(monitor).finally(() => this.#running.delete(monitor));
      this.#running.set(monitor, running);
    }
    return running;
  }

  async #ask(monitor: Monitor): Promise<Gathered<readonly Alarm[]>> {
    // An answer is as old as its question.
    const until = this.#options.clock.monotonic() + this.#options.keptMs;
    let answer: Gathered<readonly Alarm[]>;
    try {
      const value = await alarmsOf(monitor, AbortSignal.timeout(this.#options.timeoutMs));
      answer = { kind: "known", value: value.slice(0, MAX_ALARMS) };
    } catch (error) {
      answer = { kind: "failed", reason: describeFailure(error) };
    }
    this.#known.set(monitor, { answer, until });
    return answer;
  }
}

/** A monitor answered, but not what it should. The message is a sentence for the operator. */
class AnswerError extends Error {
  override readonly name = "AnswerError";
}

async function alarmsOf(monitor: Monitor, signal: AbortSignal): Promise<Alarm[]> {
  using access = await openAccess(monitor, signal);
  if ("alerts" in monitor) {
    // Alertmanager matches in linear time. A regular expression of ours could take for ever on a name from elsewhere.
    const filter = `alertname=~"${monitor.alerts.replaceAll(/["\\]/g, "\\$&")}"`;
    const state = { active: "true", silenced: "false", inhibited: "false", unprocessed: "false" };
    return readAlerts(await access.get(`api/v2/alerts?${new URLSearchParams({ ...state, filter })}`));
  }
  const answers = monitor.queries.map(async ({ name, expr }) => {
    return readSeries(name, await access.get(`api/v1/query?${new URLSearchParams({ query: expr })}`));
  });
  return (await Promise.all(answers)).flat();
}

/** Fetches JSON from one monitor. */
interface Access extends Disposable {
  /** Fetches a path under the monitor's URL. */
  get(path: string): Promise<unknown>;
}

/** Reads the files that a monitor names, which may be replaced at any time. */
async function openAccess({ url, tokenFile, caFile }: Monitor, signal: AbortSignal): Promise<Access> {
  const token = tokenFile === undefined ? undefined : (await readFile(tokenFile, signal)).trim();
  const client = caFile === undefined
    ? undefined
    : Deno.createHttpClient({ caCerts: [await readFile(caFile, signal)] });
  const headers = new Headers({ accept: "application/json" });
  if (token !== undefined) headers.set("authorization", `Bearer ${token}`);
  const base = url.endsWith("/") ? url : `${url}/`;
  return {
    async get(path) {
      const response = await fetch(new URL(path, base), { headers, signal, client, redirect: "manual" });
      const text = await readText(response);
      const answer = parseJson(text);
      // A Prometheus says with a status of 4xx or 5xx what is wrong with a query.
      if (!response.ok && (answer as { status?: unknown } | null | undefined)?.status !== "error") {
        throw new AnswerError(`it answered with status ${response.status}`);
      }
      if (answer === undefined) throw new AnswerError("its answer is not JSON");
      return answer;
    },
    [Symbol.dispose]: () => client?.close(),
  };
}

/** @returns Undefined where the text is not JSON. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

async function readFile(path: string, signal: AbortSignal): Promise<string> {
  try {
    return await Deno.readTextFile(path, { signal });
  } catch (error) {
    throw new AnswerError(`the file ${path} cannot be read`, { cause: error });
  }
}

/** Reads the body of an answer, which somebody else may have sent. */
async function readText(response: Response): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.byteLength;
    if (bytes > MAX_BYTES) throw new AnswerError(`its answer is longer than ${MAX_BYTES} bytes`);
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

/** Reads the answer to an instant query: each series of its vector speaks against a reboot. */
function readSeries(name: string, answer: unknown): Alarm[] {
  const { status, error, data } = (answer ?? {}) as { status?: unknown; error?: unknown; data?: unknown };
  if (status === "error") throw new AnswerError(`the query ${name} failed: ${String(error)}`);
  const { resultType, result } = (data ?? {}) as { resultType?: unknown; result?: unknown };
  if (status !== "success" || !Array.isArray(result)) throw new AnswerError("its answer is not that of a Prometheus");
  if (resultType !== "vector") {
    throw new AnswerError(`the query ${name} must give a vector, such as "x > 5": it gives a ${String(resultType)}`);
  }
  return result.map((series: { metric?: unknown; value?: unknown } | null) => {
    const value = Array.isArray(series?.value) ? String(series.value[1]) : "?";
    return { name, detail: [describeLabels(series?.metric), value].filter((part) => part !== "").join(" ") };
  });
}

/** Reads a list of alerts: each that is active speaks against a reboot. */
function readAlerts(answer: unknown): Alarm[] {
  if (!Array.isArray(answer)) throw new AnswerError("its answer is not that of an Alertmanager");
  return answer.flatMap((alert: { labels?: Record<string, unknown>; status?: { state?: unknown } } | null) => {
    const name = alert?.labels?.alertname;
    if (typeof name !== "string") throw new AnswerError("its answer is not that of an Alertmanager");
    if (alert!.status?.state !== "active") return [];
    const { alertname: _, ...labels } = alert!.labels!;
    return [{ name, detail: describeLabels(labels) || "active" }];
  });
}

function describeLabels(labels: unknown): string {
  if (typeof labels !== "object" || labels === null) return "";
  return Object.entries(labels).map(([label, value]) => `${label}=${String(value)}`).join(",");
}

/** Says why a monitor gave no answer, without its address, which may hold a password. */
function describeFailure(error: unknown): string {
  if (error instanceof AnswerError) return error.message;
  if (error instanceof DOMException && error.name === "TimeoutError") return "it did not answer in time";
  return "it cannot be reached";
}
