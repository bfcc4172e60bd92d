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
