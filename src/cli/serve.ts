/**
 * The command that the program runs if none is named: it serves until it is
 * asked to stop.
 *
 * @module
 */

import { getLogger } from "@logtape/logtape";
import { parseConfig } from "../config/config.ts";
import { ConfigError } from "../config/config_error.ts";
import type { SettingTexts } from "../config/settings.ts";
import { startService } from "../service/service.ts";
import { configureLogging } from "../telemetry/log.ts";
import { EXIT, type Io, printError, VERSION } from "./command.ts";

/**
 * Serves until the signal aborts.
 *
 * @param flags The flags that were given, by name.
 * @returns The exit code.
 */
export async function serve(flags: SettingTexts, signal: AbortSignal, io: Io): Promise<number> {
  try {
    const config = parseConfig(flags, io.environment());
    await using _logging = await configureLogging({
      level: config.logLevel,
      format: config.logFormat,
      console: config.openTelemetry,
    });
    const logger = getLogger("fleetlock");
    using _hangup = io.onHangup(() => logger.info("SIGHUP received: there is nothing to reload"));
    await using service = await startService(config, { version: VERSION });
    logger.info("listening", { address: service.url, ...service.store, version: VERSION });
    await aborted(signal);
    logger.info("stopping", { reason: String(signal.reason) });
    await service.stop();
    logger.info("stopped");
    return EXIT.OK;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    printError(io, error.message);
    return EXIT.FAILED;
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
