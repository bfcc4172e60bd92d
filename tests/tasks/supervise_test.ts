/**
 * `deno task dev` and `deno task simulate` in a project of their own, whose program only says what it does: they end
 * when they are asked to, when their launcher ends and when the program fails, and they leave no process behind.
 *
 * @module
 */

import { deepEqual, equal, match, ok } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import manifest from "../../deno.json" with { type: "json" };
import { until } from "../support/condition.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));

/**
 * Stands in for the program: names its pid, its arguments and its store, and ends when asked to, with `--slow` only
 * after a second. As in the program, a signal that comes soon after the first one belongs to it. It tells when the task
 * ended before it.
 */
const PROGRAM = `
const [first, code] = Deno.args.filter((each) => each !== "--log-format" && each !== "text");
let asked;
const task = Deno.ppid;
for (const signal of ["SIGUSR1", "SIGUSR2", "SIGHUP"]) Deno.addSignalListener(signal, () => {});
for (const signal of ["SIGTERM", "SIGINT", "SIGQUIT"]) {
  Deno.addSignalListener(signal, () => {
    if (asked !== undefined && performance.now() - asked < 500) return;
    if (asked !== undefined) Deno.exit(1);
    asked = performance.now();
    setTimeout(() => {
      console.log("got " + signal + (Deno.ppid === task ? "" : " after the end of the task"));
      Deno.exit(0);
    }, Deno.args.includes("--slow") ? 1_000 : 0);
  });
}
// A test may send its signal as soon as it sees this line.
console.log(\`pid=\${Deno.pid} args=\${Deno.args.join(" ")} store=\${Deno.env.get("FLEETLOCK_STORE")}\`);
if (first === "--exit") Deno.exit(Number(code));
setInterval(() => {}, 1_000);
`;

/** A project with the real tasks and their scripts, and the stand-in for the program. */
class Project implements AsyncDisposable {
  readonly folder: string;
  readonly #started: Deno.ChildProcess[] = [];
  output = "";

  constructor(folder: string) {
    this.folder = folder;
  }

  static async create(): Promise<Project> {
    const project = new Project(await Deno.makeTempDir({ prefix: "fleetlock-test-" }));
    await Deno.mkdir(`${project.folder}/src/tasks`, { recursive: true });
    for (const name of ["supervise.ts", "launcher.ts"]) {
      await Deno.copyFile(`${root}src/tasks/${name}`, `${project.folder}/src/tasks/${name}`);
    }
    const { tasks, permissions } = manifest;
    await Deno.writeTextFile(`${project.folder}/deno.json`, JSON.stringify({ tasks, permissions }));
    await Deno.writeTextFile(`${project.folder}/main.ts`, PROGRAM);
    return project;
  }

  /** Starts a command in a process group of its own. */
  start(command: string, args: string[], env: Record<string, string> = {}): Deno.ChildProcess {
    const process = new Deno.Command(command, {
      args,
      cwd: this.folder,
      clearEnv: true,
      env: { PATH: Deno.env.get("PATH") ?? "", HOME: Deno.env.get("HOME") ?? "", NO_COLOR: "1", ...env },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
      detached: true,
    }).spawn();
    this.#started.push(process);
    for (const stream of [process.stdout, process.stderr]) {
      (async () => {
        for await (const text of stream.pipeThrough(new TextDecoderStream())) this.output += text;
      })();
    }
    return process;
  }

  /** Waits until the program has been started as many times, and returns its latest pid. */
  async programs(count: number): Promise<number> {
    const found = await until(() => {
      const pids = [...this.output.matchAll(/pid=(\d+)/g)];
      return pids.length >= count ? pids : undefined;
    }, { timeoutMs: 30_000, what: () => `the program starts ${count} times:\n${this.output}` });
    return Number(found.at(-1)![1]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const process of this.#started) {
      try {
        Deno.kill(-process.pid, "SIGKILL");
      } catch {
        // Nothing of the group is left.
      }
      await process.status;
    }
    await Deno.remove(this.folder, { recursive: true });
  }
}

/** Waits until no process of the group is left. */
async function groupEnds(group: number): Promise<void> {
  const left = async () => {
    const { stdout } = await new Deno.Command("ps", { args: ["-eo", "pgid=,stat=,args="] }).output();
    return new TextDecoder().decode(stdout).split("\n").filter((line) => new RegExp(`^ *${group} +[^Z]`).test(line));
  };
  let last: string[] = [];
  await until(async () => (last = await left()).length === 0, { what: () => `these are left:\n${last.join("\n")}` });
}

const nothingSanitized = { sanitizeOps: false, sanitizeResources: false };

for (const signal of ["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP"] as const) {
  for (const target of ["deno task", "the process group"]) {
    Deno.test(`task dev stops its server and ends on ${signal} to ${target}`, nothingSanitized, async () => {
      await using project = await Project.create();
      const task = project.start(Deno.execPath(), ["task", "dev"]);
      await project.programs(1);
      Deno.kill(target === "deno task" ? task.pid : -task.pid, signal);
      await task.status;
      await groupEnds(task.pid);
      // The output comes through a pipe, and may come after the end of the process that wrote it.
      const passed = signal === "SIGHUP" ? "SIGTERM" : signal;
      await until(() => project.output.includes(`got ${passed}`), { what: () => project.output });
    });
  }
}

