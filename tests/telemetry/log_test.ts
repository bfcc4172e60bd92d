/**
 * How records become lines, and how lines are written.
 *
 * @module
 */

import { deepEqual, doesNotThrow, equal, match, ok } from "node:assert/strict";
import { getLogger } from "@logtape/logtape";
import fc from "fast-check";
import {
  configureLogging,
  formatJson,
  formatText,
  type LoggingOptions,
  type LogOutput,
  type LogRecord,
  parseLogLevel,
} from "../../src/telemetry/log.ts";
import { UNPRINTABLE } from "../../src/lock/wording.ts";
import { FakeClock } from "../support/fake_clock.ts";

/** Keeps what is written to it, some bytes at a time. */
class Output implements LogOutput {
  text = "";
  /** How many bytes one write takes. */
  most = 7;
  readonly #decoder = new TextDecoder();

  write(bytes: Uint8Array): Promise<number> {
    return Promise.resolve(this.writeSync(bytes));
  }

  writeSync(bytes: Uint8Array): number {
    const some = bytes.subarray(0, this.most);
    this.text += this.#decoder.decode(some, { stream: true });
    return some.length;
  }

  get lines(): string[] {
    return this.text.split("\n").slice(0, -1);
  }
}

async function logged(options: Partial<LoggingOptions>, log: () => void): Promise<Output> {
  const output = new Output();
  {
    await using _logging = await configureLogging({ level: "info", format: "json", output, ...options });
    log();
  }
  return output;
}

const record = (properties: Record<string, unknown>, message = "it happened"): LogRecord => ({
  level: "info",
  message: [message],
  rawMessage: message,
  timestamp: Date.UTC(2026, 10, 22, 22, 0, 0, 123),
  properties,
});

Deno.test("levels are parsed in any case, including the Go program's names", () => {
  const names = ["trace", "debug", "info", "warn", "warning", "error", "fatal", "panic"];
  const levels = ["trace", "debug", "info", "warning", "warning", "error", "fatal", "fatal"];
  deepEqual(names.map(parseLogLevel), levels);
  deepEqual(names.map((name) => parseLogLevel(name.toUpperCase())), levels);
  for (const raw of ["", " info", "verbose", "7", "constructor", "__proto__"]) {
    equal(parseLogLevel(raw), undefined);
  }
});

