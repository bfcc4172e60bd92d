/**
 * Finds out which commit a build is made from.
 *
 * @module
 */

/**
 * Reads the commit from `REVISION` in the environment, or else from git.
 *
 * @returns The value of `REVISION` or a short hash; undefined when neither is available.
 */
export async function revision(): Promise<string | undefined> {
  const given = Deno.env.get("REVISION");
  if (given) return given;
  try {
    const git = new Deno.Command("git", {
      args: ["rev-parse", "--short=12", "HEAD"],
      cwd: new URL(".", import.meta.url),
      stderr: "null",
    });
    const { success, stdout } = await git.output();
    return success ? new TextDecoder().decode(stdout).trim() : undefined;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}
