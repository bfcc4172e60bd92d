/**
 * Where log records go and how a line looks. It owns the process's LogTape
 * configuration. What is logged is up to the code that logs.
 *
 * Each record becomes one line on stderr, and the code that logs never waits for
 * the write. With OpenTelemetry (`OTEL_DENO=true`), Deno itself exports a span and
 * the usual metrics of each request that `Deno.serve` serves and each request that
 * `fetch` makes. Of logs it exports what is written by `console` (and prints it
 * too, unless `OTEL_DENO_CONSOLE` says otherwise). So with the option `console`,
 * each line is written by the `console` method of its level, which puts the levels
 * below warning on stdout instead of stderr.
 *
 * @module
 */

import { configure, reset, type Sink } from "@logtape/logtape";
import { type Clock, systemClock } from "../lock/clock.ts";
import { within } from "../lock/within.ts";
import { UNPRINTABLE } from "../lock/wording.ts";

/** The severity of a record, lowest first. */
export type LogLevel = "trace" | "debug" | "info" | "warning" | "error" | "fatal";

/** JSON for machines, one object per line, or text for people. */
export type LogFormat = "json" | "text";

/** Options of {@link configureLogging}. */
export interface LoggingOptions {
  /** The minimum level to log. */
  readonly level: LogLevel;
  /** The format of a line. */
  readonly format: LogFormat;
  /** Whether to write by `console`, so that Deno's OpenTelemetry exports the lines. @default {false} */
  readonly console?: boolean;
  /** Where the lines go if not to `console`. @default {Deno.stderr} */
  readonly output?: LogOutput;
  /** Measures how long a write takes. @default {systemClock} */
  readonly clock?: Clock;
}

/** The part of LogTape's record that a line is made of. */
export interface LogRecord {
  /** The severity. */
  readonly level: LogLevel;
  /** The message in parts, for a message that was not a plain string. */
  readonly message: readonly unknown[];
  /** The message as it was logged. */
  readonly rawMessage: string | TemplateStringsArray;
  /** When it was logged, in milliseconds since the epoch. */
  readonly timestamp: number;
  /** The fields. */
  readonly properties: Readonly<Record<string, unknown>>;
}

/** A file that takes lines. */
export interface LogOutput {
  /** Writes some of the bytes and returns how many. */
  write(bytes: Uint8Array): Promise<number>;
  /** Does the same synchronously. */
  writeSync(bytes: Uint8Array): number;
}

const LEVELS: Readonly<Record<string, LogLevel>> = Object.freeze(Object.assign(Object.create(null), {
  trace: "trace",
  debug: "debug",
  info: "info",
  warn: "warning",
  warning: "warning",
  error: "error",
  fatal: "fatal",
  panic: "fatal",
}));

/**
 * Parses the name of a level, in any case: trace, debug, info, warning, error,
 * and the other names that the Go program accepts: warn, fatal and panic.
 *
 * @returns undefined if it is not the name of a level.
 */
export function parseLogLevel(raw: string): LogLevel | undefined {
  return LEVELS[raw.toLowerCase()];
}

/**
 * Configures the logging of the whole process, and replaces any earlier
 * configuration.
 *
 * @returns Dispose of it to end the logging. The disposal waits until every line is written, unless nobody reads them.
 */
export async function configureLogging(options: LoggingOptions): Promise<AsyncDisposable> {
  const format = options.format === "json" ? formatJson : formatText;
  const stacks = options.level === "trace" || options.level === "debug";
  const lines = new LineWriter(options.output ?? Deno.stderr, options.clock ?? systemClock);
  const sink: Sink = options.console
    ? (record) => CONSOLE[record.level](format(record, stacks))
    : (record) => lines.write(format(record, stacks));
  await configure({
    reset: true,
    sinks: { output: sink },
    loggers: [
      { category: [], sinks: ["output"], lowestLevel: options.level },
      { category: ["logtape", "meta"], lowestLevel: "warning" },
    ],
  });
  const flush = () => lines.flushSync();
  // A process that Deno.exit or an uncaught error ends must still write its last lines.
  globalThis.addEventListener("unload", flush);
  return {
    async [Symbol.asyncDispose](): Promise<void> {
      await reset();
      globalThis.removeEventListener("unload", flush);
      await lines.flush();
    },
  };
}

