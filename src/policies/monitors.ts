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
import { parseJson } from "../lock/json.ts";
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
  /** Is told of each failure that differs from the one before of the same monitor. Hosts are not shown its detail. */
  readonly onFailure?: (failure: MonitorFailure) => void;
  /** Is told of each question that failed. */
  readonly onFailedQuestion?: (monitor: MonitorFailure["monitor"], onError: Monitor["onError"]) => void;
}

/** Why a monitor cannot be relied on, for the operator. */
export interface MonitorFailure {
  /** Which one it is. */
  readonly monitor: "Prometheus" | "Alertmanager";
  /** What hosts are told, a sentence without a full stop. */
  readonly reason: string;
  /** What is known beyond that, such as the monitor's own words. It may name addresses, paths and queries. */
  readonly detail?: string;
}

/** How many alarms are kept of an answer. A sentence names fewer. */
const MAX_ALARMS = 20;

/** The longest answer that is read, in bytes. */
const MAX_BYTES = 4 * 1024 * 1024;

/** How much of a failure's detail is kept, in characters. */
const MAX_DETAIL = 1_000;

/** What is known of one monitor. */
interface Known {
  readonly answer: Gathered<readonly Alarm[]>;
  readonly until: number;
}

/** What asking a monitor came to. Alarms count, whatever else failed. */
interface Asked {
  readonly alarms: readonly Alarm[];
  /** What failed, the first of it. */
  readonly error?: unknown;
}

/** See the module. */
export class Monitors {
  readonly #options: Required<MonitorsOptions>;
  /** By the monitor's options, which a new configuration file replaces. */
  readonly #known = new WeakMap<Monitor, Known>();
  readonly #running = new WeakMap<Monitor, Promise<Gathered<readonly Alarm[]>>>();
  /** The failure that was told last; none after an answer without one. */
  readonly #told = new WeakMap<Monitor, MonitorFailure>();

  /** Makes one that has asked nobody yet. */
  constructor(options: MonitorsOptions) {
    this.#options = { keptMs: 10_000, timeoutMs: 5_000, onFailure() {}, onFailedQuestion() {}, ...options };
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

  /** Why the last question to a monitor failed; undefined where it did not. It makes no calls. */
  failureOf(monitor: Monitor | undefined): string | undefined {
    return monitor && this.#told.get(monitor)?.reason;
  }

  async #ask(monitor: Monitor): Promise<Gathered<readonly Alarm[]>> {
    // An answer is as old as its question.
    const until = this.#options.clock.monotonic() + this.#options.keptMs;
    const { alarms, error } = await askAll(monitor, AbortSignal.timeout(this.#options.timeoutMs));
    const failure = error === undefined ? undefined : failureOf(monitor, error);
    this.#tell(monitor, failure);
    if (failure !== undefined) this.#options.onFailedQuestion(failure.monitor, monitor.onError);
    // An alarm speaks against a reboot, whatever another query would have said.
    const answer: Gathered<readonly Alarm[]> = failure === undefined || alarms.length > 0
      ? { kind: "known", value: alarms.slice(0, MAX_ALARMS) }
      : { kind: "failed", reason: failure.reason };
    this.#known.set(monitor, { answer, until });
    return answer;
  }

  #tell(monitor: Monitor, failure: MonitorFailure | undefined): void {
    const told = this.#told.get(monitor);
    if (failure === undefined) this.#told.delete(monitor);
    else if (told?.reason !== failure.reason || told.detail !== failure.detail) {
      this.#told.set(monitor, failure);
      this.#options.onFailure(failure);
    }
  }
}

/**
 * A monitor answered, but not what it should. The message is shown to hosts: it names no address, no path and nothing
 * that the monitor has written.
 */
class AnswerError extends Error {
  override readonly name = "AnswerError";

