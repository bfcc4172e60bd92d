/**
 * Runs the exploration on each mutant, and says which are found: `deno run -P=development tests/simulation/mutants/main.ts
 * [NAME …]`. Each runs on a copy of the sources in a temporary folder.
 *
 * @module
 */

import { copySync } from "./copy.ts";
import { type Mutant, MUTANTS } from "./mutants.ts";

const ROOT = new URL("../../../", import.meta.url);

/** What the copies need besides the sources. */
const FILES = ["deno.json", "deno.lock", "tests/simulation", "tests/chaos/nodes"];

/** What came of a mutant. */
interface Outcome {
  readonly isFound: boolean;
  /** The line about the seed that found it. */
  readonly line: string;
  readonly seconds: number;
}

/** Runs a mutant. Throws if its text is not in its file exactly once. */
async function runMutant(mutant: Mutant): Promise<Outcome> {
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
    const args = ["run", "--quiet", "--no-check", "-P=development", "tests/simulation/explore.ts"];
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [...args, "--seeds", `${mutant.seeds}`, "--no-shrink"],
      cwd: folder,
    }).output();
    const text = new TextDecoder().decode(stdout);
    const line = text.split("\n").find((each) => each.includes("FAILS")) ?? "";
    if (code > 1 || (code === 1 && line === "")) throw new Error(new TextDecoder().decode(stderr));
    return { isFound: code === 1, line, seconds: (performance.now() - began) / 1000 };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

if (import.meta.main) {
  const chosen = MUTANTS.filter(({ name }) => Deno.args.length === 0 || Deno.args.some((arg) => name.includes(arg)));
  let missed = 0;
  for (const mutant of chosen) {
    const { isFound, line, seconds } = await runMutant(mutant);
    if (!isFound) missed++;
    const how = isFound ? line.replace(/:.*FAILS:/, ":") : `NOT FOUND within ${mutant.seeds} seeds`;
    console.log(`${isFound ? "found " : "MISSED"} ${mutant.name} (${seconds.toFixed(0)} s): ${how}`);
  }
  console.log(`${chosen.length - missed} of ${chosen.length} found`);
  if (missed > 0) Deno.exitCode = 1;
}
