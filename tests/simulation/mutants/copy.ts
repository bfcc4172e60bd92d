/**
 * Copies folders of sources.
 *
 * @module
 */

/** Copies a file or a folder with all that is in it, and makes the folders that it needs. */
export function copySync(from: string, to: string): void {
  Deno.mkdirSync(to.replace(/\/[^/]+$/, ""), { recursive: true });
  if (!Deno.statSync(from).isDirectory) return Deno.copyFileSync(from, to);
  for (const { name } of Deno.readDirSync(from)) copySync(`${from}/${name}`, `${to}/${name}`);
}
