/**
 * A test runner for Stryker that runs Deno tests in Stryker's own worker process. It loads the test files once and
 * then runs, for each mutant, only the tests that reach it. That is many times faster than a process for each mutant.
 * It does not choose the mutants or the test files (`mutate.ts` does), and it does not judge the results.
 *
 * It offers what the tests of this project use of `Deno.test`: names, options, steps, and hooks before and after all
 * tests of a file. It lacks the sanitizers, so a mutant that only leaks counts as survived, and it runs the tests with
 * all permissions. It leaves out tests that fail then.
 *
 * @module
 */

import { join, relative } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import type { InstrumenterContext, StrykerOptions } from "@stryker-mutator/api/core";
import { commonTokens, declareClassPlugin, PluginKind, tokens } from "@stryker-mutator/api/plugin";
import {
  determineHitLimitReached,
  type DryRunOptions,
  type DryRunResult,
  DryRunStatus,
  type MutantRunOptions,
  type MutantRunResult,
  MutantRunStatus,
  type TestResult,
  type TestRunner,
  TestStatus,
  toMutantRunResult,
} from "@stryker-mutator/api/test-runner";

/** The name of the runner in Stryker's option `testRunner`. */
export const RUNNER_NAME = "deno";

/** The options of Stryker that are this runner's. */
export interface RunnerOptions {
  /** The test files of each source file. All paths are from the project's root. */
  readonly denoTestFiles: Readonly<Record<string, readonly string[]>>;
  /** Where to write the names of the tests that fail without a mutant, one a line. They are left out. */
  readonly denoFailedTests: string;
  /** Only every N-th mutant is tried, where N is this number. 1 for all. */
  readonly denoSample: number;
}

/** Tells whether a mutant is tried. Stryker numbers the mutants of a run in the order of the code, from 0 on. */
export function isInSample(id: string, sample: number): boolean {
  return Number(id) % sample === 0;
}

/** Tells Stryker which options this plugin knows. */
export const strykerValidationSchema = {
  properties: {
    denoTestFiles: { type: "object" },
    denoFailedTests: { type: "string" },
    denoSample: { type: "number" },
  },
};

interface RegisteredTest {
  readonly id: string;
  readonly file: string;
  readonly run: () => Promise<void>;
}

/** Where the first worker leaves the duration of each test for the others, in the folder of the instrumented copy. */
const TIMES_FILE = "test_times.json";

/** How long a test may take: a fixed time, and a multiple of what it took without a mutant. In milliseconds. */
const TIME_LIMIT = { baseMs: 1000, factor: 4 };

/** How many turns of the event loop the leftovers of a failed test get before the next mutant is switched on. */
const SETTLING_TURNS = 20;

/** Not what a test may put in its place. */
const setRealTimeout = globalThis.setTimeout;

/** Where the instrumented code reads which mutant is active and notes which mutants it reaches. */
const context: InstrumenterContext = (globalThis as { __stryker__?: InstrumenterContext }).__stryker__ ??= {};

class DenoTestRunner implements TestRunner {
  static readonly inject = tokens(commonTokens.options);
  readonly #options: RunnerOptions;
  readonly #tests: RegisteredTest[] = [];
  readonly #after: (() => unknown)[] = [];
  /** What an event handler or a promise that nobody awaits threw during the current test. */
  #stray: { readonly error: unknown } | undefined;
  #loaded = false;
  /** How long each test took without a mutant, in milliseconds, by its id. Undefined before the mutants. */
  #times: Map<string, number> | undefined;
  /** Whether a test has not ended. What it left running could disturb the next mutants. */
  #hanging = false;

  constructor(options: StrykerOptions) {
    this.#options = options as StrykerOptions & RunnerOptions;
    const note = (event: Event, error: unknown) => {
      event.preventDefault();
      this.#stray ??= { error };
    };
    addEventListener("error", (event) => note(event, event.error));
    addEventListener("unhandledrejection", (event) => note(event, event.reason));
  }

  capabilities() {
    return { reloadEnvironment: false };
  }

