/**
 * Where the logs go and what a line looks like. It owns the process's LogTape
 * configuration; what is logged is up to whoever logs.
 *
 * Lines go to stderr, one record each, without waiting for it. With
 * OpenTelemetry (`OTEL_DENO=true`), Deno itself exports a span and the usual
 * metrics of each request served by `Deno.serve` and each made with `fetch`; of
 * logs it exports what is written by `console` (and prints it too, unless
 * `OTEL_DENO_CONSOLE` says otherwise). So with the option `console`, each line is
 * written by the `console` method of its level, which puts those below warning
 * on stdout instead of stderr.
 *
 * @module
 */

import { configure, reset, type Sink } from "@logtape/logtape";

/** How much a record matters, least first. */
export type LogLevel = "trace" | "debug" | "info" | "warning" | "error" | "fatal";

/** JSON for machines, one object a line; text for people. */
export type LogFormat = "json" | "text";

/** Options of {@link configureLogging}. */
export interface LoggingOptions {
  /** The least severe level that is logged. */
  readonly level: LogLevel;
  /** What a line looks like. */
  readonly format: LogFormat;
  /** Writes by `console`, so that Deno's OpenTelemetry exports the lines. @default {false} */
  readonly console?: boolean;
  /** Where the lines go otherwise. @default {Deno.stderr} */
  readonly output?: LogOutput;
}

/** What a line is made of: the part of LogTape's record that matters here. */
export interface LogRecord {
  /** How much it matters. */
  readonly level: LogLevel;
  /** The message in parts, where it was not a plain string. */
  readonly message: readonly unknown[];
  /** The message as it was given. */
  readonly rawMessage: string | TemplateStringsArray;
  /** When, in milliseconds since the epoch. */
  readonly timestamp: number;
  /** The fields. */
  readonly properties: Readonly<Record<string, unknown>>;
}

/** A file to write lines to. */
export interface LogOutput {
  /** Writes some of the bytes, and says how many. */
  write(bytes: Uint8Array): Promise<number>;
  /** The same, waiting for it. */
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
 * and what the Go program takes besides: warn, fatal and panic.
 *
 * @returns undefined where it is none of these.
 */
export function parseLogLevel(raw: string): LogLevel | undefined {
  return LEVELS[raw.toLowerCase()];
}

/**
 * Sends all log records of the process to their output, in place of what was
 * configured before.
 *
 * @returns Ends the logging, once every line is written that somebody reads.
 */
export async function configureLogging(options: LoggingOptions): Promise<AsyncDisposable> {
  const format = options.format === "json" ? formatJson : formatText;
  const stacks = options.level === "trace" || options.level === "debug";
  const lines = new LineWriter(options.output ?? Deno.stderr);
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
  // A process that is ended by Deno.exit or by an uncaught error still says its last words.
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

/** How many characters may wait for a reader that has stopped reading. */
const MAX_WAITING = 1 << 20;

/** The most that one write takes, in bytes: what a pipe holds as a rule. */
const MAX_WRITE = 1 << 16;

/** A write that takes this long, in milliseconds, goes to a reader that has stopped reading. */
const UNREAD_MS = 500;

/** Writes lines one after another in the background; lines that come during a write leave together in the next. */
class LineWriter {
  readonly #output: LogOutput;
  readonly #encoder = new TextEncoder();
  #waiting = "";
  #dropped = 0;
  /** What of the write under way may not be written yet, and since when ({@link performance.now}). */
  #unwritten: { readonly bytes: Uint8Array; readonly since: number } | undefined;
  #writing: Promise<void> | undefined;

  constructor(output: LogOutput) {
    this.#output = output;
  }

  /** Takes a line. Where too much waits already, the line is dropped, and that is said later. */
  write(line: string): void {
    if (this.#waiting.length > MAX_WAITING) {
      this.#dropped++;
      return;
    }
    this.#waiting += line + "\n";
    this.#writing ??= this.#writeWaiting();
  }

  /** Waits until every line is written, or nobody reads. */
  async flush(): Promise<void> {
    while (this.#writing !== undefined) {
      let timer;
      const look = new Promise<void>((resolve) => timer = setTimeout(resolve, UNREAD_MS / 10));
      await Promise.race([this.#writing, look]);
      clearTimeout(timer);
      // Only now: where the process itself stood still, it hears of the write's end in this turn.
      if (this.#isUnread) return;
    }
  }

  /**
   * Writes what is left at once, before the process ends. A line may then appear twice, none is lost, unless nobody
   * reads: then to write would be to wait for ever.
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
      // Nobody is left to tell.
    }
  }

  /** Whether the write under way goes to nobody. */
  get #isUnread(): boolean {
    return this.#unwritten !== undefined && performance.now() - this.#unwritten.since >= UNREAD_MS;
  }

  async #writeWaiting(): Promise<void> {
    // Lets the lines of this turn come together.
    await undefined;
    try {
      while (this.#waiting !== "") {
        let rest = this.#encoder.encode(this.#waiting);
        this.#waiting = "";
        while (rest.length > 0) {
          this.#unwritten = { bytes: rest, since: performance.now() };
          rest = rest.subarray(await this.#output.write(rest.subarray(0, MAX_WRITE)));
        }
        this.#unwritten = undefined;
        if (this.#dropped > 0) {
          this.#waiting = formatJson(droppedRecord(this.#dropped), false) + "\n" + this.#waiting;
          this.#dropped = 0;
        }
      }
    } catch {
      // Without stderr there is nowhere to say so, and the server is worth more than its log.
      this.#waiting = "";
      this.#unwritten = undefined;
    } finally {
      this.#writing = undefined;
    }
  }
}

function droppedRecord(lines: number): LogRecord {
  const message = "log lines were dropped: nobody read them in time";
  return {
    level: "warning",
    message: [message],
    rawMessage: message,
    timestamp: Date.now(),
    properties: { lines },
  };
}

const RESERVED: ReadonlySet<string> = new Set(["time", "level", "message"]);

/**
 * Makes a record a line of JSON: `time` (RFC 3339), `level`, `message` and the
 * record's fields beside them. A field by one of those names gets a `_` at its end.
 * Never throws, whatever the fields are.
 *
 * @param stacks Whether errors show their stacks.
 */
export function formatJson(record: LogRecord, stacks: boolean): string {
  const line: Record<string, unknown> = { time: timeOf(record), level: record.level, message: messageOf(record) };
  for (const name of Object.keys(record.properties)) {
    line[RESERVED.has(name) ? `${name}_` : name] = field(record, name, stacks);
  }
  return JSON.stringify(line);
}

/** Makes a record a line of text for people: time, level, message, and the fields as `name=value`. */
export function formatText(record: LogRecord, stacks: boolean): string {
  let line = `${timeOf(record)} ${record.level.toUpperCase().padEnd(7)} ${oneLine(messageOf(record))}`;
  for (const name of Object.keys(record.properties)) {
    const value = field(record, name, stacks);
    if (value === undefined) continue;
    const text = typeof value === "string" && /^[\w.,:;/@+-]+$/.test(value) ? value : JSON.stringify(value);
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
  // deno-lint-ignore no-control-regex
  return text.replace(/[\x00-\x1f\x7f]/g, " ");
}

function field(record: LogRecord, name: string, stacks: boolean): unknown {
  try {
    return plain(record.properties[name], stacks);
  } catch {
    return "(unreadable)";
  }
}

/** How deep a field is shown. */
const MAX_DEPTH = 6;

/** Makes any value one that JSON has, with cycles and what is too deep cut off. */
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
