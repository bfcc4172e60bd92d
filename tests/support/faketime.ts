/**
 * Runs a process with a wrong wall clock. Debian's package `faketime` has the library that does it; timers and the
 * monotonic clock stay right.
 *
 * @module
 */

/** The path of the library; undefined if the package `faketime` is not installed. */
export const FAKETIME_LIBRARY: string | undefined = find();

/** Why no clock can be shifted here; undefined if it can. */
export const FAKETIME_LACK: string | undefined = FAKETIME_LIBRARY === undefined
  ? "the package faketime is not installed"
  : undefined;

/**
 * The environment of a process whose wall clock is wrong.
 *
 * @param offset Such as `+1h` or `-59m`.
 * @throws {Error} The package `faketime` is not installed.
 */
export function faketimeEnvironment(offset: string): Record<string, string> {
  if (FAKETIME_LIBRARY === undefined) throw new Error(FAKETIME_LACK);
  // Not the command `faketime`: it starts the program as a child, which would survive a kill of the command.
  return { LD_PRELOAD: FAKETIME_LIBRARY, FAKETIME: offset, FAKETIME_DONT_FAKE_MONOTONIC: "1" };
}

function find(): string | undefined {
  const folders = ["/usr/lib/faketime"];
  try {
    for (const { name, isDirectory } of Deno.readDirSync("/usr/lib")) {
      if (isDirectory && name.includes("linux")) folders.push(`/usr/lib/${name}/faketime`);
    }
  } catch {
    // A machine without /usr/lib has no such package.
  }
  // The variant for programs with several threads.
  return folders.map((folder) => `${folder}/libfaketimeMT.so.1`).find(exists);
}

function exists(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}