  async dryRun(options: DryRunOptions): Promise<DryRunResult> {
    await this.#load();
    if (options.coverageAnalysis !== "off") context.mutantCoverage ??= { static: {}, perTest: {} };
    const results = await this.#run(this.#tests, true);
    const passed = results.filter(({ status }) => status === TestStatus.Success);
    await Deno.writeTextFile(TIMES_FILE, JSON.stringify(passed.map(({ id, timeSpentMs }) => [id, timeSpentMs])));
    const failed = results.filter((result) => !passed.includes(result)).map(({ id }) => `${id}\n`);
    await Deno.writeTextFile(this.#options.denoFailedTests, failed.join(""));
    return { status: DryRunStatus.Complete, tests: passed, mutantCoverage: context.mutantCoverage };
  }

  async mutantRun(options: MutantRunOptions): Promise<MutantRunResult> {
    // Stryker replaces a worker that has ended, and repeats the call.
    if (this.#hanging) Deno.exit(1);
    if (!isInSample(options.activeMutant.id, this.#options.denoSample)) {
      return { status: MutantRunStatus.Error, errorMessage: "not in the sample" };
    }
    const { activeMutant, sandboxFileName, mutantActivation, testFilter } = options;
    const activate = () => {
      context.activeMutant = activeMutant.id;
      // For the processes that a test starts.
      Deno.env.set("__STRYKER_ACTIVE_MUTANT__", activeMutant.id);
    };
    if (mutantActivation === "static") activate();
    await this.#load();
    activate();
    const times = this.#times ??= new Map<string, number>(JSON.parse(await Deno.readTextFile(TIMES_FILE)));
    context.hitCount = 0;
    context.hitLimit = options.hitLimit;
    const files = this.#options.denoTestFiles[relative(Deno.cwd(), sandboxFileName)] ?? [];
    const isChosen = ({ id, file }: RegisteredTest) =>
      times.has(id) && files.includes(file) && (testFilter?.includes(id) ?? true);
    const chosen = this.#tests.filter(isChosen)
      .sort((a, b) => times.get(a.id)! - times.get(b.id)!);
    const tests = await this.#run(chosen, options.disableBail);
    const endless = determineHitLimitReached(context.hitCount, context.hitLimit);
    return toMutantRunResult(endless ?? { status: DryRunStatus.Complete, tests });
  }

  async dispose(): Promise<void> {
    for (const hook of this.#after) await hook();
  }

  async #load(): Promise<void> {
    if (this.#loaded) return;
    this.#loaded = true;
    for (const file of new Set(Object.values(this.#options.denoTestFiles).flat())) {
      this.#collectFrom(file);
      await import(pathToFileURL(join(Deno.cwd(), file)).href);
    }
  }

  /** Replaces `Deno.test`, so that the file that is loaded next registers its tests here. */
  #collectFrom(file: string): void {
    const before: (() => unknown)[] = [];
    const beforeOnce = async () => {
      for (const hook of before.splice(0)) await hook();
    };
    const register = (...args: unknown[]) => {
      const { name, ignore, fn } = definitionOf(args);
      if (ignore) return;
      const run = async () => {
        await beforeOnce();
        await fn(testContext(name, file));
      };
      this.#tests.push({ id: `${file}: ${name} (${this.#tests.length})`, file, run });
    };
    const hooks = {
      beforeAll: (hook: () => unknown) => before.push(hook),
      afterAll: (hook: () => unknown) => this.#after.push(hook),
      ignore: () => {},
    };
    Object.defineProperty(Deno, "test", { configurable: true, writable: true, value: Object.assign(register, hooks) });
  }

  async #run(tests: readonly RegisteredTest[], all: boolean): Promise<TestResult[]> {
    const results: TestResult[] = [];
    for (const test of tests) {
      const result = await this.#runOne(test);
      results.push(result);
      if (result.status !== TestStatus.Failed) continue;
      for (let turns = 0; turns < SETTLING_TURNS; turns++) await turn();
      if (!all) break;
    }
    return results;
  }

  async #runOne({ id, file, run }: RegisteredTest): Promise<TestResult> {
    this.#stray = undefined;
    // It stays until the next test, so that what a test leaves running is not taken for code that runs at load.
    context.currentTestId = id;
    const start = performance.now();
    let failure: { readonly error: unknown } | undefined;
    try {
      await this.#withinLimit(id, run());
      await turn();
    } catch (error) {
      failure = { error };
    }
    failure ??= this.#stray;
    const result = { id, name: id, fileName: file, timeSpentMs: Math.round(performance.now() - start) };
    if (failure === undefined) return { ...result, status: TestStatus.Success };
    return { ...result, status: TestStatus.Failed, failureMessage: Deno.inspect(failure.error) };
  }

  /** Fails a test that takes far longer than it did without a mutant. */
  async #withinLimit(id: string, ended: Promise<void>): Promise<void> {
    const usualMs = this.#times?.get(id);
    if (usualMs === undefined) return await ended;
    let timer: ReturnType<typeof setRealTimeout> | undefined;
    const late = new Promise<void>((_, reject) => {
      timer = setRealTimeout(() => {
        this.#hanging = true;
        reject(new Error("the test does not end"));
      }, TIME_LIMIT.baseMs + TIME_LIMIT.factor * usualMs);
    });
    try {
      await Promise.race([ended, late]);
    } finally {
      clearTimeout(timer);
    }
  }
}

interface Definition {
  readonly name: string;
  readonly ignore?: boolean;
  readonly fn: (context: Deno.TestContext) => void | Promise<void>;
}

/** Reads the forms of arguments that `Deno.test` and `TestContext.step` take. */
function definitionOf(args: readonly unknown[]): Definition {
  const parts = args.map((arg) => {
    if (typeof arg === "string") return { name: arg };
    return typeof arg === "function" ? { name: arg.name, fn: arg } : arg as object;
  });
  const [first, ...rest] = parts;
  return { ...Object.assign({}, ...rest), ...first } as Definition;
}

function testContext(name: string, origin: string): Deno.TestContext {
  const step = async (...args: unknown[]) => {
    const { name, ignore, fn } = definitionOf(args);
    if (!ignore) await fn(testContext(name, origin));
    return !ignore;
  };
  return { name, origin, step } as Deno.TestContext;
}

/** What Stryker loads from this module. */
export const strykerPlugins = [declareClassPlugin(PluginKind.TestRunner, RUNNER_NAME, DenoTestRunner)];
