/** The runner that shows the tests to mutants, without Stryker around it. @module */

import { deepEqual, equal } from "node:assert/strict";
import { isInSample } from "../../src/tasks/mutation_runner.ts";

Deno.test("a sample has every N-th mutant, and one of 1 has all", () => {
  const sampled = (sample: number) => ["0", "1", "2", "3", "4"].filter((id) => isInSample(id, sample));
  deepEqual(sampled(2), ["0", "2", "4"]);
  deepEqual(sampled(1).length, 5);
});

/** The code under test, with mutants as Stryker switches them on. Its first mutant is not in a sample of 2. */
const CODE = `
const isActive = (id: string) => (globalThis as any).__stryker__?.activeMutant === id;
export const sum = (a: number, b: number) => isActive("2") ? a - b : a + b;
export const wait = () => isActive("4") ? new Promise<void>(() => {}) : Promise.resolve();
export const later = () => void (isActive("6") && Promise.reject(new Error("nobody handles it")));
`;

const TESTS = `
import { later, sum, wait } from "./code.ts";
Deno.test("a sum", () => {
  if (sum(1, 1) !== 2) throw new Error("wrong");
});
Deno.test({ name: "fails anyway", fn() { throw new Error("always"); } });
Deno.test("left out", { ignore: true }, () => {});
Deno.test(async function waits(t) {
  await t.step("for the end", async () => await wait());
});
Deno.test("what it leaves running", () => later());
`;

/** Makes the runner, shows it the code without and with mutants, and prints what it says. */
const SCRIPT = (runner: string) => `
import { strykerPlugins } from ${JSON.stringify(runner)};
const [{ injectableClass: Runner }] = strykerPlugins as any;
const options = { denoTestFiles: { "code.ts": ["code_test.ts"] }, denoFailedTests: "failed.txt", denoSample: 2 };
const told = [];
const first = new Runner(options);
const { status, tests } = await first.dryRun({ coverageAnalysis: "off" });
told.push([status, tests.map(({ name }: any) => name)], Deno.readTextFileSync("failed.txt"));
for (const id of ["1", "8", "2", "6", "4"]) {
  const run = { activeMutant: { id }, sandboxFileName: Deno.cwd() + "/code.ts", mutantActivation: "runtime" };
  const { status, killedBy = [], errorMessage } = await first.mutantRun(run);
  told.push([id, status, ...[killedBy].flat(), ...(errorMessage ? [errorMessage] : [])]);
}
console.log(JSON.stringify(told));
Deno.exit(0);
`;

Deno.test("a mutant is killed by the first test that fails, does not end, or leaves a failure behind, and else survives", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const runner = new URL("../../src/tasks/mutation_runner.ts", import.meta.url).href;
    const files = { "code.ts": CODE, "code_test.ts": TESTS, "script.ts": SCRIPT(runner) };
    for (const [name, text] of Object.entries(files)) await Deno.writeTextFile(`${folder}/${name}`, text);
    const config = new URL("../../deno.json", import.meta.url).pathname;
    const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "--no-check", "--allow-all", `--config=${config}`, `${folder}/script.ts`],
      cwd: folder,
    }).output();
    equal(new TextDecoder().decode(stderr), "");
    const told = JSON.parse(new TextDecoder().decode(stdout));
    const [sum, waits, leaves] = ["a sum (0)", "waits (2)", "what it leaves running (3)"].map((id) =>
      `code_test.ts: ${id}`
    );
    deepEqual(told, [
      ["complete", [sum, waits, leaves]],
      "code_test.ts: fails anyway (1)\n",
      ["1", "error", "not in the sample"],
      ["8", "survived"],
      ["2", "killed", sum],
      ["6", "killed", leaves],
      ["4", "killed", waits],
    ]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
