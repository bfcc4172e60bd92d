/**
 * One request and its reply: each kind of answer is counted, logged and remembered once, with how long it took. @module
 */

import { deepEqual, equal } from "node:assert/strict";
import { Exchange, type ExchangeOptions, type Level } from "../../src/http/exchange.ts";
import { CallRefusedError, UnavailableError } from "../../src/lock/errors.ts";
import { parseClientId, parseGroup } from "../../src/lock/identity.ts";
import { refused } from "../../src/lock/outcomes.ts";
import type { Endpoint } from "../../src/telemetry/metrics.ts";
import { FakeClock } from "../support/fake_clock.ts";

const group = parseGroup("workers")!;
const [alice, bob] = [parseClientId("alice")!, parseClientId("bob")!];
const NOW = Date.UTC(2026, 0, 1);

/** A request, and all that is told of it. */
function setUp(endpoint: Endpoint, { isLogged = true } = {}) {
  const clock = new FakeClock(NOW);
  const told: unknown[][] = [];
  const log = (level: Level) => (message: string, fields: Record<string, unknown>) =>
    void told.push(["log", level, message, fields]);
  const options: ExchangeOptions = {
    metrics: { requestDone: (...done) => void told.push(["counted", ...done]) },
    logger: {
      isEnabledFor(level) {
        told.push(["asked", level]);
        return isLogged;
      },
      trace: log("trace"),
      debug: log("debug"),
      info: log("info"),
      warning: log("warning"),
      error: log("error"),
    },
    memory: {
      refused: (...event) => void told.push(["refused", ...event]),
      served: (...event) => void told.push(["served", ...event]),
    },
  };
  const exchange = new Exchange(options, clock, endpoint);
  return { clock, told, exchange };
}

/** How long each request takes, in milliseconds. */
const TOOK_MS = 1_230.4;
const unavailable = new UnavailableError("secret", { retryAfterMs: 1_200, publicMessage: "the store is away" });
const silent = new UnavailableError("secret");
const callRefused = new CallRefusedError("secret", "the webhook says no");
const fault = new TypeError("secret");
const held = refused({ kind: "lock_held", holders: [{ id: bob, since: NOW }], slots: 1 });
const contended = refused({ kind: "contended" });
const heldSince = (since: number) => ({ kind: "released", holder: { id: alice, since } }) as const;

/** An answer, and what is told of it. */
interface Answer {
  readonly what: string;
  readonly endpoint?: Endpoint;
  readonly make: (exchange: Exchange) => Response;
  readonly status: number;
  readonly kind: string;
  readonly level: Level;
  readonly message: string;
  /** What the log record has besides the request. */
  readonly fields?: Record<string, unknown>;
  readonly retryAfter?: string;
  readonly allow?: string;
  readonly memory?: unknown[];
}

const outcome = (of: Parameters<Exchange["outcome"]>[0]) => (exchange: Exchange) =>
  exchange.outcome(of, alice, group, false);
const AT_END = NOW + TOOK_MS;
const served = ["served", group, alice, AT_END];

