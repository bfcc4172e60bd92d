/**
 * Which commit is being built.
 *
 * @module
 */

/**
 * The commit: what `REVISION` in the environment says, or else git.
 *
 * @returns A short hash, or undefined where neither knows.
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
