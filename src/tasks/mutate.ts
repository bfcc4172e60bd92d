/**
 * Measures whether the tests notice small changes of the program: `deno task mutate [PATH …]`, where each path is a
 * file or folder of `src`, by default `src`. Stryker makes the changes (mutants), `mutation_runner.ts` runs the tests.
 * The output is each mutant that no test noticed, and the score of each file. `--jobs N` sets the number of processes.
 * `--sample N` tries only every N-th mutant, for files whose tests are slow; the output says how many it left out.
 * `--own` shows the mutants only to the test file of the same name, where there is one, and to those that it names in
 * its first comment: faster, and a lower bound of the score.
 *
 * `test_choice.ts` chooses the tests of each file. Mutants of strings are left out: sentences are for people, and the
 * compiler checks the kinds of a union.
 *
 * `tests/mutation/equivalent.json` lists the mutants that do not change what the program does, each with its reason.
 *
 * @module
 */

import { relative } from "node:path";
import { parseArgs } from "node:util";
import type { LogLevel, MutantResult, PartialStrykerOptions } from "@stryker-mutator/api/core";
import { Stryker } from "@stryker-mutator/core";
import * as runner from "./mutation_runner.ts";
import { sourceFiles } from "./source_files.ts";
import { testsOf } from "./test_choice.ts";

/** A mutant that no test can notice, because the program does the same with it. */
interface Equivalent {
  /** The path of the source file from the project's root. */
  readonly file: string;
  /** The first line of the mutated code, without its indentation. It stands for the place, as line numbers change. */
  readonly line: string;
  /** The code that is replaced, as the task prints it: its first line, and ` …` where there are more. */
  readonly code: string;
  /** What the mutant puts in its place. */
  readonly replacement: string;
  /** Why the program does the same. */
  readonly reason: string;
}

/** What identifies a mutant. */
const KEYS = ["file", "line", "code", "replacement"] as const;

/** A mutant as the task prints it and as the list of the equivalent ones names it. */
type Mutation = Omit<Equivalent, "reason">;

async function main(args: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    options: {
      jobs: { type: "string", default: "1" },
      sample: { type: "string", default: "1" },
      own: { type: "boolean", default: false },
    },
    allowPositionals: true,
  });
  const sample = Number(values.sample);
  if (!Number.isInteger(sample) || sample < 1) {
    console.error("deno task mutate: --sample takes a whole number from 1 on");
    return 2;
  }
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
  const tests = Object.fromEntries(files.map((file) => [file, testsOf(file, sources, values.own)]));
  const results = await run(files, { denoTestFiles: tests, denoSample: sample }, Number(values.jobs));
  const list: Equivalent[] = JSON.parse(Deno.readTextFileSync("tests/mutation/equivalent.json"));
  const tried = results.filter(({ id }) => runner.isInSample(id, sample));
  const unused = report(tried, sources, list);
  if (sample > 1) {
    const count = (some: readonly MutantResult[]) => some.filter(({ status }) => status !== "Ignored").length;
    console.log(`A sample: ${count(results) - count(tried)} more mutants were not tried. The scores are estimates.`);
    return 0;
  }
  for (const entry of unused) {
    console.log(`tests/mutation/equivalent.json: no mutant that survived matches ${JSON.stringify(entry)}`);
  }
  return 0;
}

async function run(
  files: string[],
  chosen: Pick<runner.RunnerOptions, "denoTestFiles" | "denoSample">,
  concurrency: number,
): Promise<MutantResult[]> {
  const failedTests = Deno.makeTempFileSync();
  const options: PartialStrykerOptions & runner.RunnerOptions = {
    mutate: files,
    mutator: { excludedMutations: ["StringLiteral"] },
    testRunner: runner.RUNNER_NAME,
    ...chosen,
    denoFailedTests: failedTests,
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
  try {
    return await new Stryker(options).runMutationTest();
  } finally {
    for (const name of Deno.readTextFileSync(failedTests).split("\n").filter(Boolean)) {
      console.error(`Left out, because it fails without a change too: ${name}`);
    }
    Deno.removeSync(failedTests);
  }
}

/**
 * Prints the mutants that no test noticed and the score of each file. Returns the entries of the list that no mutant
 * needs.
 */
function report(
  results: readonly MutantResult[],
  sources: ReadonlyMap<string, string>,
  list: readonly Equivalent[],
): Equivalent[] {
  const used = new Set<Equivalent>();
  const scores = new Map<string, { noticed: number; all: number; equivalent: number }>();
  for (const result of results) {
    const file = relative(Deno.cwd(), result.fileName);
    const score = scores.get(file) ?? { noticed: 0, all: 0, equivalent: 0 };
    scores.set(file, score);
    if (!["Killed", "Timeout", "Survived", "NoCoverage"].includes(result.status)) continue;
    const mutation = describe(file, sources.get(file)!, result);
    const isNoticed = result.status === "Killed" || result.status === "Timeout";
    const equivalent = list.find((entry) => KEYS.every((key) => entry[key] === mutation[key]));
    if (equivalent !== undefined && !isNoticed) {
      used.add(equivalent);
      score.equivalent++;
      continue;
    }
    score.all++;
    if (isNoticed) score.noticed++;
    else {
      const remark = result.status === "NoCoverage" ? "  (no test reaches it)" : "";
      console.log(`${file}:${result.location.start.line}: ${mutation.line}`);
      console.log(`    ${mutation.code}  ->  ${mutation.replacement}${remark}`);
    }
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
  return list.filter((entry) => scores.has(entry.file) && !used.has(entry));
}

function describe(
  file: string,
  source: string,
  { location: { start, end }, replacement = "" }: MutantResult,
): Mutation {
  const line = source.split("\n")[start.line - 1]!;
  const isWhole = start.line === end.line;
  const code = isWhole ? line.slice(start.column - 1, end.column - 1) : `${line.slice(start.column - 1)} …`;
  return { file, line: line.trim(), code, replacement: replacement.replace(/\s+/g, " ") };
}

if (import.meta.main) Deno.exitCode = await main(Deno.args);
