/**
 * The simulator's flags: their help texts, and how they are checked and parsed.
 * It opens no files and no connections.
 *
 * @module
 */

import { duration, oneOf, type ValueParser } from "../config/values.ts";

/** The parameters of a simulation. */
export interface SimulationOptions {
  /** Base URLs of the service, one or more, on loopback unless the user explicitly allows other machines. */
  readonly targets: readonly URL[];
  /** The number of hosts, 1 or more. */
  readonly clients: number;
  /** The number of groups, from 1 to the number of hosts. */
  readonly groups: number;
  /** How many hosts of a group the service lets reboot at a time, 1 or more. */
  readonly slots: number;
  /** How many times faster than real hosts the simulated hosts run. */
  readonly speed: number;
  /** How often each host reboots; Infinity if a duration is given instead. */
  readonly rounds: number;
  /** When to stop, in milliseconds. If undefined, the simulation stops when each host has completed its rounds. */
  readonly durationMs?: number;
  /** Determines the pauses and targets. */
  readonly seed: number;
  /** The format of the summary. */
  readonly format: "text" | "json";
  /** The path of a file to write the history to. */
  readonly history?: string;
  /** Whether to release the slots that simulated hosts of an earlier run hold. */
  readonly clear: boolean;
  /** How long the server may be unreachable before the run ends, in milliseconds. */
  readonly giveUpMs: number;
}

/** One flag of the simulator. */
export interface SimulationFlag {
  /** The flag's name without dashes, such as `speed`. */
  readonly flag: string;
  /** What stands for the value in the help; undefined for a switch. */
  readonly placeholder?: string;
  /** What the flag does, for the help. */
  readonly description: string;
  /** The default value as text; undefined if there is none, or if the description names it. */
  readonly default?: string;
}

/** Every flag, in the order of the help. */
export const SIMULATION_FLAGS = [
  {
    flag: "target",
    placeholder: "urls",
    description: "base URLs of the service, separated by commas; each request goes to a random one",
    default: "http://127.0.0.1:8080",
  },
  { flag: "clients", placeholder: "number", description: "number of hosts", default: "20" },
  { flag: "groups", placeholder: "number", description: "number of groups to spread the hosts over", default: "2" },
  {
    flag: "slots",
    placeholder: "number",
    description: "maximum number of hosts of a group that may reboot at a time",
    default: "1",
  },
  {
    flag: "speed",
    placeholder: "factor",
    description: "how many times faster than real hosts the simulated hosts run",
    default: "60",
  },
  { flag: "rounds", placeholder: "number", description: "number of reboots of each host", default: "1" },
  {
    flag: "duration",
    placeholder: "duration",
    description: "stop after this time, such as 90s, 10m or 1h; without --rounds, hosts reboot until then",
  },
  { flag: "seed", placeholder: "number", description: "repeat the pauses of a run (default: a random seed)" },
  { flag: "format", placeholder: "format", description: "format of the summary: text or json", default: "text" },
  {
    flag: "history",
    placeholder: "path",
    description: "write every operation to this file, one JSON object per line",
  },
  { flag: "clear", description: "first release the slots that simulated hosts of an earlier run still hold" },
  {
    flag: "give-up-after",
    placeholder: "duration",
    description: "end the run when the server has been unreachable for this time",
    default: "30s",
  },
  {
    flag: "i-know-this-is-not-loopback",
    description: "allow targets on other machines, where real hosts have to wait for the simulated ones",
  },
] as const satisfies readonly SimulationFlag[];

/** The name of a flag. */
export type SimulationFlagName = typeof SIMULATION_FLAGS[number]["flag"];

/** A flag of the simulator is not valid. The message is one sentence for the user. */
export class SimulationOptionsError extends Error {
  /** The class name in logs. */
  override readonly name = "SimulationOptionsError";
}

/** An integer from 1 to 999999. */
const count: ValueParser<number> = {
  expected: "an integer from 1 to 999999",
  parse: (raw) => /^[1-9]\d{0,5}$/.test(raw) ? Number(raw) : undefined,
};

const targetUrls: ValueParser<URL[]> = {
  expected: 'http or https URLs separated by commas, as in "http://127.0.0.1:8080"',
  parse: parseTargets,
};

const factor: ValueParser<number> = {
  expected: "a number above 0 and below 1000000",
  parse: (raw) => /^\d{1,6}(\.\d{1,6})?$/.test(raw) && Number(raw) > 0 ? Number(raw) : undefined,
};

const seedNumber: ValueParser<number> = {
  expected: "an integer from 0 to 9999999999",
  parse: (raw) => /^\d{1,10}$/.test(raw) ? Number(raw) : undefined,
};

function groupCount(clients: number): ValueParser<number> {
  return {
    expected: `an integer from 1 to ${clients}, the number of hosts`,
    parse: (raw) => (count.parse(raw) ?? Infinity) <= clients ? Number(raw) : undefined,
  };
}

/**
 * Checks and parses the flags. Flags that are not given get their defaults.
 *
 * @param flags The flags that were given, by name without dashes; a switch is `true`.
 * @param random Returns a number from 0 (inclusive) to 1 (exclusive), for the seed if none is given.
 * @throws {SimulationOptionsError} A value is not valid, or a target is not on loopback.
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
  const read = <T>(name: SimulationFlagName, parser: ValueParser<T>): T => {
    const raw = text(name)!;
    const parsed = parser.parse(raw);
    if (parsed !== undefined) return parsed;
    throw new SimulationOptionsError(`--${name} must be ${parser.expected}: it is ${JSON.stringify(raw)}`);
  };

  const targets = read("target", targetUrls);
  const distant = targets.find((target) => !isLoopback(target));
  if (distant !== undefined && flags["i-know-this-is-not-loopback"] !== true) {
    throw new SimulationOptionsError(
      `--target must be on this machine (127.0.0.1, [::1] or localhost): it is "${distant.origin}", where real hosts ` +
        "would have to wait for the simulated ones; to use it anyway, add --i-know-this-is-not-loopback",
    );
  }
  const clients = read("clients", count);
  const durationMs = text("duration") === undefined ? undefined : read("duration", duration);
  return {
    targets,
    clients,
    groups: read("groups", groupCount(clients)),
    slots: read("slots", count),
    speed: read("speed", factor),
    rounds: durationMs !== undefined && flags.rounds === undefined ? Infinity : read("rounds", count),
    durationMs,
    seed: text("seed") === undefined ? Math.floor(random() * 2 ** 32) : read("seed", seedNumber),
    format: read("format", oneOf("text", "json")),
    history: text("history"),
    clear: flags.clear === true,
    giveUpMs: read("give-up-after", duration),
  };
}

function parseTargets(raw: string): URL[] | undefined {
  const targets = raw.split(",").map((part) => URL.parse(part.trim()));
  const valid = targets.filter((target) => target?.protocol === "http:" || target?.protocol === "https:");
  return valid.length === targets.length ? valid as URL[] : undefined;
}

/** Looks at the name only: nobody can say what another name will resolve to. */
function isLoopback({ hostname }: URL): boolean {
  return hostname === "localhost" || hostname === "[::1]" || /^127\.\d+\.\d+\.\d+$/.test(hostname);
}