Deno.test("task dev goes on when it gets a signal that the program ignores", nothingSanitized, async () => {
  await using project = await Project.create();
  const task = project.start(Deno.execPath(), ["task", "dev"]);
  await project.programs(1);
  for (const signal of ["SIGUSR1", "SIGUSR2"] as const) Deno.kill(-task.pid, signal);
  // Only a task that goes on restarts the program.
  await Deno.writeTextFile(`${project.folder}/main.ts`, `// 2\n${PROGRAM}`);
  await project.programs(2);
  Deno.kill(-task.pid, "SIGTERM");
  await task.status;
  await groupEnds(task.pid);
});

for (const name of ["dev", "simulate"]) {
  Deno.test(
    `task ${name} stops its program when the shell between npx and it has ended`,
    nothingSanitized,
    async () => {
      await using project = await Project.create();
      // As npx: a shell that waits, and does not pass on the signal that ends it.
      const script = `"${Deno.execPath()}" task ${name}; true`;
      const shell = project.start("sh", ["-c", script], { npm_command: "exec" });
      await project.programs(1);
      shell.kill("SIGTERM");
      await groupEnds(shell.pid);
      match(project.output, /got SIGTERM/);
    },
  );
}

Deno.test(
  "task simulate is waited for on SIGINT to the process group, and shows its summary",
  nothingSanitized,
  async () => {
    await using project = await Project.create();
    // As npx: the signal of the terminal reaches its shell, the task and the program, and the task passes it on.
    const script = `"${Deno.execPath()}" task simulate --slow; true`;
    const shell = project.start("sh", ["-c", script], { npm_command: "exec" });
    await project.programs(1);
    Deno.kill(-shell.pid, "SIGINT");
    await groupEnds(shell.pid);
    await until(() => /^got SIGINT$/m.test(project.output), { what: () => project.output });
  },
);

/** What a shell runs to say its pid. */
const SAYS_PID = "echo shell=$$; ";

for (const victim of ["npm", "the shell of npm"]) {
  Deno.test(
    `task dev stops its server when ${victim} is killed, and what is between it and deno task goes on`,
    nothingSanitized,
    async () => {
      await using project = await Project.create();
      // As npx where the package of deno runs a script of its own: npm, its shell, the script, deno task.
      const shim = `"${Deno.execPath()}" task dev; true`;
      const shell = `${SAYS_PID} sh -c '${shim}'; true`;
      const npm = project.start("bash", [
        "-c",
        `exec -a "npm exec deno task dev" bash -c '"$@"; true' - sh -c "$0"`,
        shell,
      ], {
        npm_command: "exec",
      });
      await project.programs(1);
      Deno.kill(victim === "npm" ? npm.pid : Number(/shell=(\d+)/.exec(project.output)![1]), "SIGKILL");
      await groupEnds(npm.pid);
      await until(() => project.output.includes("got SIGTERM"), { what: () => project.output });
    },
  );
}

Deno.test("task dev goes on when a shell that is not npm's has ended", nothingSanitized, async () => {
  await using project = await Project.create();
  const shell = project.start("sh", ["-c", `"${Deno.execPath()}" task dev & sleep 0.01`]);
  await shell.status;
  await project.programs(1);
  // Two more programs by changes take longer than the launcher would need to be missed twice.
  for (const count of [2, 3]) {
    await new Promise((resolve) => setTimeout(resolve, 700));
    await Deno.writeTextFile(`${project.folder}/main.ts`, `// ${count}\n${PROGRAM}`);
    await project.programs(count);
  }
  Deno.kill(-shell.pid, "SIGTERM");
  await groupEnds(shell.pid);
});

for (const code of [0, 1, 2]) {
  Deno.test(
    `task dev ends with exit code ${code} when the server ends with it at its start`,
    nothingSanitized,
    async () => {
      await using project = await Project.create();
      const task = project.start(Deno.execPath(), ["task", "dev", "--exit", `${code}`]);
      await groupEnds(task.pid);
      equal((await task.status).code, code);
      match(project.output, new RegExp(`args=--log-format text --exit ${code} store`));
    },
  );
}

Deno.test(
  "task dev restarts the server on a change, and waits for the next one when it made it fail",
  nothingSanitized,
  async () => {
    await using project = await Project.create();
    const task = project.start(Deno.execPath(), ["task", "dev"]);
    const first = await project.programs(1);
    await Deno.writeTextFile(`${project.folder}/src/broken.ts`, "");
    await Deno.writeTextFile(`${project.folder}/main.ts`, "Deno.exit(3);");
    await until(() => project.output.includes("ended with exit code 3"), { timeoutMs: 30_000 });
    await Deno.writeTextFile(`${project.folder}/main.ts`, PROGRAM);
    const second = await project.programs(2);
    ok(second !== first);
    task.kill("SIGTERM");
    await task.status;
    await groupEnds(task.pid);
  },
);

Deno.test(
  "task dev makes the folder of its SQLite file, and leaves a chosen store alone",
  nothingSanitized,
  async () => {
    await using project = await Project.create();
    const storeOf = async (env: Record<string, string>) => {
      project.output = "";
      await project.start(Deno.execPath(), ["task", "dev", "--exit", "0"], env).status;
      await project.programs(1);
      return /store=(\S+)/.exec(project.output)?.[1];
    };
    equal(await storeOf({ FLEETLOCK_STORE: "memory" }), "memory");
    equal(await storeOf({ KUBECONFIG: "/k" }), "undefined");
    deepEqual([...Deno.readDirSync(project.folder)].filter((each) => each.name === ".fleetlock"), []);
    equal(await storeOf({}), "sqlite:.fleetlock/dev.db");
    ok(Deno.statSync(`${project.folder}/.fleetlock`).isDirectory);
  },
);
