/**
 * Measures whether the tests notice small changes of the program: `deno task mutate [PATH …]`, where each path is a file
 * or folder of `src`, by default `src`. Stryker makes the changes (mutants), `mutation_runner.ts` runs the tests. The
 * output is each mutant that no test noticed, and the score of each file. `--jobs N` sets the number of processes.
 *
 * The tests of a file are those whose test file, or a helper of it under `tests`, imports the file. Where there are
 * none, they are the tests of the files that import it. Tests that need a cluster or that start the program are left
 * out. Mutants of strings are left out too: sentences are for people, and the compiler checks the kinds of a union.
 *
 * `tests/mutation/equivalent.json` lists the mutants that do not change what the program does, each with its reason.
 *
 * @module
 */

import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import type { LogLevel, MutantResult, PartialStrykerOptions } from "@stryker-mutator/api/core";
import { Stryker } from "@stryker-mutator/core";
import { RUNNER_NAME, type RunnerOptions } from "./mutation_runner.ts";
import { sourceFiles } from "./source_files.ts";

/** A mutant that no test can notice, because the program does the same with it. */
export interface Equivalent {
  /** The path of the source file from the project's root. */
  readonly file: string;
  /** The first line of the mutated code, without its indentation. It stands for the place, as line numbers change. */
  readonly line: string;
  /** What the mutant puts in place of the code; left out for every mutant of the line. */
  readonly replacement?: string;
  /** Why the program does the same. */
  readonly reason: string;
}

/** Tests that are slow or that do not run the program in this process. */
const OTHER_TESTS = /^tests\/(cluster|program|chaos|bench|tasks)\//;

const IMPORT = /^(?:import|export) [^"]*?from "(\.[^"]+)"|\bimport\("(\.[^"]+)"\)/gm;

/**
 * Chooses the test files of a source file.
 *
 * @param file The path of the source file from the project's root.
 * @param sources The text of each file of `src` and `tests` by its path.
 * @returns The paths of the test files, sorted. Empty if no test reaches the file.
 */
export function testsOf(file: string, sources: ReadonlyMap<string, string>): string[] {
  const importers = new Map<string, string[]>();
  for (const [importer, text] of sources) {
    for (const [, named, dynamic] of text.matchAll(IMPORT)) {
      const imported = join(dirname(importer), (named ?? dynamic)!);
      importers.set(imported, [...importers.get(imported) ?? [], importer]);
    }
  }
  const seen = new Set<string>();
  for (let sourcesToReach = [file]; sourcesToReach.length > 0;) {
    const reached = new Set<string>();
    const visit = (imported: string) => {
      for (const importer of importers.get(imported) ?? []) {
        if (seen.has(importer) || OTHER_TESTS.test(importer)) continue;
        seen.add(importer);
        reached.add(importer);
        if (importer.startsWith("tests/")) visit(importer);
      }
    };
    sourcesToReach.forEach(visit);
    const tests = [...reached].filter((path) => path.endsWith("_test.ts"));
    if (tests.length > 0) return tests.sort();
    sourcesToReach = [...reached].filter((path) => path.startsWith("src/"));
  }
  return [];
}

/**
 * Finds the entry for a mutant in the list of equivalent ones.
 *
 * @param mutant Its file from the project's root, the line on which it starts, and its replacement.
 */
export function findEquivalent(
  mutant: { readonly file: string; readonly line: string; readonly replacement: string },
  list: readonly Equivalent[],
): Equivalent | undefined {
  return list.find(({ file, line, replacement }) =>
    file === mutant.file && line === mutant.line.trim() && (replacement ?? mutant.replacement) === mutant.replacement
  );
}

async function main(args: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    options: { jobs: { type: "string", default: "1" } },
    allowPositionals: true,
  });
  const isWanted = (file: string) =>
    (positionals.length > 0 ? positionals : ["src"]).some((path) =>
      file === path || file.startsWith(`${path.replace(/\/$/, "")}/`)
    );
  const sources = new Map(
    [...sourceFiles("src"), ...sourceFiles("tests")].map((file) => [file, Deno.readTextFileSync(file)]),
  );
  const files = sourceFiles("src").filter((file) => isWanted(file) && !file.startsWith("src/tasks/"));
  if (files.length === 0) {
    console.error("deno task mutate: the paths do not name a file of src");
    return 2;
  }
  const tests = Object.fromEntries(files.map((file) => [file, testsOf(file, sources)]));
  const results = await run(files, tests, Number(values.jobs));
  const list: Equivalent[] = JSON.parse(Deno.readTextFileSync("tests/mutation/equivalent.json"));
  report(results, sources, list);
  return 0;
}

