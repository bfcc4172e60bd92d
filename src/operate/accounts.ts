/**
 * Gets the accounts of the running replicas: from each pod through the API
 * server's proxy, from pod to pod inside the cluster, or from one server's URL.
 * What they answer is checked before anybody shows it. It merges nothing.
 *
 * @module
 */

import { describeFault, requestTo } from "./request.ts";
import type { KubernetesClient } from "../kubernetes/client.ts";
import { readPages } from "../kubernetes/list_pages.ts";
import { printable } from "../lock/wording.ts";
import { type Account, ACCOUNT_VERSION } from "../status/account.ts";

/** What one replica answered. */
export interface ReplicaAnswer {
  /** The name of its pod, or its URL. */
  readonly replica: string;
  /** Its account; undefined where it gave none. */
  readonly account?: Account;
  /** Why it gave none, a sentence without a full stop. */
  readonly problem?: string;
}

/** How replicas are found and asked. */
export interface AskOptions {
  /** The label selector of the replicas' pods. */
  readonly selector: string;
  /** The port on which they listen. */
  readonly port: number;
  /** Whether to ask the pods directly, as from a pod of the same cluster. */
  readonly isInPod: boolean;
  /** Ends the questions early. */
  readonly signal?: AbortSignal;
}

/** How long a replica may take to answer, in milliseconds. */
const ANSWER_MS = 5_000;

/** The largest account that is read, in characters. */
const MAX_ACCOUNT = 8_000_000;

/** The longest text in an account that is shown, in characters. A server's own sentences are shorter. */
const MAX_TEXT = 2_000;

/** The part of a pod that is needed to ask it. */
interface Pod {
  readonly name: string;
  readonly ip?: string;
}

/**
 * Asks every replica whose pod runs (list pods; get pods/proxy, except inside the cluster).
 *
 * @returns One answer a pod, by name. Empty where there is no such pod.
 * @throws {UnavailableError} The pods could not be listed.
 */
export async function askReplicas(client: KubernetesClient, options: AskOptions): Promise<ReplicaAnswer[]> {
  const { selector, port, isInPod, signal } = options;
  const path = `/api/v1/namespaces/${encodeURIComponent(client.namespace)}/pods`;
  const pages = await readPages(client, { path, limit: 50, query: { labelSelector: selector } }, runningPod, signal);
  const pods = pages.items.toSorted((one, other) => one.name < other.name ? -1 : 1);
  return await Promise.all(pods.map(async ({ name, ip }): Promise<ReplicaAnswer> => {
    if (isInPod && ip !== undefined) {
      const host = ip.includes(":") ? `[${ip}]` : ip;
      return { ...await askServer(new URL(`http://${host}:${port}`), signal), replica: name };
    }
    try {
      const proxy = `${path}/${encodeURIComponent(name)}:${port}/proxy/status.json`;
      return { replica: name, ...parseAccount((await client.get(proxy, signal)).text) };
    } catch (error) {
      signal?.throwIfAborted();
      return { replica: name, problem: describeFault(error) };
    }
  }));
}

/** Asks one server. A fault is part of its answer. @throws The signal's reason, when it aborts. */
export async function askServer(server: URL, signal?: AbortSignal): Promise<ReplicaAnswer> {
  const { url, headers } = requestTo(server, "/status.json");
  const replica = server.host;
  try {
    const deadline = AbortSignal.timeout(ANSWER_MS);
    const response = await fetch(url, {
      headers,
      redirect: "manual",
      signal: signal === undefined ? deadline : AbortSignal.any([signal, deadline]),
    });
    const text = await readText(response);
    if (response.ok) return { replica, ...parseAccount(text) };
    const why = response.status === 404 ? "it does not show its state (its --status-page may be off)" : undefined;
    return { replica, problem: why ?? `it answered with status ${response.status}` };
  } catch (error) {
    signal?.throwIfAborted();
    return { replica, problem: describeFault(error) };
  }
}

