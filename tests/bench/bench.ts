/**
 * The benchmark of the server beside a minimal one: `deno task bench`. Compare
 * the figures of one run with one another, not with those of another machine.
 * The part on a cluster needs `KUBEBUILDER_ASSETS`.
 *
 * `--quick` measures each row for a shorter time, and skips big clusters.
 * `--nodes 1000,5000,15000` measures nothing but clusters of these sizes.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { PROGRAM, type Program, startProgram } from "../support/program.ts";
import { benchBigClusters } from "./big_cluster.ts";
import { BenchCluster, benchCluster } from "./cluster.ts";
import { fleetLockRequest, load, type LoadResult, median, residentMegabytes } from "./load.ts";

const USAGE = `usage: deno task bench [--quick] [--nodes LIST]

Measures the server beside a minimal one, and on a cluster where KUBEBUILDER_ASSETS is set.
  --quick        measure each row for a shorter time, and skip big clusters
  --nodes LIST   measure nothing but clusters of these numbers of Nodes, such as 1000,5000`;

const { quick, nodes } = readArgs();

/** Reads the arguments. Ends the process where they ask for help or are wrong. */
function readArgs(): { quick?: boolean; nodes?: string } {
  try {
    const options = { quick: { type: "boolean" }, nodes: { type: "string" }, help: { type: "boolean" } } as const;
    const { help, ...values } = parseArgs({ args: Deno.args, options }).values;
    if (!help) return values;
    console.log(USAGE);
  } catch (error) {
    console.error(`${(error as Error).message}\n${USAGE}`);
    Deno.exit(1);
  }
  Deno.exit(0);
}

const seconds = quick ? 1 : 5;

function heading(text: string): void {
  console.log(`\n${text}\n${"-".repeat(text.length)}`);
}

function row(name: string, figure: string, beside = ""): void {
  console.log(`${name.padEnd(52)} ${figure.padStart(12)}  ${beside}`);
}