async function run(
  files: string[],
  denoTestFiles: RunnerOptions["denoTestFiles"],
  concurrency: number,
): Promise<MutantResult[]> {
  const options: PartialStrykerOptions & RunnerOptions = {
    mutate: files,
    mutator: { excludedMutations: ["StringLiteral"] },
    testRunner: RUNNER_NAME,
    denoTestFiles,
    plugins: [new URL("./mutation_runner.ts", import.meta.url).href],
    coverageAnalysis: "perTest",
    ignoreStatic: false,
    concurrency,
    timeoutMS: 10_000,
    dryRunTimeoutMinutes: 10,
    reporters: [Deno.stdout.isTerminal() ? "progress" : "progress-append-only"],
    tempDirName: ".stryker-tmp",
    ignorePatterns: ["bin", "dist", "coverage", ".fleetlock"],
    logLevel: "error" as LogLevel,
  };
  return await new Stryker(options).runMutationTest();
}

/** Prints the mutants that no test noticed, and the score of each file. */
function report(
  results: readonly MutantResult[],
  sources: ReadonlyMap<string, string>,
  list: readonly Equivalent[],
): void {
  const used = new Set<Equivalent>();
  const scores = new Map<string, { noticed: number; all: number; equivalent: number }>();
  for (const { fileName, location, replacement, status } of results) {
    const file = fileName.slice(Deno.cwd().length + 1);
    const score = scores.get(file) ?? { noticed: 0, all: 0, equivalent: 0 };
    scores.set(file, score);
    if (status === "Ignored" || status === "CompileError" || status === "RuntimeError") continue;
    const lines = sources.get(file)!.split("\n");
    const line = lines[location.start.line - 1]!;
    const equivalent = findEquivalent({ file, line, replacement: replacement ?? "" }, list);
    const isNoticed = status === "Killed" || status === "Timeout";
    if (equivalent !== undefined && !isNoticed) {
      used.add(equivalent);
      score.equivalent++;
      continue;
    }
    score.all++;
    if (isNoticed) score.noticed++;
    else console.log(survivor(file, lines, location, replacement ?? "", status === "NoCoverage"));
  }
  const sum = { noticed: 0, all: 0, equivalent: 0 };
  console.log("\nscore  noticed  mutants  equivalent");
  const row = (name: string, { noticed, all, equivalent }: typeof sum) => {
    const score = all === 0 ? "-" : `${Math.floor(100 * noticed / all)} %`;
    console.log(
      `${score.padStart(5)}${`${noticed}`.padStart(9)}${`${all}`.padStart(9)}${`${equivalent}`.padStart(12)}  ${name}`,
    );
  };
  for (const [file, score] of [...scores].sort(([a], [b]) => a < b ? -1 : 1)) {
    row(file, score);
    sum.noticed += score.noticed;
    sum.all += score.all;
    sum.equivalent += score.equivalent;
  }
  row("all", sum);
  for (const entry of list) {
    if (!scores.has(entry.file) || used.has(entry)) continue;
    console.log(`tests/mutation/equivalent.json: no mutant that survived matches ${JSON.stringify(entry)}`);
  }
}

/** A mutant in two lines: the place with the code as it is, and what replaced it. */
function survivor(
  file: string,
  lines: readonly string[],
  { start, end }: MutantResult["location"],
  replacement: string,
  isUnreached: boolean,
): string {
  const last = start.line === end.line ? end.column - 1 : undefined;
  const original = lines[start.line - 1]!.slice(start.column - 1, last) + (last === undefined ? " …" : "");
  const by = replacement.replace(/\s+/g, " ");
  return `${file}:${start.line}: ${lines[start.line - 1]!.trim()}\n    ${original}  ->  ${by}${
    isUnreached ? "  (no test reaches it)" : ""
  }`;
}

if (import.meta.main) Deno.exitCode = await main(Deno.args);