Deno.test("a record is one line of JSON: time, level, constant message, fields", async () => {
  const output = await logged({}, () => {
    getLogger(["fleetlock", "x"]).info("reboot slot granted", { id: "ä\n", group: "default", duration_ms: 1.5 });
  });
  equal(output.lines.length, 1);
  const { time, ...rest } = JSON.parse(output.lines[0]!);
  match(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  deepEqual(rest, {
    level: "info",
    message: "reboot slot granted",
    id: "ä\n",
    group: "default",
    duration_ms: 1.5,
  });
});

Deno.test("records below the level are not written; all others are, in order", async () => {
  const output = await logged({ level: "warning" }, () => {
    const logger = getLogger("fleetlock");
    logger.info("no");
    for (let n = 0; n < 100; n++) logger.warning("yes", { n });
    logger.error("also");
  });
  const lines = output.lines.map((line) => JSON.parse(line));
  deepEqual(lines.map((line) => line.n), [...Array(100).keys(), undefined]);
  equal(lines.at(-1).message, "also");
});

Deno.test("an error shows its name, message and causes, and its stack only at debug level", () => {
  const error = new TypeError("outer", { cause: new Error("inner", { cause: "root" }) });
  deepEqual(JSON.parse(formatJson(record({ error }), false)).error, {
    name: "TypeError",
    message: "outer",
    cause: { name: "Error", message: "inner", cause: "root" },
  });
  match(JSON.parse(formatJson(record({ error }), true)).error.stack, /log_test\.ts/);
});

Deno.test("fields that JSON cannot represent, or that contain themselves, are formatted without an error", () => {
  const cycle: Record<string, unknown> = { name: "cycle" };
  cycle.self = cycle;
  const error = new Error("cycle");
  error.cause = error;
  const fields = {
    cycle,
    error,
    bigint: 1n,
    nan: NaN,
    symbol: Symbol("s"),
    fn: () => {},
    undef: undefined,
    nothing: null,
    date: new Date(NaN),
    map: new Map([["a", 1n]]),
    set: new Set([1]),
    bytes: new Uint8Array(3),
    get hostile(): unknown {
      throw new Error("no");
    },
  };
  const line = JSON.parse(formatJson(record(fields), false));
  equal(line.bigint, "1");
  equal(line.nan, "NaN");
  deepEqual(line.map, { a: "1" });
  equal(line.bytes, "(3 bytes)");
  equal(line.hostile, "(unreadable)");
  equal(line.cycle.name, "cycle");
  doesNotThrow(() => formatText(record(fields), true));
});

Deno.test("fields do not replace time, level or message", () => {
  const line = JSON.parse(formatJson(record({ time: 1, level: 2, message: 3 }), false));
  deepEqual(line, {
    time: "2026-11-22T22:00:00.123Z",
    level: "info",
    message: "it happened",
    time_: 1,
    level_: 2,
    message_: 3,
  });
});

Deno.test("a record is one line, whatever its fields", () => {
  fc.assert(fc.property(fc.dictionary(fc.string(), fc.anything({ withBigInt: true, withDate: true })), (fields) => {
    const json = formatJson(record(fields), true);
    ok(!json.includes("\n") && !formatText(record(fields), true).includes("\n"));
    return typeof JSON.parse(json) === "object";
  }));
});

Deno.test("the text format quotes values with spaces or control characters", () => {
  const fields = { id: "a1", group: "default", value: "two words", evil: "\u001b[31m\n", n: 1, none: undefined };
  equal(
    formatText(record(fields), false),
    '2026-11-22T22:00:00.123Z INFO    it happened id=a1 group=default value="two words" evil="\\u001b[31m\\n" n=1',
  );
});

Deno.test("characters that mislead whoever reads a line are escaped in both formats, and JSON keeps their meaning", () => {
  const evil = "a\x1b\x7f\x9b\u202e\u2067\u200f\u061c\u2028b";
  const properties = { [`name${evil}`]: evil, nested: [{ evil }], error: new Error(evil) };
  for (const format of [formatJson, formatText]) {
    const line = format(record(properties, `message${evil}`), true);
    equal(line.search(UNPRINTABLE), -1, JSON.stringify(line));
  }
  const line = JSON.parse(formatJson(record(properties, `message${evil}`), false));
  deepEqual([line[`name${evil}`], line.nested, line.error.message, line.message], [
    evil,
    [{ evil }],
    evil,
    `message${evil}`,
  ]);
});

Deno.test("if nobody reads the lines, those beyond a limit are dropped and counted", async () => {
  const gate = Promise.withResolvers<void>();
  const output = new Output();
  output.most = Infinity;
  const slow: LogOutput = {
    write: async (bytes) => {
      await gate.promise;
      return output.writeSync(bytes);
    },
    writeSync: (bytes) => output.writeSync(bytes),
  };
  await logged({ output: slow }, () => {
    for (let n = 0; n < 3_000; n++) getLogger("fleetlock").info("x".repeat(1_000));
    gate.resolve();
  });
  const lines = output.lines.map((line) => JSON.parse(line));
  const dropped = lines.find((line) => line.message.startsWith("log lines were dropped"));
  ok(dropped.lines > 1_000);
  equal(lines.length - 1 + dropped.lines, 3_000);
});

Deno.test("the end of the logging waits half a second for a reader that has stopped reading", async () => {
  const gate = Promise.withResolvers<number>();
  const clock = new FakeClock();
  const output = { write: () => gate.promise, writeSync: () => 1 };
  const logging = await configureLogging({ level: "info", format: "json", output, clock });
  getLogger("fleetlock").info("unread");
  // Lets the write begin.
  await clock.advance(0);
  let isEnded = false;
  const ending = logging[Symbol.asyncDispose]().then(() => isEnded = true);
  await clock.advance(0);
  for (let ms = 0; ms < 450; ms += 50) await clock.advance(50);
  equal(isEnded, false);
  await clock.advance(50);
  equal(isEnded, true);
  await ending;
  gate.resolve(1_000);
});

Deno.test("a process that was paused loses no line if somebody reads them", async () => {
  const output = new Output();
  output.most = Infinity;
  const slow: LogOutput = {
    write: (bytes) => new Promise((resolve) => setTimeout(() => resolve(output.writeSync(bytes)), 0)),
    writeSync: (bytes) => output.writeSync(bytes),
  };
  {
    await using _logging = await configureLogging({ level: "info", format: "json", output: slow });
    getLogger("fleetlock").info("first");
    // The first write is under way.
    await undefined;
    await undefined;
    for (const start = performance.now(); performance.now() - start < 700;);
    getLogger("fleetlock").info("second");
  }
  deepEqual(output.lines.map((line) => JSON.parse(line).message), ["first", "second"]);
});

Deno.test("an output that fails does not make logging fail", async () => {
  const broken: LogOutput = {
    write: () => Promise.reject(new Deno.errors.BrokenPipe()),
    writeSync: () => {
      throw new Deno.errors.BrokenPipe();
    },
  };
  await logged({ output: broken }, () => getLogger("fleetlock").info("into the void"));
});
