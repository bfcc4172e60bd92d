/**
 * Runs the program from source as a child of a task, for `deno task dev` and
 * `deno task simulate`. It passes signals on, notices when its launcher has
 * ended, and with `--watch` restarts the program when its source changes. It
 * leaves no process behind.
 *
 * `supervise.ts [--watch] [ARGUMENT...]`; with `--watch` the arguments are those
 * of the server, whose locks are in `.fleetlock/dev.db` unless the environment
 * chooses another store.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { findLauncher, type Launcher } from "./launcher.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** The paths, from the project's root, whose changes restart the program. */
const WATCHED = ["main.ts", "src", "deno.json"] as const;

/** How long after a change to wait for further changes, in milliseconds: an editor writes several files at once. */
const SETTLE_MS = 150;

/** How long the program may take to stop before it is killed, in milliseconds. */
const STOP_MS = 30_000;

/** Starts the program with the given arguments. */
function start(args: readonly string[], env: Record<string, string>): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "-P=development", "main.ts", ...args],
    cwd: root,
    env,
  }).spawn();
}

/** Asks a program to stop, kills it if it takes too long, and returns its exit code. */
async function stop(program: Deno.ChildProcess, signal: Deno.Signal): Promise<number> {
  kill(program, signal);
  const timer = setTimeout(() => kill(program, "SIGKILL"), STOP_MS);
  const { code } = await program.status;
  clearTimeout(timer);
  return code;
}

function kill(program: Deno.ChildProcess, signal: Deno.Signal): void {
  try {
    program.kill(signal);
  } catch (error) {
    // The program has already ended.
    if (!(error instanceof TypeError)) throw error;
  }
}

/** Resolves to the signal that asks this process to end, or to SIGTERM when its launcher has ended. */
function askedToStop(launcher: Launcher): Promise<Deno.Signal> {
  const asked = Promise.withResolvers<Deno.Signal>();
  for (const signal of ["SIGINT", "SIGTERM", "SIGQUIT", "SIGHUP"] as const) {
    // SIGHUP is the end of the terminal. The program itself need not end on it.
    Deno.addSignalListener(signal, () => asked.resolve(signal === "SIGHUP" ? "SIGTERM" : signal));
  }
  // The program ignores these. Their default action would end this process and leave the program behind.
  for (const signal of ["SIGUSR1", "SIGUSR2"] as const) Deno.addSignalListener(signal, () => {});
  launcher.ended.then(() => asked.resolve("SIGTERM"));
  return asked.promise;
}

/** Resolves when the source has changed and no further change has followed for a moment. */
async function changed(): Promise<"changed"> {
  const watcher = Deno.watchFs(WATCHED.map((path) => `${root}${path}`));
  let timer: ReturnType<typeof setTimeout> | undefined;
  for await (const { kind } of watcher) {
    if (kind === "access") continue;
    clearTimeout(timer);
    timer = setTimeout(() => watcher.close(), SETTLE_MS);
  }
  return "changed";
}

/**
 * The environment for the server: the SQLite file of development, unless a store is chosen. Makes the file's folder.
 */
function serverEnvironment(): Record<string, string> {
  if (Deno.env.get("KUBECONFIG") || Deno.env.get("FLEETLOCK_STORE")) return {};
  Deno.mkdirSync(`${root}.fleetlock`, { recursive: true });
  return { FLEETLOCK_STORE: "sqlite:.fleetlock/dev.db" };
}

/** The address of the status page of a server with the given arguments. */
function pageAddress(args: readonly string[]): string {
  const at = args.findIndex((arg) => /^--?address(=|$)/.test(arg));
  const given = at < 0 ? Deno.env.get("FLEETLOCK_ADDRESS") : args[at]!.split("=")[1] ?? args[at + 1];
  const port = /:(\d+)$/.exec(given ?? "")?.[1] ?? "8080";
  return `http://127.0.0.1:${port}/`;
}

/** Runs the program once and returns its exit code. */
async function runOnce(args: readonly string[], launcher: Launcher): Promise<number> {
  const asked = askedToStop(launcher);
  const program = start(args, {});
  const first = await Promise.race([asked, program.status]);
  return typeof first === "string" ? await stop(program, first) : first.code;
}

/**
 * Runs the server and restarts it on changes. A server that ends by itself ends the task with its exit code, unless a
 * change made it end: then the next change may mend it.
 */
async function runAndRestart(args: readonly string[], launcher: Launcher): Promise<number> {
  const env = serverEnvironment();
  const asked = askedToStop(launcher);
  console.error(`task dev: the state of the locks is shown at ${pageAddress(args)}`);
  for (let restarts = 0;; restarts++) {
    const change = changed();
    const program = start(["--log-format", "text", ...args], env);
    const first = await Promise.race([asked, change, program.status]);
    if (typeof first === "string" && first !== "changed") return await stop(program, first);
    if (first === "changed") {
      await stop(program, "SIGTERM");
      console.error("task dev: restarts because the source has changed");
      continue;
    }
    if (restarts === 0 || first.success) return first.code;
    console.error(`task dev: the server ended with exit code ${first.code}; waits for a change of the source`);
    if (await Promise.race([asked, change]) !== "changed") return first.code;
  }
}

const watches = Deno.args[0] === "--watch";
const launcher = await findLauncher();
Deno.exit(watches ? await runAndRestart(Deno.args.slice(1), launcher) : await runOnce(Deno.args, launcher));
