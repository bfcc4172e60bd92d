/**
 * The flags of `deno task explore`.
 *
 * @module
 */

/** See the module. */
export interface ExploreOptions {
  /** The first seed. */
  readonly seed: number;
  /** How many seeds to run; Infinity until the time is over. */
  readonly seeds: number;
  /** How long to run, in minutes. */
  readonly minutes: number;
  /** How many replicas; undefined as the seed says. */
  readonly replicas?: number;
  /** How many hosts; undefined as the seed says. */
  readonly hosts?: number;
  /** The places of the seed's incidents that happen, as a failure names them; all where undefined. */
  readonly incidents?: readonly number[];
  /** Whether Nodes count as many that change all the time; undefined as the seed says. */
  readonly nodesChangeOften?: boolean;
  /** Whether there are no faults. */
  readonly isCalm: boolean;
  /** Whether to print the whole timeline of each run. */
  readonly isVerbose: boolean;
  /** Whether to shrink what fails. */
  readonly isShrinking: boolean;
  /** Whether to go on after a violation. */
  readonly goesOn: boolean;
}

/** How the flags are used. */
export const USAGE = `usage: deno task explore [--seeds N] [--seed S] [--minutes M] [--replicas R] [--hosts H]
                         [--incidents LIST] [--busy] [--calm] [--verbose] [--no-shrink] [--go-on]

Runs the real service in a simulated cluster, and checks what it promises.
  --seeds N      how many seeds to run (default: 20, or as many as fit into --minutes)
  --seed S       the first seed (default: 1); alone, it runs that one seed
  --minutes M    how long to run; with --seeds, fewer seeds within that time are a failure
  --replicas R   how many replicas, instead of the seed's choice
  --hosts H      how many hosts, instead of the seed's choice
  --incidents L  only these of the seed's incidents, such as 3,17, as a failure names them, or "none"
  --busy         Nodes count as many that change all the time, as in a big cluster
  --calm         no faults
  --verbose      print the whole timeline of each run
  --no-shrink    do not look for a smaller schedule that still fails
  --go-on        go on with the next seed after a failure`;

/** Parses the flags. @throws {TypeError} They are not valid. */
export function parseOptions(args: readonly string[]): ExploreOptions {
  const numbers = new Map<string, number>();
  const switches = new Set<string>();
  let incidents: number[] | undefined;
  const named = ["seed", "seeds", "minutes", "replicas", "hosts"];
  for (let index = 0; index < args.length; index++) {
    const [, name = "", inline] = /^--([a-z-]+)(?:=(.*))?$/.exec(args[index]!) ?? [];
    if (named.includes(name)) {
      const value = Number(inline ?? args[++index]);
      if (!(value > 0)) throw new TypeError(`--${name} must be a positive number`);
      numbers.set(name, value);
    } else if (name === "incidents") {
      const list = inline ?? args[++index] ?? "";
      incidents = ["", "none"].includes(list) ? [] : list.split(",").map(Number);
      if (!incidents.every((place) => Number.isSafeInteger(place) && place >= 0)) {
        throw new TypeError("--incidents must be a list of numbers");
      }
    } else if (["busy", "calm", "verbose", "no-shrink", "go-on"].includes(name)) switches.add(name);
    else throw new TypeError(`unknown flag ${args[index]}`);
  }
  const minutes = numbers.get("minutes") ?? Infinity;
  const isOne = numbers.has("seed") && minutes === Infinity;
  return {
    seed: numbers.get("seed") ?? 1,
    seeds: numbers.get("seeds") ?? (isOne ? 1 : minutes < Infinity ? Infinity : 20),
    minutes,
    replicas: numbers.get("replicas"),
    hosts: numbers.get("hosts"),
    incidents,
    ...(switches.has("busy") && { nodesChangeOften: true }),
    isCalm: switches.has("calm"),
    isVerbose: switches.has("verbose"),
    isShrinking: !switches.has("no-shrink"),
    goesOn: switches.has("go-on"),
  };
}
