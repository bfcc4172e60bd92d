/**
 * The FleetLock protocol's client for programs other than Zincati: takes a slot
 * and gives it back. It follows no redirects, and only a 2xx from the protocol's
 * own endpoint is a yes.
 *
 * @see https://coreos.github.io/zincati/development/fleetlock/protocol/
 * @module
 */

import { zincatiId } from "../keeper/nodes/zincati_id.ts";
import { type Clock, systemClock } from "../lock/clock.ts";
import { type ClientId, type Group, parseClientId } from "../lock/identity.ts";
import { printable } from "../lock/wording.ts";
import { describeFault, requestTo } from "./request.ts";

/** What a request to the server came to. */
export type ProtocolOutcome =
  /** The server said yes: the slot is held, or given back. */
  | { readonly kind: "done"; readonly text: string }
  /** It said "not now", or could not be reached. The same request may succeed later. */
  | { readonly kind: "later"; readonly sentence: string }
  /** The request or the server's address is wrong. The same request would fail again. */
  | { readonly kind: "fault"; readonly sentence: string };

/** A request of the protocol. */
export interface ProtocolRequest {
  /** The server's URL. It may have a path, a user and a password. */
  readonly server: URL;
  /** The endpoint. */
  readonly endpoint: "pre-reboot" | "steady-state";
  /** The client's id. */
  readonly id: ClientId;
  /** The client's group. */
  readonly group: Group;
  /** How long to go on asking, in milliseconds; 0 to ask once. */
  readonly waitMs: number;
  /** Told of each answer before the next try. */
  readonly onRefusal?: (sentence: string) => void;
  /** Ends it early, with the signal's reason. */
  readonly signal: AbortSignal;
  /** Time. @default {systemClock} */
  readonly clock?: Clock;
}

/** How long one request may take, in milliseconds. The server's reply may wait for a drain. */
const REQUEST_MS = 10 * 60_000;

/** How much of an answer is read, in characters. */
const MAX_ANSWER = 65_536;

/** The pause between two tries, in milliseconds. */
const PAUSE_MS = 10_000;

/** The longest pause that a server may ask for, in milliseconds. */
const LONGEST_PAUSE_MS = 5 * 60_000;

/** The statuses below 500 after which the same request may succeed later. */
const LATER = new Set([408, 423, 425, 429]);

/** Asks until the answer is a yes or a fault, or the time is up. It asks once at least. */
export async function askProtocol(request: ProtocolRequest): Promise<ProtocolOutcome> {
  const { waitMs, onRefusal, signal, clock = systemClock } = request;
  const end = clock.monotonic() + waitMs;
  while (true) {
    const { outcome, retryAfterMs } = await askOnce(request);
    if (outcome.kind !== "later") return outcome;
    const left = end - clock.monotonic();
    if (left <= 0) return outcome;
    onRefusal?.(outcome.sentence);
    await clock.sleep(Math.min(left, retryAfterMs ?? PAUSE_MS), signal);
  }
}

async function askOnce(
  { server, endpoint, id, group, signal }: ProtocolRequest,
): Promise<{ outcome: ProtocolOutcome; retryAfterMs?: number }> {
  const { url, headers } = requestTo(server, `/v1/${endpoint}`);
  try {
    const response = await fetch(url, {
      method: "POST",
      headers: { ...headers, "fleet-lock-protocol": "true" },
      body: JSON.stringify({ client_params: { id, group } }),
      redirect: "manual",
      signal: AbortSignal.any([signal, AbortSignal.timeout(REQUEST_MS)]),
    });
    const text = (await readStart(response)).trim();
    const seconds = Number(response.headers.get("retry-after") || NaN);
    const retryAfterMs = seconds >= 0 ? Math.min(seconds * 1_000, LONGEST_PAUSE_MS) : undefined;
    const isPage = response.headers.get("content-type")?.startsWith("text/html") === true;
    return { outcome: outcomeOf(response.status, text, isPage), retryAfterMs };
  } catch (error) {
    signal.throwIfAborted();
    return { outcome: { kind: "later", sentence: `cannot reach ${server.host}: ${describeFault(error)}` } };
  }
}

/** Reads the beginning of an answer, which somebody else may have sent and which may never end. */
async function readStart(response: Response): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of response.body ?? []) {
    text += decoder.decode(chunk, { stream: true });
    if (text.length > MAX_ANSWER) break;
  }
  return text;
}

/** @param isPage Whether the answer is a web page, such as that of a login, which no FleetLock server sends. */
function outcomeOf(status: number, text: string, isPage: boolean): ProtocolOutcome {
  if (status >= 200 && status < 300) {
    if (isPage) return { kind: "fault", sentence: "the answer is a web page and not that of a FleetLock server" };
    return { kind: "done", text: printable(text, 500) };
  }
  const sentence = sentenceOf(status, text);
  if (status >= 500 || LATER.has(status)) return { kind: "later", sentence };
  if (status < 400) {
    return { kind: "fault", sentence: `${sentence}, but a redirect, which is never followed` };
  }
  return { kind: "fault", sentence };
}

function sentenceOf(status: number, text: string): string {
  try {
    const { kind, value } = JSON.parse(text) as { kind?: unknown; value?: unknown };
    if (typeof kind === "string" && typeof value === "string") {
      return `${printable(value, 1_500)} (${printable(kind, 64)})`;
    }
  } catch {
    // It is not the protocol's error.
  }
  return `the answer has status ${status} and is not that of a FleetLock server`;
}

/** Where the machine's id is. */
export const MACHINE_ID_FILE = "/etc/machine-id";

/**
 * Derives this host's id as Zincati does.
 *
 * @param path The file with the machine-id.
 * @returns The id, or why there is none.
 */
export async function ownId(path: string = MACHINE_ID_FILE): Promise<ClientId | { readonly problem: string }> {
  const text = await Deno.readTextFile(path).catch(() => undefined);
  if (text === undefined) return { problem: `${path} cannot be read: give this host's id with --id` };
  const id = parseClientId(zincatiId(text.trim()));
  return id ?? { problem: `${path} has no machine-id: give this host's id with --id` };
}
