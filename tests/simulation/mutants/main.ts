/**
 * Runs the exploration on each mutant, and says which are found: `deno task mutants [--search FROM-TO] [NAME …]`. Each runs on a
 * copy of the sources in a temporary folder, under its seeds and then {@link MORE_SEEDS}, or with `--search` under the seeds from FROM to TO.
 *
 * @module
 */

import { copySync } from "./copy.ts";
import { type Mutant, MUTANTS } from "./mutants.ts";

const ROOT = new URL("../../../", import.meta.url);

/** What the copies need besides the sources. */
const FILES = ["deno.json", "deno.lock", "tests/simulation", "tests/chaos/nodes", "tests/support"];

/**
 * The first seed and how many follow it, for a mutant that its own seeds do not find: each change of the program changes
 * what a seed means.
 */
const MORE_SEEDS = [1, 40] as const;

/** What came of a mutant. */
interface Outcome {
  readonly isFound: boolean;
  /** The line about the seed that found it. */
  readonly line: string;
  readonly seconds: number;
}

/** Runs a mutant under one range of seeds after the other. Throws if its text is not in its file exactly once. */
async function runMutant(
  mutant: Mutant,
  ranges: readonly (readonly [from: number, count: number])[],
): Promise<Outcome> {
  const folder = await Deno.makeTempDir({ prefix: "fleetlock-mutant-" });
  try {
    for (const file of ["src", ...FILES]) copySync(new URL(file, ROOT).pathname, `${folder}/${file}`);
    await Deno.symlink(new URL("node_modules", ROOT).pathname, `${folder}/node_modules`);
    const path = `${folder}/${mutant.file}`;
    const source = await Deno.readTextFile(path);
    const parts = source.split(mutant.find);
    if (parts.length !== 2) throw new Error(`${mutant.name}: its text is in ${mutant.file} ${parts.length - 1} times`);
    await Deno.writeTextFile(path, parts.join(mutant.replace));
    const began = performance.now();
    let line = "";
    for (const [from, count] of ranges) {
      // The incidents are those of one seed.
      line = await explore(folder, from, count, count === 1 ? mutant.incidents : undefined);
      if (line !== "") break;
    }
    return { isFound: line !== "", line, seconds: (performance.now() - began) / 1000 };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Explores. @returns The line about the seed that fails; empty where none does. */
async function explore(folder: string, from: number, count: number, incidents?: readonly number[]): Promise<string> {
  const args = ["run", "--quiet", "--no-check", "-P=development", "tests/simulation/explore.ts", "--no-shrink"];
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...args,
      "--seed",
      `${from}`,
      "--seeds",
      `${count}`,
      ...(incidents ? ["--incidents", incidents.join()] : []),
    ],
    cwd: folder,
  }).output();
  const line = new TextDecoder().decode(stdout).split("\n").find((each) => each.includes("FAILS")) ?? "";
  if (code > 1 || (code === 1 && line === "")) throw new Error(new TextDecoder().decode(stderr));
  return line;
}

if (import.meta.main) {
  const [first, count, ...more] = Deno.args;
  const [from = 1, to = from] = first === "--search" ? count!.split("-").map(Number) : [];
  const searched = first === "--search" ? [[from, to - from + 1]] as const : undefined;
  const names = searched === undefined ? Deno.args : more;
  const chosen = MUTANTS.filter(({ name }) => names.length === 0 || names.some((part) => name.includes(part)));
  let missed = 0;
  for (const mutant of chosen) {
    const ranges = searched ?? [...mutant.seeds.map((seed) => [seed, 1] as const), MORE_SEEDS];
    const { isFound, line, seconds } = await runMutant(mutant, ranges);
    if (!isFound) missed++;
    const how = isFound ? line.replace(/:.*FAILS:/, ":") : "NOT FOUND";
    console.log(`${isFound ? "found " : "MISSED"} ${mutant.name} (${seconds.toFixed(0)} s): ${how}`);
  }
  console.log(`${chosen.length - missed} of ${chosen.length} found`);
  if (missed > 0) Deno.exitCode = 1;
}
