/**
 * Parses and checks the flags of the simulator. It opens no file and no
 * connection.
 *
 * @module
 */

/** The checked options of a simulation. */
export interface SimulationOptions {
  /** One or more base URLs of the service. They are on loopback unless the user allowed other hosts. */
  readonly targets: readonly URL[];
  /** How many hosts, 1 or more. */
  readonly clients: number;
  /** How many groups, from 1 to the number of hosts. */
  readonly groups: number;
  /** How many slots the service has for each group, 1 or more. */
  readonly slots: number;
  /** How many times faster than real hosts they run. */
  readonly speed: number;
  /** How many times each host reboots; Infinity when only a duration is given. */
  readonly rounds: number;
  /** After how many milliseconds to stop; undefined to stop when each host has rebooted `rounds` times. */
  readonly durationMs?: number;
  /** Determines the ids, pauses and targets. */
  readonly seed: number;
  /** The format of the summary. */
  readonly format: "text" | "json";
  /** The path of a file for the history. */
  readonly history?: string;
}

/** One flag of the simulator. */
export interface SimulationFlag {
  /** The flag's name without dashes, such as `speed`. */
  readonly flag: string;
  /** The placeholder of the value in the help; undefined for a switch. */
  readonly value?: string;
  /** What the flag does, for the help. */
  readonly description: string;
  /** The default, as text; undefined when the description explains what happens without the flag. */
  readonly default?: string;
}

/** Every flag, in the order of the help. */
export const SIMULATION_FLAGS = [
  {
    flag: "target",
    value: "urls",
    description: "base URLs of the service, separated by commas; each request goes to a random one",
    default: "http://127.0.0.1:8080",
  },
  { flag: "clients", value: "number", description: "number of hosts", default: "20" },
  { flag: "groups", value: "number", description: "number of groups", default: "2" },
  {
    flag: "slots",
    value: "number",
    description: "how many hosts of a group the service lets reboot at a time",
    default: "1",
  },
  { flag: "speed", value: "factor", description: "how many times faster than real hosts they run", default: "60" },
  { flag: "rounds", value: "number", description: "how many times each host reboots", default: "1" },
  { flag: "duration", value: "time", description: "stop after this time, such as 90s, 10m or 1h" },
  { flag: "seed", value: "number", description: "repeat the ids and pauses of an earlier run (default: random)" },
  { flag: "format", value: "format", description: "format of the summary: text or json", default: "text" },
  { flag: "history", value: "path", description: "write every request to this file, one JSON object a line" },
  {
    flag: "i-know-this-is-not-loopback",
    description: "allow a target on another machine; real hosts there must wait for the simulated ones",
  },
] as const satisfies readonly SimulationFlag[];

/** The name of a flag. */
export type SimulationFlagName = typeof SIMULATION_FLAGS[number]["flag"];

/** An option of the simulator is invalid. The message is one sentence for the user. */
export class SimulationOptionsError extends Error {
  /** The name of the class. */
  override readonly name = "SimulationOptionsError";
}

/**
 * Parses the flags and fills in the defaults.
 *
 * @param flags The given flags by name, without dashes. A switch is `true`.
 * @param random Returns a number from 0 (inclusive) to 1 (exclusive). It chooses the seed when none is given.
 * @throws {SimulationOptionsError} A value is invalid, or a target is not on loopback.
 */
export function parseSimulationOptions(
  flags: Readonly<Partial<Record<SimulationFlagName, string | boolean>>>,
  random: () => number = Math.random,
): SimulationOptions {
  const text = (name: SimulationFlagName): string | undefined => {
    const { default: fallback } = SIMULATION_FLAGS.find((each) => each.flag === name)! as SimulationFlag;
    const value = flags[name];
    return typeof value === "string" && value !== "" ? value : fallback;
  };
  const read = <T>(name: SimulationFlagName, parse: (raw: string) => T | undefined, expected: string): T => {
    const raw = text(name)!;
    const parsed = parse(raw);
    if (parsed === undefined) {
      throw new SimulationOptionsError(`--${name} must be ${expected}: it is ${JSON.stringify(raw)}`);
    }
    return parsed;
  };
  const count = (raw: string) => /^[1-9]\d{0,5}$/.test(raw) ? Number(raw) : undefined;

  const targets = read(
    "target",
    parseTargets,
    'http or https URLs separated by commas, such as "http://127.0.0.1:8080"',
  );
  const distant = targets.find((target) => !isLoopback(target));
  if (distant !== undefined && flags["i-know-this-is-not-loopback"] !== true) {
    throw new SimulationOptionsError(
      `--target must be on this machine (127.0.0.1, [::1] or localhost): it is "${distant.origin}", where real hosts ` +
        "must wait for the simulated ones; add --i-know-this-is-not-loopback to allow that",
    );
  }
  const clients = read("clients", count, "a positive integer");
  const durationMs = text("duration") === undefined
    ? undefined
    : read("duration", parseDuration, "a time above 0 with its unit, such as 90s, 10m or 1h");
  return {
    targets,
    clients,
    groups: read(
      "groups",
      (raw) => (count(raw) ?? Infinity) <= clients ? Number(raw) : undefined,
      `an integer from 1 to ${clients}, the number of hosts`,
    ),
    slots: read("slots", count, "a positive integer"),
    speed: read(
      "speed",
      (raw) => /^\d{1,6}(\.\d{1,6})?$/.test(raw) && Number(raw) > 0 ? Number(raw) : undefined,
      "a number above 0",
    ),
    rounds: durationMs !== undefined && flags.rounds === undefined
      ? Infinity
      : read("rounds", count, "a positive integer"),
    durationMs,
    seed: text("seed") === undefined
      ? Math.floor(random() * 2 ** 32)
      : read("seed", (raw) => /^\d{1,10}$/.test(raw) ? Number(raw) : undefined, "an integer, 0 or more"),
    format: read("format", (raw) => raw === "text" || raw === "json" ? raw : undefined, "text or json"),
    history: text("history"),
  };
}

function parseTargets(raw: string): URL[] | undefined {
  const targets = raw.split(",").map((part) => URL.parse(part.trim()));
  const valid = targets.filter((target) => target?.protocol === "http:" || target?.protocol === "https:");
  return valid.length === targets.length ? valid as URL[] : undefined;
}

/** Judges by the name alone, because the address of any other name may change at any time. */
function isLoopback({ hostname }: URL): boolean {
  return hostname === "localhost" || hostname === "[::1]" || /^127\.\d+\.\d+\.\d+$/.test(hostname);
}

function parseDuration(raw: string): number | undefined {
  const match = /^(\d{1,6}(?:\.\d{1,3})?)(ms|s|m|h)$/.exec(raw);
  if (match === null) return undefined;
  const unit = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 }[match[2] as "ms" | "s" | "m" | "h"];
  const ms = Number(match[1]) * unit;
  return ms > 0 && ms < 2 ** 31 ? ms : undefined;
}
