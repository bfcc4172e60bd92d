/**
 * Chooses the tests that mutants of a source file are shown to. It reads no files.
 *
 * @module
 */

import { dirname, join } from "node:path";

/** Tests that are slow or that do not run the program in this process. */
const OTHER_TESTS = /^tests\/(cluster|program|chaos|bench|tasks)\//;

const IMPORT = /^(?:import|export) [^"]*?from "(\.[^"]+)"|\bimport\("(\.[^"]+)"\)/gm;

/**
 * Chooses the test files of a source file: those that import it, themselves or by a helper, and those that they name in
 * their first comment as where more is tested. Where no test imports it, those of the files that import it.
 *
 * @param file The path of the source file from the project's root.
 * @param sources The text of each file of `src` and `tests` by its path.
 * @param onlyOwn Whether to leave out all but the test file of the same name, with those that it names, where there is
 * one.
 * @returns The paths of the test files, sorted. Empty if no test reaches the file.
 */
export function testsOf(file: string, sources: ReadonlyMap<string, string>, onlyOwn = false): string[] {
  const own = file.replace(/^src\/(.*)\.ts$/, "tests/$1_test.ts");
  if (onlyOwn && sources.has(own)) return [...new Set([own, ...testsNamedBy(own, sources)])].sort();
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
    const named = tests.flatMap((path) => testsNamedBy(path, sources));
    if (tests.length > 0) return [...new Set([...tests, ...named])].sort();
    sourcesToReach = [...reached].filter((path) => path.startsWith("src/"));
  }
  return [];
}

/** The test files in the folder of a test file, or by their path, that its first comment names. */
function testsNamedBy(test: string, sources: ReadonlyMap<string, string>): string[] {
  const [comment] = /^\/\*\*.*?\*\//s.exec(sources.get(test)!) ?? [""];
  return [...comment.matchAll(/[\w/]+_test\.ts/g)]
    .map(([name]) => name.startsWith("tests/") ? name : join(dirname(test), name))
    .filter((path) => sources.has(path) && !OTHER_TESTS.test(path));
}
