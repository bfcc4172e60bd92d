/**
 * Finds the TypeScript files that a check reads. It reads none of them.
 *
 * @module
 */

import { join } from "node:path";

/**
 * Lists the TypeScript files of a folder and of the folders in it.
 *
 * @param folder A path from the current directory.
 * @returns Their paths from the current directory, sorted.
 */
export function sourceFiles(folder: string): string[] {
  return [...Deno.readDirSync(folder)].flatMap(({ name, isDirectory }) => {
    const path = join(folder, name);
    if (isDirectory) return sourceFiles(path);
    return path.endsWith(".ts") ? [path] : [];
  }).sort();
}
