/**
 * Notices that the program that launched a task has ended. npx passes SIGTERM to
 * the shell between itself and `deno task`; the shell ends, and neither
 * `deno task` nor what it runs hears of it. It would go on without an owner.
 *
 * @module
 */

/** How often to look, in milliseconds. */
const LOOK_MS = 500;

/**
 * Waits until this process, or the `deno task` that started it, has lost its parent. Resolves never when the process
 * was not started by `deno task`, and watches the parent of `deno task` only when npm started it: a shell may end and
 * leave its jobs running on purpose.
 */
export async function launcherEnded(): Promise<void> {
  // deno task and npm set these variables.
  if (!Deno.env.has("INIT_CWD")) return await new Promise(() => {});
  const task = Deno.ppid;
  const watchesParent = Deno.env.has("npm_command");
  const parent = watchesParent ? await parentOf(task) : undefined;
  while (Deno.ppid === task && (parent === undefined || await parentOf(task) === parent)) {
    await new Promise<void>((resolve) => Deno.unrefTimer(setTimeout(resolve, LOOK_MS)));
  }
}

/** Finds the parent of a process; undefined when the system does not tell. */
async function parentOf(pid: number): Promise<number | undefined> {
  try {
    const stat = await Deno.readTextFile(`/proc/${pid}/stat`);
    // The name, in parentheses, may contain spaces and parentheses. State and parent follow it.
    return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
  } catch {
    // Not Linux, or the process has ended.
  }
  try {
    const { success, stdout } = await new Deno.Command("ps", { args: ["-o", "ppid=", "-p", `${pid}`] }).output();
    return success ? Number(new TextDecoder().decode(stdout)) : undefined;
  } catch {
    return undefined;
  }
}