/** Starts the baseline server as a process. */
async function startBare(): Promise<{ url: string; pid: number } & AsyncDisposable> {
  const process = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-config", "--allow-net", new URL("./bare_server.ts", import.meta.url).pathname],
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  const listening = Promise.withResolvers<string>();
  const reading = (async () => {
    for await (const chunk of process.stderr.pipeThrough(new TextDecoderStream())) {
      const url = /http:[^"]+/.exec(chunk)?.[0];
      if (url !== undefined) listening.resolve(url);
    }
  })();
  return {
    url: await listening.promise,
    pid: process.pid,
    async [Symbol.asyncDispose]() {
      process.kill("SIGKILL");
      await process.status;
      await reading;
    },
  };
}

/** Measures the time from the start of the process to its first reply: the median, in milliseconds. */
async function startUp(start: () => Promise<{ url: string } & AsyncDisposable>): Promise<number> {
  const runs: number[] = [];
  for (let run = 0; run < (quick ? 3 : 11); run++) {
    const began = performance.now();
    await using server = await start();
    await fetch(`${server.url}/-/healthy`).then((reply) => reply.body?.cancel());
    if (run > 0) runs.push(performance.now() - began);
  }
  return median(runs);
}

function percent(part: number, whole: number): string {
  return `${(100 * part / whole).toFixed(0)} %`;
}

console.log(`fleetlock, ${PROGRAM}; Deno ${Deno.version.deno}; ${navigator.hardwareConcurrency} processors`);

if (nodes === undefined) await benchServer();
if (Deno.env.get("KUBEBUILDER_ASSETS")) {
  await using cluster = await BenchCluster.start();
  if (nodes === undefined) {
    await benchCluster(heading, row, cyclesPerSecond, { seconds, polls: quick ? 50_000 : 1_000_000 }, cluster);
  }
  const sizes = nodes?.split(",").map(Number) ?? (quick ? [] : [1_000, 5_000, 15_000]);
  await benchBigClusters(cluster, heading, row, sizes, {
    watchSeconds: quick ? 30 : 300,
    polls: quick ? 50_000 : 500_000,
  });
} else console.log("\nSkipped the part on a cluster: KUBEBUILDER_ASSETS is not set");

/** Measures the server without a cluster. */
async function benchServer(): Promise<void> {
  heading("Start to first reply (median)");
  const bareStart = await startUp(startBare);
  const memoryStart = await startUp(() => startProgram(["--store=memory"]));
  row("bare Deno.serve, from source", `${bareStart.toFixed(0)} ms`);
  row("fleetlock --store memory", `${memoryStart.toFixed(0)} ms`, `aim: 150 (bundle), 250 (executable)`);

  heading("Refused pre-reboot requests");
  {
    await using bare = await startBare();
    await using program = await startProgram(["--store=memory"]);
    const bareAtStart = residentMegabytes(bare.pid);
    const atStart = residentMegabytes(program.process.pid);
    await load(program.url, 1, () => fleetLockRequest("/v1/pre-reboot", "holder"), { requests: 1 });
    const poll = fleetLockRequest("/v1/pre-reboot", "c988d2509fdf5cdcbed39037c56406fb");
    // Warms up both, then measures them in turn.
    for (const url of [bare.url, program.url]) await load(url, 16, () => poll, { seconds });
    for (const connections of [1, 16, 64, 1_000]) {
      const pairs: [LoadResult, LoadResult][] = [];
      for (let round = 0; round < (quick ? 1 : 3); round++) {
        pairs.push([
          await load(bare.url, connections, () => poll, { seconds }),
          await load(program.url, connections, () => poll, { seconds }),
        ]);
      }
      const ratios = pairs.map(([one, two]) => two.perSecond / one.perSecond);
      const [one, two] = pairs.at(-1)!;
      row(
        `${connections} connections: bare, fleetlock`,
        `${one.perSecond.toFixed(0)}/s`,
        `${two.perSecond.toFixed(0)}/s = ${percent(median(ratios), 1)} (aim: 60 %); p99 ${
          two.p99.toFixed(1)
        } ms (bare ${one.p99.toFixed(1)})`,
      );
    }
    heading("Resident memory");
    row("after start: bare", `${bareAtStart.toFixed(0)} MB`);
    row("after start: fleetlock", `${atStart.toFixed(0)} MB`, "aim: 60 (bundle, with Kubernetes), 70 (executable)");
    row("after these polls: bare", `${residentMegabytes(bare.pid).toFixed(0)} MB`);
    row("after these polls: fleetlock", `${residentMegabytes(program.process.pid).toFixed(0)} MB`);
  }

  heading("Lock and unlock, over 16 groups");
  const folder = await Deno.makeTempDir({ prefix: "fleetlock-bench-" });
  for (const store of ["memory", `sqlite:${folder}/locks.db`]) {
    await using program = await startProgram([`--store=${store}`]);
    const cycles = await cyclesPerSecond(program, 16);
    row(`--store ${store.split(":")[0]}`, `${cycles.toFixed(0)}/s`);
  }
  await Deno.remove(folder, { recursive: true });
}

/** Measures cycles of lock and unlock a second, with one connection for each group. */
async function cyclesPerSecond(program: Pick<Program, "url">, groups: number): Promise<number> {
  const requests = Array.from({ length: groups }, (_, n) => [
    fleetLockRequest("/v1/pre-reboot", `client-${n}`, `group-${n}`),
    fleetLockRequest("/v1/steady-state", `client-${n}`, `group-${n}`),
  ]);
  const ask = (connection: number, n: number) => requests[connection]![n % 2]!;
  await load(program.url, groups, ask, { seconds: 1 });
  const result = await load(program.url, groups, ask, { seconds });
  for (const [status, count] of result.statuses) {
    if (status !== 200) throw new Error(`${count} replies had status ${status}`);
  }
  return result.perSecond / 2;
}