  /** Says what hosts and, with `detail`, what operators are told. */
  constructor(message: string, readonly detail?: string) {
    super(message);
  }
}

/** Asks everything that a monitor is to be asked. Does not throw. */
async function askAll(monitor: Monitor, signal: AbortSignal): Promise<Asked> {
  try {
    using access = await openAccess(monitor, signal);
    const answers = await Promise.allSettled(questionsOf(monitor, access));
    const failed = answers.find((answer) => answer.status === "rejected");
    const alarms = answers.flatMap((answer) => answer.status === "fulfilled" ? answer.value : []);
    return failed === undefined ? { alarms } : { alarms, error: failed.reason ?? new Error("it failed") };
  } catch (error) {
    return { alarms: [], error };
  }
}

function questionsOf(monitor: Monitor, access: Access): Promise<Alarm[]>[] {
  if ("alerts" in monitor) return [askAlerts(monitor, access)];
  return monitor.queries.map(async ({ name, expr }) => {
    return readSeries(name, await access.get(`api/v1/query?${new URLSearchParams({ query: expr })}`));
  });
}

async function askAlerts({ alerts }: AlertmanagerHealth, access: Access): Promise<Alarm[]> {
  // Alertmanager matches in linear time. A regular expression of ours could take for ever on a name from elsewhere.
  const filter = `alertname=~"${alerts.replaceAll(/["\\]/g, "\\$&")}"`;
  const state = { active: "true", silenced: "false", inhibited: "false", unprocessed: "false" };
  return readAlerts(await access.get(`api/v2/alerts?${new URLSearchParams({ ...state, filter })}`));
}

/** Fetches JSON from one monitor. */
interface Access extends Disposable {
  /** Fetches a path under the monitor's URL. */
  get(path: string): Promise<unknown>;
}

/** Reads the files that a monitor names, which may be replaced at any time. */
async function openAccess({ url, tokenFile, caFile }: Monitor, signal: AbortSignal): Promise<Access> {
  const token = tokenFile === undefined ? undefined : (await readFile("token", tokenFile, signal)).trim();
  const client = caFile === undefined ? undefined : trusting(await readFile("CA", caFile, signal), caFile);
  const headers = new Headers({ accept: "application/json" });
  if (token !== undefined) headers.set("authorization", `Bearer ${token}`);
  const base = url.endsWith("/") ? url : `${url}/`;
  return {
    async get(path) {
      const response = await fetch(new URL(path, base), { headers, signal, client, redirect: "manual" });
      const text = await readText(response);
      // What somebody answers may quote what we sent, and parts of it are logged.
      const answer = parseJson(token ? text.replaceAll(token, "TOKEN") : text);
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

async function readFile(what: string, path: string, signal: AbortSignal): Promise<string> {
  try {
    return await Deno.readTextFile(path, { signal });
  } catch (error) {
    signal.throwIfAborted();
    throw new AnswerError(`the server cannot read its ${what} file`, `${path}: ${messageOf(error)}`);
  }
}

function trusting(certificates: string, path: string): Deno.HttpClient {
  try {
    return Deno.createHttpClient({ caCerts: [certificates] });
  } catch (error) {
    throw new AnswerError("the server cannot use its CA file", `${path}: ${messageOf(error)}`);
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

/** The types of a result, as the API names them. */
const RESULT_TYPES: readonly unknown[] = ["scalar", "string", "matrix", "vector"];

/** Reads the answer to an instant query: each series of its vector speaks against a reboot. */
function readSeries(name: string, answer: unknown): Alarm[] {
  const { status, error, data, warnings } = (answer ?? {}) as Record<string, unknown>;
  if (status === "error") throw new AnswerError(`it did not answer the query ${name}`, String(error));
  const { resultType, result } = (data ?? {}) as { resultType?: unknown; result?: unknown };
  if (status !== "success" || !Array.isArray(result)) throw new AnswerError("its answer is not that of a Prometheus");
  if (resultType !== "vector") {
    const gives = RESULT_TYPES.includes(resultType) ? `a ${resultType}` : "something else";
    throw new AnswerError(`the query ${name} must give a vector, such as "x > 5": it gives ${gives}`);
  }
  const missing = result.length === 0 ? warningsOf(warnings) : [];
  if (missing.length > 0) throw new AnswerError(`its answer to the query ${name} is incomplete`, missing.join("; "));
  return result.map((series: { metric?: unknown; value?: unknown } | null) => {
    const value = Array.isArray(series?.value) ? String(series.value[1]) : "?";
    return { name, detail: [describeLabels(series?.metric), value].filter((part) => part !== "").join(" ") };
  });
}

/**
 * The warnings of an answer that tell that data may be missing: a store of a Thanos or a remote Prometheus did not
 * answer, for example, so that an empty result does not mean that all is well. Notes about the style of a query do not,
 * which come as `infos`, and from Prometheus 2.48 to 2.53 as warnings that begin with `PromQL info:`.
 */
function warningsOf(warnings: unknown): string[] {
  if (warnings === undefined || warnings === null) return [];
  const all = Array.isArray(warnings) ? warnings.map(String) : [String(warnings)];
  return all.filter((warning) => !warning.startsWith("PromQL info:"));
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

function failureOf(monitor: Monitor, error: unknown): MonitorFailure {
  const { reason, detail } = describeFailure(error);
  // An address may hold a password.
  const shown = detail?.replaceAll(/\/\/[^/@\s]*@/g, "//").slice(0, MAX_DETAIL);
  return { monitor: "alerts" in monitor ? "Alertmanager" : "Prometheus", reason, ...(shown && { detail: shown }) };
}

function describeFailure(error: unknown): { readonly reason: string; readonly detail?: string } {
  if (error instanceof AnswerError) return { reason: error.message, detail: error.detail };
  if (error instanceof DOMException && error.name === "TimeoutError") return { reason: "it did not answer in time" };
  return { reason: "it cannot be reached", detail: messageOf(error) };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