const CONSOLE: Readonly<Record<LogLevel, (line: string) => void>> = {
  trace: (line) => console.debug(line),
  debug: (line) => console.debug(line),
  info: (line) => console.info(line),
  warning: (line) => console.warn(line),
  error: (line) => console.error(line),
  fatal: (line) => console.error(line),
};

/** How many characters may wait to be written. */
const MAX_WAITING = 1 << 20;

/** The largest write, in bytes: the usual capacity of a pipe. */
const MAX_WRITE = 1 << 16;

/** If a write takes this long, in milliseconds, nobody reads the output any more. */
const UNREAD_MS = 500;

/** Writes lines in order and in the background. Lines that come during a write go together into the next one. */
class LineWriter {
  readonly #output: LogOutput;
  readonly #clock: Clock;
  readonly #encoder = new TextEncoder();
  #waiting = "";
  #dropped = 0;
  /** The bytes of the current write, and when it began ({@link Clock.monotonic}). */
  #unwritten: { readonly bytes: Uint8Array; readonly since: number } | undefined;
  #writing: Promise<void> | undefined;

  constructor(output: LogOutput, clock: Clock) {
    this.#output = output;
    this.#clock = clock;
  }

  /** Takes a line. If too much is waiting already, drops the line and reports that later. */
  write(line: string): void {
    if (this.#waiting.length > MAX_WAITING) {
      this.#dropped++;
      return;
    }
    this.#waiting += line + "\n";
    this.#writing ??= this.#writeWaiting();
  }

