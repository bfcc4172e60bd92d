/**
 * The flags of the simulator, as text, to checked options. It opens no file and
 * no connection.
 *
 * @module
 */

/** What a simulation is made of. */
export interface SimulationOptions {
  /** Base URLs of the service, one or more, on loopback unless the person who runs it says otherwise. */
  readonly targets: readonly URL[];
  /** How many hosts, 1 or more. */
  readonly clients: number;
  /** How many groups, from 1 to the number of hosts. */
  readonly groups: number;
  /** How many hosts of a group the service lets reboot at a time, 1 or more. */
  readonly slots: number;
  /** How many times faster than real hosts they live. */
  readonly speed: number;
  /** How often each host is to reboot; Infinity where a duration is given instead. */
  readonly rounds: number;
  /** When to end, in milliseconds; undefined: when each host has had its turns. */
  readonly durationMs?: number;
  /** Determines ids, pauses and targets. */
  readonly seed: number;
  /** How the summary is written. */
  readonly format: "text" | "json";
  /** A file to write the history to. */
  readonly history?: string;
}

/** One flag of the simulator. */
export interface SimulationFlag {
  /** The flag's name without dashes, such as `speed`. */
  readonly flag: string;
  /** What stands for the value in the help; undefined for a switch. */
  readonly value?: string;
  /** One line of the help. */
  readonly description: string;
  /** The default, as it would be written; undefined where the description says what happens without. */
  readonly default?: string;
}

/** Every flag, in the order of the help. */
export const SIMULATION_FLAGS = [
  {
    flag: "target",
    value: "urls",
    description: "base URLs of the service, joined by commas; each request goes to one at random",
    default: "http://127.0.0.1:8080",
  },
  { flag: "clients", value: "number", description: "how many hosts", default: "20" },
  { flag: "groups", value: "number", description: "how many groups they are spread over", default: "2" },
  { flag: "slots", value: "number", description: "how many hosts of a group may reboot at a time", default: "1" },
  { flag: "speed", value: "factor", description: "how many times faster than real hosts they live", default: "60" },
  { flag: "rounds", value: "number", description: "how often each host reboots", default: "1" },
  { flag: "duration", value: "time", description: "when to end, as in 90s, 10m or 1h, whatever the rounds" },
  { flag: "seed", value: "number", description: "repeats a run's ids and pauses (default: a random one)" },
  { flag: "format", value: "format", description: "how the summary is written: text or json", default: "text" },
  { flag: "history", value: "path", description: "a file to write every operation to, one JSON object a line" },
  {
    flag: "i-know-this-is-not-loopback",
    description: "let the target be another machine, whose real hosts will have to wait for the simulated ones",
  },
] as const satisfies readonly SimulationFlag[];

/** The name of a flag. */
export type SimulationFlagName = typeof SIMULATION_FLAGS[number]["flag"];

/** A flag of the simulator is not as it must be. Its message is one sentence for the person who gave it. */
export class SimulationOptionsError extends Error {
  /** Tells this error from others. */
  override readonly name = "SimulationOptionsError";
}

/**
 * Checks the flags. Those left out get their defaults.
 *
 * @param flags The flags given, by name without dashes; a switch is `true`.
 * @param random A number from 0 (inclusive) to 1, for the seed where none is given.
 * @throws {SimulationOptionsError} A value is not as it must be, or a target is not on loopback.
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

  const targets = read("target", parseTargets, 'http or https URLs joined by commas, as in "http://127.0.0.1:8080"');
  const distant = targets.find((target) => !isLoopback(target));
  if (distant !== undefined && flags["i-know-this-is-not-loopback"] !== true) {
    throw new SimulationOptionsError(
      `--target must be on this machine (127.0.0.1, [::1] or localhost): it is "${distant.origin}", where real hosts ` +
        "would have to wait for the simulated ones; give --i-know-this-is-not-loopback if you mean it",
    );
  }
  const clients = read("clients", count, "a positive integer");
  const durationMs = text("duration") === undefined
    ? undefined
    : read("duration", parseDuration, "a time above 0 with its unit, as in 90s, 10m or 1h");
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

/** By the name alone: what else a name may resolve to, and when, nobody can promise. */
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
