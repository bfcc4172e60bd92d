/**
 * Runs the exploration on each mutant, and says which are found: `deno task mutants [--search FROM-TO] [NAME …]`. Each
 * runs on a copy of the sources in a temporary folder, under its schedules and then {@link MORE_SEEDS}, or with
 * `--search` under the seeds from FROM to TO. A mutant is found only where it breaks the promise that it names.
 *
 * @module
 */

import { copySync } from "./copy.ts";
import { type Mutant, MUTANTS, type Schedule } from "./mutants.ts";
import type { ProbeOrder, ProbeResult } from "./probe.ts";

const ROOT = new URL("../../../", import.meta.url);

/** What the copies need besides the sources. */
const FILES = ["deno.json", "deno.lock", "tests/simulation", "tests/chaos/nodes", "tests/support"];

/**
 * The seeds for a mutant that its own schedules do not find: each change of the program changes what a seed means. The
 * last ones have aimed acts.
 */
const MORE_SEEDS: readonly Schedule[] = [
  ...seedsBetween(1, 40),
  ...[44, 51, 53, 55, 67, 80, 87, 89, 91, 116, 123, 285, 316, 340].map((seed) => ({ seed })),
];

/** How long the runs of one mutant may take, in milliseconds. One that makes the program loop would run for ever. */
const LIMIT_MS = 15 * 60_000;

/** Runs schedules on a mutant. @throws Its text is not in its file exactly once, or a run fails in another way. */
async function runMutant(mutant: Mutant, schedules: readonly Schedule[]): Promise<ProbeResult> {
  const folder = await Deno.makeTempDir({ prefix: "fleetlock-mutant-" });
  try {
    for (const file of ["src", ...FILES]) copySync(new URL(file, ROOT).pathname, `${folder}/${file}`);
    await Deno.symlink(new URL("node_modules", ROOT).pathname, `${folder}/node_modules`);
    for (const { file, find, replace } of [mutant, ...mutant.also ?? []]) {
      const parts = (await Deno.readTextFile(`${folder}/${file}`)).split(find);
      if (parts.length !== 2) throw new Error(`its text is in ${file} ${parts.length - 1} times`);
      await Deno.writeTextFile(`${folder}/${file}`, parts.join(replace));
    }
    return await probe(folder, { schedules, expects: mutant.expects });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Runs the schedules in a process of their own. */
async function probe(folder: string, order: ProbeOrder): Promise<ProbeResult> {
  // As `deno task explore` runs: with room for what each moment of a run makes.
  const heap = "--v8-flags=--min-semi-space-size=64,--max-semi-space-size=64";
  const args = ["run", "--quiet", "--no-check", "-P=development", heap, "tests/simulation/mutants/probe.ts"];
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [...args, JSON.stringify(order)],
    cwd: folder,
    signal: AbortSignal.timeout(LIMIT_MS),
  }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr).trim() || "its time was over");
  return JSON.parse(new TextDecoder().decode(stdout).trim().split("\n").at(-1)!);
}

function seedsBetween(from: number, to: number): Schedule[] {
  return Array.from({ length: to - from + 1 }, (_, index) => ({ seed: from + index }));
}

/** How `deno task explore` runs a schedule. */
function commandOf({ seed, options, incidents }: Schedule): string {
  return `--seed ${seed}${options?.nodesChangeOften ? " --busy" : ""}` +
    (incidents === undefined ? "" : ` --incidents ${incidents.join()}`);
}

/** Tries one mutant, and prints what came of it. @returns Whether it was found. */
async function tryMutant(mutant: Mutant, searched: readonly Schedule[] | undefined): Promise<boolean> {
  const { name, schedules, expects } = mutant;
  const began = performance.now();
  const took = () => `(${((performance.now() - began) / 1000).toFixed(0)} s)`;
  try {
    const { found, others } = await runMutant(mutant, searched ?? [...schedules, ...MORE_SEEDS]);
    if (found === undefined) {
      const [other] = others;
      const instead = other ? `; ${commandOf(other.schedule)} breaks another promise: ${other.violation}` : "";
      console.log(`MISSED ${name} ${took()}: nothing with "${expects}"${instead}`);
      return false;
    }
    console.log(`found  ${name} ${took()}: ${commandOf(found.schedule)}: ${found.violation}`);
    return true;
  } catch (error) {
    console.log(`FAILED ${name} ${took()}: ${(error as Error).message}`);
    return false;
  }
}

if (import.meta.main) {
  const [first, range, ...more] = Deno.args;
  const isSearch = first === "--search";
  const [from = 1, to = from] = isSearch ? range!.split("-").map(Number) : [];
  const names = isSearch ? more : Deno.args;
  const chosen = MUTANTS.filter(({ name }) => names.length === 0 || names.some((part) => name.includes(part)));
  const waiting = [...chosen];
  let found = 0;
  const tryAll = async () => {
    for (let mutant = waiting.shift(); mutant !== undefined; mutant = waiting.shift()) {
      if (await tryMutant(mutant, isSearch ? seedsBetween(from, to) : undefined)) found++;
    }
  };
  await Promise.all(Array.from({ length: navigator.hardwareConcurrency }, tryAll));
  console.log(`${found} of ${chosen.length} found`);
  if (found < chosen.length) Deno.exitCode = 1;
}
