/**
 * Notices that the program that launched a task has ended. npx passes SIGTERM to
 * the shell between itself and `deno task`; the shell ends, and neither
 * `deno task` nor what it runs hears of it. It would go on without an owner.
 *
 * @module
 */

/** How often to look, in milliseconds. */
const LOOK_MS = 500;

/** The launcher of this process. */
export interface Launcher {
  /** Resolves when it has ended; never if nothing launched this process. */
  readonly ended: Promise<void>;
}

/**
 * Finds the launcher: the `deno task` that started this process, and the parent of `deno task` when npm started it. A
 * shell may end and leave its jobs running on purpose. Call it before anything that the launcher may wait for.
 */
export async function findLauncher(): Promise<Launcher> {
  // deno task and npm set these variables.
  if (!Deno.env.has("INIT_CWD")) return { ended: new Promise(() => {}) };
  const task = Deno.ppid;
  const parent = Deno.env.has("npm_command") ? await parentOf(task) : undefined;
  return { ended: launcherEnded(task, parent) };
}

async function launcherEnded(task: number, parent: number | undefined): Promise<void> {
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