function runningPod(object: unknown): Pod | undefined {
  const { metadata, status } = object as {
    metadata?: { name?: string; deletionTimestamp?: string };
    status?: { phase?: string; podIP?: string };
  };
  if (status?.phase !== "Running" || metadata?.name === undefined) return undefined;
  return { name: metadata.name, ...(status.podIP && { ip: status.podIP }) };
}

/**
 * Reads an account.
 *
 * @returns The account, or why it is none.
 */
export function parseAccount(text: string): Pick<ReplicaAnswer, "account" | "problem"> {
  let parsed: unknown;
  try {
    parsed = text.length <= MAX_ACCOUNT ? JSON.parse(text, harmless) : undefined;
  } catch {
    parsed = undefined;
  }
  if (!isRecord(parsed) || typeof parsed.version !== "number") {
    return { problem: "what it answered is not the state of a fleetlock server" };
  }
  if (parsed.version !== ACCOUNT_VERSION) {
    return {
      problem: `its state has version ${parsed.version}, and this program reads ${ACCOUNT_VERSION}: use its own`,
    };
  }
  return isAccount(parsed) ? { account: parsed as unknown as Account } : { problem: "its state is not whole" };
}

type Check = (value: unknown) => boolean;

const isText: Check = (value) => typeof value === "string";
const isNumber: Check = (value) => typeof value === "number";
const isFlag: Check = (value) => typeof value === "boolean";
const optional = (check: Check): Check => (value) => value === undefined || check(value);
const listOf = (check: Check): Check => (value) => Array.isArray(value) && value.every(check);
/** An object whose named members pass their checks. It may have others, of a later version. */
const shape = (members: Readonly<Record<string, Check>>): Check => {
  const checks = Object.entries(members);
  return (value) => isRecord(value) && checks.every(([name, check]) => check(value[name]));
};

const CLIENT = { id: isText, hash: isText, node: optional(isText) };

/** What the commands read of an account. A server is not trusted to send one that is whole. */
const isAccount = shape({
  replica: isText,
  program: isText,
  at: isTime,
  isInStep: isFlag,
  areNodesInStep: optional(isFlag),
  config: optional(shape({ hash: isText, error: optional(isText) })),
  groups: listOf(shape({
    name: isText,
    slots: isNumber,
    transitions: isNumber,
    holders: listOf(shape({
      ...CLIENT,
      since: isTime,
      stage: isText,
      stageSince: optional(isTime),
      isStuck: isFlag,
      pods: optional(listOf(shape({ pod: isText, reason: isText }))),
      lastPoll: optional(isTime),
    })),
    blocks: listOf(shape({ kind: isText, rule: optional(isText), sentence: isText, until: optional(isTime) })),
    unasked: listOf(isText),
    passedOver: optional(listOf(shape({ rule: isText, reason: isText }))),
    nextOpening: optional(isTime),
    pause: optional(shape({ reason: optional(isText), by: optional(isText), until: optional(isTime) })),
    deferred: listOf(shape({ ...CLIENT, until: isTime, pods: listOf(isText) })),
    waiting: listOf(shape({ ...CLIENT, at: isTime, since: isTime, kind: isText, sentence: isText })),
    waitingMore: isNumber,
    turns: listOf(shape({ ...CLIENT, granted: isTime, released: isTime, isSameImage: optional(isFlag) })),
  })),
});

function isTime(value: unknown): boolean {
  return typeof value === "string" && !Number.isNaN(Date.parse(value));
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Makes a text from a server safe for a terminal. */
function harmless(_name: string, value: unknown): unknown {
  return typeof value === "string" ? printable(value.replaceAll("\n", "; "), MAX_TEXT) : value;
}

/** Reads a body, and no more of it than an account may have. */
async function readText(response: Response): Promise<string> {
  let text = "";
  for await (const chunk of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
    text += chunk;
    if (text.length > MAX_ACCOUNT) break;
  }
  return text;
}
