/**
 * The configuration file of a running server: opens it and tells of it in log,
 * metrics and readiness.
 *
 * @module
 */

import type { Logger } from "@logtape/logtape";
import type { Config } from "../config/config.ts";
import type { PolicyFile } from "../config/reload.ts";
import type { Readiness } from "../http/handler.ts";
import type { Clock } from "../lock/clock.ts";
import type { PolicyOptions } from "../policies/options.ts";
import type { Metrics } from "../telemetry/metrics.ts";

/** What {@link openPolicyFile} builds on. */
export interface PolicyFileParts {
  /** Gets its metrics. */
  readonly metrics: Metrics;
  /** Gets its records. */
  readonly logger: Logger;
  /** Measures the time between looks at the file. */
  readonly clock: Clock;
}

/**
 * Opens the configuration file.
 *
 * @returns undefined if the flags name none.
 * @throws {ConfigError} The file cannot be read or is not valid. The message has a line for each error.
 */
export async function openPolicyFile(config: Config, parts: PolicyFileParts): Promise<PolicyFile | undefined> {
  const { policyFile: path, store, drain } = config;
  if (path === undefined) return undefined;
  const { metrics, logger, clock } = parts;
  const { PolicyFile } = await import("../config/reload.ts");
  const file = await PolicyFile.open(path, {
    context: { store: store.kind, drainTimeoutMs: drain?.timeoutMs },
    clock,
    observer: {
      loaded: (hash) => logger.info("the configuration file is in force", { path, hash }),
      failed(errors) {
        const message = "the configuration file cannot be used, and the last valid one stays in force";
        for (const error of errors) logger.error(message, { path, error });
      },
    },
  });
  logger.info("the configuration file is in force", { path, hash: file.hash });
  warnOfFlags(config, file.current, logger);
  file.subscribe((options) => warnOfFlags(config, options, logger));
  metrics.addConfig(file);
  return file;
}

/** Logs which groups do not follow the flags. */
function warnOfFlags({ drain }: Config, { defaults, groups }: PolicyOptions, logger: Logger): void {
  if (drain === undefined) return;
  for (const [group, { drain: said }] of [["all other groups", defaults] as const, ...groups]) {
    const differs = {
      ...(said.timeoutMs !== undefined && said.timeoutMs !== drain.timeoutMs && { drain_timeout_ms: said.timeoutMs }),
      ...(said.onTimeout !== undefined && said.onTimeout !== drain.onTimeout && { drain_on_timeout: said.onTimeout }),
    };
    if (Object.keys(differs).length === 0) continue;
    logger.info("the configuration file takes precedence over a flag", { group, ...differs });
  }
}

/** Adds to the readiness of a server that its configuration file cannot be used. Such a server is ready all the same. */
export function withConfigNote(readiness: Readiness, file: Pick<PolicyFile, "errors"> | undefined): Readiness {
  const [first, ...more] = file?.errors ?? [];
  if (readiness.kind !== "ready" || first === undefined) return readiness;
  const count = more.length === 0 ? "" : ` (and ${more.length} more)`;
  const note = `the configuration file cannot be used, and the last valid one stays in force: ${first}${count}`;
  return { kind: "ready", note: readiness.note === undefined ? note : `${readiness.note}\n${note}` };
}
