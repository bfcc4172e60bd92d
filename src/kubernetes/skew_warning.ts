/**
 * Warns where this machine's clock and the API server's differ. Nothing rests on
 * this machine's clock, but its log shows it, and certificates depend on it.
 *
 * @module
 */

import type { ServerClock } from "./server_clock.ts";

/** Gets the warnings. */
export interface SkewLog {
  /** The clocks differ by more than they may, or by far more or less than at the last warning. */
  warning(message: string, fields: Record<string, unknown>): void;
  /** The clocks agree again. */
  info(message: string, fields: Record<string, unknown>): void;
}

/** The largest difference that is not worth a warning, in milliseconds. */
const TOLERATED_MS = 5_000;

/** How often to compare the clocks, in milliseconds. */
const INTERVAL_MS = 10_000;

/**
 * Compares the clocks until the signal aborts. Does not throw.
 *
 * @param clock The API server's time.
 */
export async function warnOfSkew(
  clock: Pick<ServerClock, "skewMs" | "sleep">,
  log: SkewLog,
  signal: AbortSignal,
): Promise<void> {
  let told = 0;
  while (!signal.aborted) {
    const skewMs = clock.skewMs ?? 0;
    const fields = { skew_seconds: Math.round(skewMs / 1000) };
    if (Math.abs(skewMs) <= TOLERATED_MS) {
      if (told !== 0) log.info("this machine's clock and the API server's agree again", fields);
      told = 0;
    } else if (told === 0 || Math.abs(skewMs - told) > Math.max(TOLERATED_MS, Math.abs(told) / 2)) {
      log.warning("this machine's clock differs from the API server's: check its time synchronization", fields);
      told = skewMs;
    }
    await clock.sleep(INTERVAL_MS, signal).catch(() => {});
  }
}
