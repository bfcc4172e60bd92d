/**
 * Notices that the program that launched a task has ended. npx passes SIGTERM to
 * the shell between itself and `deno task`, and SIGKILL to nobody: then neither
 * `deno task` nor what it runs hears of it. It would go on without an owner.
 *
 * @module
 */

/** How often to look, in milliseconds. */
const LOOK_MS = 500;

/** How many ancestors of `deno task` to look at in search of npm. */
const MAX_ANCESTORS = 8;

/** The title that npm gives its process. */
const NPM_TITLE = /^np[mx] /;

/** The launcher of this process. */
export interface Launcher {
  /** Resolves when it has ended; never if nothing launched this process. */
  readonly ended: Promise<void>;
}

/** A process of the system. */
interface Process {
  readonly parent: number;
  /** Its arguments, or the title that it has given itself. */
  readonly title: string;
}

/**
 * Finds the launcher: the `deno task` that started this process and, when npm started it, all that is between `deno
 * task` and npm, and npm. Another shell may end and leave its jobs running on purpose. Call it before anything that the
 * launcher may wait for.
 */
export async function findLauncher(): Promise<Launcher> {
  // deno task and npm set these variables.
  if (!Deno.env.has("INIT_CWD")) return { ended: new Promise(() => {}) };
  const task = Deno.ppid;
  const parents = Deno.env.has("npm_command") ? parentsUpToNpm(task, await processes(["-e"])) : new Map();
  return { ended: launcherEnded(task, parents) };
}

/**
 * Finds the processes between `deno task` and npm: a shell, and where npm may not run install scripts, a script of the
 * package that runs Deno.
 *
 * @returns The parent of each, up to npm; that of `deno task` alone where no ancestor is npm, as with other launchers.
 */
function parentsUpToNpm(task: number, all: ReadonlyMap<number, Process>): Map<number, number> {
  const parents = new Map<number, number>();
  for (let pid = task; parents.size < MAX_ANCESTORS;) {
    const parent = all.get(pid)?.parent;
    if (parent === undefined || parent <= 1) break;
    parents.set(pid, parent);
    if (NPM_TITLE.test(all.get(parent)?.title ?? "")) return parents;
    pid = parent;
  }
  return new Map([...parents].slice(0, 1));
}

/** Resolves when one of the processes has ended: then the system has given its child another parent. */
async function launcherEnded(task: number, parents: ReadonlyMap<number, number>): Promise<void> {
  const pids = [...parents.keys()];
  while (Deno.ppid === task) {
    if (pids.length > 0) {
      const now = await processes(["-p", pids.join(",")]);
      // Of the processes that were asked for, at least deno task is there while it is the parent: ps has failed.
      const isKnown = now.size > 0;
      if (isKnown && pids.some((pid) => now.get(pid)?.parent !== parents.get(pid))) return;
    }
    await new Promise<void>((resolve) => Deno.unrefTimer(setTimeout(resolve, LOOK_MS)));
  }
}

/** Finds processes by their ids; none when the system does not tell. Deno reads /proc only with all permissions. */
async function processes(which: readonly string[]): Promise<Map<number, Process>> {
  const found = new Map<number, Process>();
  try {
    const args = ["-o", "pid=,ppid=,args=", ...which];
    const { stdout } = await new Deno.Command("ps", { args, stdin: "null", stderr: "null" }).output();
    for (const [, pid, parent, title] of new TextDecoder().decode(stdout).matchAll(/^ *(\d+) +(\d+) (.*)$/gm)) {
      found.set(Number(pid), { parent: Number(parent), title: title! });
    }
  } catch {
    // There is no ps.
  }
  return found;
}