  /** Waits until every line is written, or nobody reads them. */
  async flush(): Promise<void> {
    while (this.#writing !== undefined) {
      await within(UNREAD_MS / 10, this.#writing, this.#clock);
      // The check comes after the wait: a process that was paused learns only then that the write has ended.
      if (this.#isUnread) return;
    }
  }

  /**
   * Writes all waiting lines synchronously, before the process ends. A line may then appear twice, but none is lost.
   * If nobody reads the output, it writes nothing, because the write would never end.
   */
  flushSync(): void {
    if (this.#isUnread) return;
    try {
      let rest = this.#unwritten?.bytes ?? new Uint8Array();
      while (rest.length > 0) rest = rest.subarray(this.#output.writeSync(rest));
      rest = this.#encoder.encode(this.#waiting);
      this.#waiting = "";
      while (rest.length > 0) rest = rest.subarray(this.#output.writeSync(rest));
    } catch {
      // There is nowhere left to report it.
    }
  }

  /** Whether the current write shows that nobody reads the output. */
  get #isUnread(): boolean {
    return this.#unwritten !== undefined && this.#clock.monotonic() - this.#unwritten.since >= UNREAD_MS;
  }

  async #writeWaiting(): Promise<void> {
    // Collects all lines that are logged in this turn.
    await undefined;
    try {
      while (this.#waiting !== "") {
        let rest = this.#encoder.encode(this.#waiting);
        this.#waiting = "";
        while (rest.length > 0) {
          this.#unwritten = { bytes: rest, since: this.#clock.monotonic() };
          rest = rest.subarray(await this.#output.write(rest.subarray(0, MAX_WRITE)));
        }
        this.#unwritten = undefined;
        if (this.#dropped > 0) {
          this.#waiting = formatJson(droppedRecord(this.#dropped, this.#clock.now()), false) + "\n" + this.#waiting;
          this.#dropped = 0;
        }
      }
    } catch {
      // Without stderr there is nowhere to report it, and the server must go on without its log.
      this.#waiting = "";
      this.#unwritten = undefined;
    } finally {
      this.#writing = undefined;
    }
  }
}

function droppedRecord(lines: number, timestamp: number): LogRecord {
  const message = "log lines were dropped: nobody read them in time";
  return {
    level: "warning",
    message: [message],
    rawMessage: message,
    timestamp,
    properties: { lines },
  };
}

const RESERVED: ReadonlySet<string> = new Set(["time", "level", "message"]);

/**
 * Formats a record as a line of JSON: `time` (RFC 3339), `level`, `message` and
 * the record's fields. A field that has one of those names gets a trailing `_`.
 * Characters that a terminal would not show as themselves are escaped. Never
 * throws, whatever the fields are.
 *
 * @param stacks Whether to include the stacks of errors.
 */
export function formatJson(record: LogRecord, stacks: boolean): string {
  const line: Record<string, unknown> = { time: timeOf(record), level: record.level, message: messageOf(record) };
  for (const name of Object.keys(record.properties)) {
    line[RESERVED.has(name) ? `${name}_` : name] = field(record, name, stacks);
  }
  return jsonOf(line);
}

/** Formats a record as a line of text for people: time, level, message, and the fields as `name=value`. */
export function formatText(record: LogRecord, stacks: boolean): string {
  let line = `${timeOf(record)} ${record.level.toUpperCase().padEnd(7)} ${oneLine(messageOf(record))}`;
  for (const name of Object.keys(record.properties)) {
    const value = field(record, name, stacks);
    if (value === undefined) continue;
    const text = typeof value === "string" && /^[\w.,:;/@+-]+$/.test(value) ? value : jsonOf(value);
    line += ` ${oneLine(name)}=${text}`;
  }
  return line;
}

function timeOf(record: LogRecord): string {
  return new Date(record.timestamp).toISOString();
}

function messageOf(record: LogRecord): string {
  if (typeof record.rawMessage === "string") return record.rawMessage;
  return record.message.map((part) => typeof part === "string" ? part : JSON.stringify(plain(part, false))).join("");
}

function oneLine(text: string): string {
  return text.replace(UNPRINTABLE, " ");
}

/** JSON needs no escape for some characters that mislead whoever reads the line; they get one all the same. */
function jsonOf(value: unknown): string {
  return JSON.stringify(value).replace(
    UNPRINTABLE,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

function field(record: LogRecord, name: string, stacks: boolean): unknown {
  try {
    return plain(record.properties[name], stacks);
  } catch {
    return "(unreadable)";
  }
}

/** How many levels of a field are shown. */
const MAX_DEPTH = 6;

/** Turns any value into one that JSON can represent. Cuts off cycles and everything that is nested too deeply. */
function plain(value: unknown, stacks: boolean, depth = 0): unknown {
  switch (typeof value) {
    case "bigint":
    case "symbol":
      return String(value);
    case "function":
      return `(function ${value.name})`;
    case "number":
      return Number.isFinite(value) ? value : String(value);
    case "object":
      break;
    default:
      return value;
  }
  if (value === null) return null;
  if (depth >= MAX_DEPTH) return "(…)";
  const inner = (each: unknown) => plain(each, stacks, depth + 1);
  if (value instanceof Error) {
    return {
      name: value.name,
      message: value.message,
      ...(value.cause !== undefined && { cause: inner(value.cause) }),
      ...(value instanceof AggregateError && { errors: value.errors.slice(0, 5).map(inner) }),
      ...(stacks && { stack: value.stack }),
    };
  }
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? "Invalid Date" : value.toISOString();
  if (value instanceof Map) return inner(Object.fromEntries(value));
  if (Array.isArray(value) || value instanceof Set) return [...value].slice(0, 100).map(inner);
  if (ArrayBuffer.isView(value)) return `(${value.byteLength} bytes)`;
  return Object.fromEntries(Object.keys(value).map((name) => [name, inner((value as Record<string, unknown>)[name])]));
}
