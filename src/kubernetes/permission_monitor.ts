/**
 * Keeps asking the API server which permissions the server lacks, so that a
 * missing one is told by its name before a request needs it, and noticed when it
 * is taken away later. It grants nothing and refuses nothing.
 *
 * @module
 */

import { type Clock, systemClock } from "../lock/clock.ts";
import { UnavailableError } from "../lock/errors.ts";
import { WakeableSleep } from "../lock/wakeable_sleep.ts";
import { type KubernetesClient, missingPermissions } from "./client.ts";
import { describePermission, ForbiddenError, type Permission, roleFor } from "./errors.ts";

/** The permissions that a server uses. */
export interface UsedPermissions {
  /** Without one of these, requests fail. */
  readonly required: readonly Permission[];
  /** Those of `required` without which no node can be drained, although locks work. */
  readonly forDrain: readonly Permission[];
  /** Without one of these, the server is slower or reports less. */
  readonly optional: readonly Permission[];
}

/** The permissions that are missing, as of the last answer. */
export interface MissingPermissions {
  /** Those without which requests fail. */
  readonly required: readonly Permission[];
  /** The others. */
  readonly optional: readonly Permission[];
}

/** Gets the monitor's records. */
export interface PermissionLog {
  /** A required permission is missing. */
  error(message: string, fields: Record<string, unknown>): void;
  /** An optional permission is missing, or the API server does not say. */
  warning(message: string, fields: Record<string, unknown>): void;
  /** A missing permission is there now. */
  info(message: string, fields: Record<string, unknown>): void;
}

/** Options of {@link PermissionMonitor}. */
export interface PermissionMonitorOptions {
  /** Gets a record of each permission that goes missing or comes back. */
  readonly log: PermissionLog;
  /** Time. @default {systemClock} */
  readonly clock?: Clock;
  /** How long to wait before the permissions are asked about again, in milliseconds. @default {300_000} */
  readonly intervalMs?: number;
  /** The same while a required permission is missing. @default {30_000} */
  readonly missingIntervalMs?: number;
}

/** The first pause after a failed question, in milliseconds. It doubles each time, up to the interval. */
const FIRST_PAUSE_MS = 5_000;

/** See the module. Call {@link run} once. */
export class PermissionMonitor {
  readonly #client: KubernetesClient;
  readonly #used: () => UsedPermissions;
  /** The permissions that were asked about last. */
  #asked: UsedPermissions | undefined;
  readonly #options: Required<PermissionMonitorOptions>;
  readonly #pause: WakeableSleep;
  #missing: MissingPermissions = { required: [], optional: [] };
  #isAnswered = false;
  #isRefused = false;

  /**
   * Asks over `client`, which its owner disposes of.
   *
   * @param used Lists the permissions each time before it asks, since a configuration file may change them.
   */
  constructor(client: KubernetesClient, used: () => UsedPermissions, options: PermissionMonitorOptions) {
    this.#client = client;
    this.#used = used;
    this.#options = { clock: systemClock, intervalMs: 300_000, missingIntervalMs: 30_000, ...options };
    this.#pause = new WakeableSleep(this.#options.clock);
  }

  /** Which permissions are missing. Empty until the API server has answered, and where it refuses to say. */
  get missing(): MissingPermissions {
    return this.#missing;
  }

  /** Whether the API server has answered, be it by refusing to say. */
  get isAnswered(): boolean {
    return this.#isAnswered;
  }

  /** Finds a missing permission without which no node can be drained. */
  missingForDrain(): Permission | undefined {
    return this.#missing.required.find((permission) => this.#asked?.forDrain.includes(permission));
  }

  /** Asks at once, because the permissions that are used may be others by now. */
  askNow(): void {
    this.#pause.wake();
  }

  /** Asks (create selfsubjectaccessreviews) again and again until the signal aborts. Does not throw. */
  async run(signal: AbortSignal): Promise<void> {
    const { log, intervalMs, missingIntervalMs } = this.#options;
    let failures = 0;
    while (!signal.aborted) {
      let pauseMs = intervalMs;
      try {
        await this.#ask(signal);
        failures = 0;
        if (this.#missing.required.length > 0) pauseMs = missingIntervalMs;
      } catch (error) {
        if (signal.aborted) return;
        const isRefused = error instanceof ForbiddenError || !(error instanceof UnavailableError);
        // Some clusters do not let clients ask for their own permissions.
        if (isRefused) this.#isAnswered = true;
        else pauseMs = Math.min(FIRST_PAUSE_MS * 2 ** failures++, intervalMs);
        if (!isRefused || !this.#isRefused) log.warning("cannot check the server's permissions", { error });
        this.#isRefused = isRefused;
      }
      await this.#pause.sleep(pauseMs, signal);
    }
  }

  async #ask(signal: AbortSignal): Promise<void> {
    const used = this.#used();
    const { required, optional } = used;
    const missing = await missingPermissions(this.#client, [...required, ...optional], signal);
    const before = this.#missing;
    this.#asked = used;
    this.#missing = {
      required: required.filter((one) => missing.includes(one)),
      optional: optional.filter((one) => missing.includes(one)),
    };
    this.#isAnswered = true;
    this.#isRefused = false;
    this.#report(before);
  }

  #report(before: MissingPermissions): void {
    const { log } = this.#options;
    const fields = (one: Permission) => ({ permission: describePermission(one), grant_in: roleFor(one) });
    const isNew = (one: Permission) => !before.required.includes(one) && !before.optional.includes(one);
    for (const one of this.#missing.required.filter(isNew)) log.error("required permission missing", fields(one));
    for (const one of this.#missing.optional.filter(isNew)) {
      log.warning("optional permission missing: performance is reduced", fields(one));
    }
    const still = [...this.#missing.required, ...this.#missing.optional];
    for (const one of [...before.required, ...before.optional]) {
      if (!still.includes(one)) log.info("permission no longer missing", { permission: describePermission(one) });
    }
  }
}
