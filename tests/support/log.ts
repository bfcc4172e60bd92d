/**
 * Keeps what the program logs while a test runs, at every level, as the lines that
 * it would write.
 *
 * @module
 */

import { configureLogging, type LogFormat } from "../../src/telemetry/log.ts";

/** A log in memory. */
export class Log {
  #text = "";

  /** Everything that was logged so far. */
  get text(): string {
    return this.#text;
  }

  /** Keeps what is logged until the result is disposed of. */
  start(format: LogFormat = "json"): Promise<AsyncDisposable> {
    const writeSync = (bytes: Uint8Array) => {
      this.#text += new TextDecoder().decode(bytes);
      return bytes.length;
    };
    const output = { writeSync, write: (bytes: Uint8Array) => Promise.resolve(writeSync(bytes)) };
    return configureLogging({ level: "trace", format, output });
  }

  /** The record of each line. The format must be "json". */
  get records(): Record<string, unknown>[] {
    return this.#text.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line));
  }
}