const ANSWERS: Answer[] = [
  ...(["granted", "renewed"] as const).map((kind): Answer => ({
    what: kind,
    make: outcome({ kind, holder: { id: alice, since: NOW } }),
    status: 200,
    kind,
    level: "info",
    message: "reboot slot granted",
    fields: { holder: alice },
    memory: served,
  })),
  ...([[NOW - 90_000, 91], [NOW + 90_000, 0], [NaN, 0], [AT_END, 0]] as const).map(([since, seconds]): Answer => ({
    what: `released after ${seconds} s`,
    endpoint: "steady-state",
    make: outcome(heldSince(since)),
    status: 200,
    kind: "released",
    level: "info",
    message: "reboot slot released",
    fields: { held_seconds: seconds },
    memory: served,
  })),
  {
    what: "nothing to release",
    endpoint: "steady-state",
    make: outcome({ kind: "not_held" }),
    status: 200,
    kind: "not_held",
    level: "debug",
    message: "no reboot slot to release",
    memory: served,
  },
  {
    what: "others hold the slots",
    make: outcome(held),
    status: 423,
    kind: "lock_held",
    level: "debug",
    message: "request refused",
    fields: { holder: bob },
    memory: ["refused", group, alice, held.refusal, AT_END],
  },
  {
    what: "another refusal",
    make: outcome(contended),
    status: 423,
    kind: "contended",
    level: "debug",
    message: "request refused",
    memory: ["refused", group, alice, contended.refusal, AT_END],
  },
  {
    what: "a request that is wrong",
    make: (exchange) => exchange.error("invalid_id", "no"),
    status: 400,
    kind: "invalid_id",
    level: "debug",
    message: "request refused",
  },
  {
    what: "a method that the path does not have",
    endpoint: "other",
    make: (exchange) => exchange.methodNotAllowed("GET, HEAD"),
    status: 405,
    kind: "method_not_allowed",
    level: "debug",
    message: "request refused",
    allow: "GET, HEAD",
  },
  {
    what: "too many streams",
    endpoint: "other",
    make: (exchange) => exchange.tooManyStreams(),
    status: 503,
    kind: "too_many_streams",
    level: "debug",
    message: "request refused",
    retryAfter: "60",
  },
  ...([[0, "1"], [1, "1"], [1_000, "1"], [1_001, "2"], [3_600_000, "3600"]] as const).map((
    [ms, retryAfter],
  ): Answer => ({
    what: `unavailable for ${ms} ms`,
    make: (exchange) => exchange.unavailable("no", ms, "trace"),
    status: 503,
    kind: "store_unavailable",
    level: "trace",
    message: "the store does not answer",
    retryAfter,
  })),
  ...([[unavailable, "2"], [silent, "5"]] as const).map(([error, retryAfter]): Answer => ({
    what: "a store that does not answer",
    make: (exchange) => exchange.fault(error),
    status: 503,
    kind: "store_unavailable",
    level: "warning",
    message: "the store does not answer",
    fields: { error },
    retryAfter,
  })),
  {
    what: "a call that is refused",
    make: (exchange) => exchange.fault(callRefused),
    status: 423,
    kind: "api_refused",
    level: "warning",
    message: "the API server refuses a call",
    fields: { error: callRefused },
  },
  {
    what: "a call that is refused for a page",
    endpoint: "other",
    make: (exchange) => exchange.fault(callRefused),
    status: 503,
    kind: "store_unavailable",
    level: "warning",
    message: "the store does not answer",
    fields: { error: callRefused },
    retryAfter: "5",
  },
  {
    what: "a fault of the program",
    make: (exchange) => exchange.fault(fault),
    status: 500,
    kind: "internal_error",
    level: "error",
    message: "internal error",
    fields: { error: fault },
  },
];

for (const { what, endpoint = "pre-reboot", make, status, kind, level, message, ...answer } of ANSWERS) {
  Deno.test(`an answer is counted, logged and remembered once: ${what}`, async () => {
    for (const isKnown of [false, true]) {
      const { clock, told, exchange } = setUp(endpoint);
      if (isKnown) exchange.client = { id: alice, group };
      await clock.advance(TOOK_MS);
      const reply = make(exchange);
      await reply.body?.cancel();
      equal(reply.status, status);
      equal(reply.headers.get("retry-after"), answer.retryAfter ?? null);
      equal(reply.headers.get("allow"), answer.allow ?? null);
      const [seconds, ms] = (told.find(([event]) => event === "counted") ?? []).slice(-1).concat(
        (told.find(([event]) => event === "log")?.[3] as Record<string, unknown>).duration_ms,
      ) as number[];
      equal(Math.round(seconds! * 1e6), 1_230_400);
      equal(ms, 1_230.4);
      const fields = {
        endpoint,
        ...(isKnown && { id: alice, group }),
        ...answer.fields,
        outcome: kind,
        duration_ms: ms,
      };
      const events = [["counted", endpoint, kind, seconds], ["asked", level], ["log", level, message, fields]];
      const byName = (events: unknown[][]) => events.toSorted(([one], [other]) => String(one) < String(other) ? -1 : 1);
      deepEqual(byName(told), byName(answer.memory === undefined ? events : [...events, answer.memory]));
    }
  });
}

Deno.test("a request whose level is off is counted all the same", async () => {
  const { told, exchange, clock } = setUp("other", { isLogged: false });
  await clock.advance(5);
  exchange.done("ok");
  deepEqual(told, [["counted", "other", "ok", 0.005], ["asked", "trace"]]);
});

Deno.test("a duration is logged to the microsecond", () => {
  const { told, exchange, clock } = setUp("other");
  const began = clock.monotonic();
  clock.monotonic = () => began + 0.7506;
  exchange.done("ok");
  deepEqual((told.at(-1)![3] as Record<string, unknown>).duration_ms, 0.751);
});

Deno.test("nobody needs to remember the answers", async () => {
  const { clock } = setUp("pre-reboot");
  const options = { metrics: { requestDone() {} }, logger: { isEnabledFor: () => false } as never };
  for (const outcome of [held, { kind: "granted" as const, holder: { id: alice, since: NOW } }]) {
    const reply = new Exchange(options, clock, "pre-reboot").outcome(outcome, alice, group, false);
    await reply.body?.cancel();
    equal(reply.ok, outcome !== held);
  }
});
