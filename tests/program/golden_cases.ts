/**
 * The commands of the golden files: what an operator types on a simulated
 * incident, run as the whole program, with times, ports and folders made the same
 * each time. `deno task golden` renews the files.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import type { Account } from "../../src/status/account.ts";
import { account, before, client, group, holder } from "../support/accounts.ts";
import { runProgram } from "../support/program.ts";
import { preReboot } from "../support/zincati.ts";
import { startProgram } from "../support/program.ts";

/** The folder of the golden files. */
export const FOLDER = fileURLToPath(new URL("./golden/", import.meta.url));

const ID = "978a225b3d7b40e9acd7ce9b62f68444";

/** A blocked drain, a node that was deleted, one that never returns, a paused group, and a client that waits. */
const INCIDENT = account([
  group({
    name: "control",
    slots: 1,
    pause: { reason: "INC-42", by: "ada", until: before(-90) },
    blocks: [
      { kind: "paused", rule: "paused", sentence: 'group "control" is paused by ada: INC-42', until: before(-90) },
    ],
  }),
  group({
    name: "edge",
    slots: 2,
    holders: [
      holder({
        ...client("ad432f2cb0c28bbcd1f87a20199237f9"),
        node: "node-e1",
        since: before(150),
        stage: "rebooting",
        stageSince: before(125),
        isStuck: true,
        lastPoll: before(126),
      }),
    ],
    unasked: ["health.prometheus"],
  }),
  group({
    name: "storage",
    holders: [
      holder({
        ...client("1c09ca98649c4c7abc779cd04c96812e"),
        node: "node-s1",
        since: before(130),
        stage: "node-gone",
        stageSince: before(95),
        isStuck: true,
      }),
    ],
    blocks: [
      { kind: "lock_held", sentence: 'reboot slot of group "storage" is held by node "node-s1"' },
    ],
  }),
  group({
    name: "workers",
    holders: [holder({
      stage: "blocked",
      stageSince: before(12),
      isStuck: true,
      lastPoll: before(3),
      pods: [{ pod: "shop/web-0", reason: 'its PodDisruptionBudget "web" allows no disruption now' }],
    })],
    blocks: [{ kind: "lock_held", sentence: 'reboot slot of group "workers" is held by node "node-a"' }],
    waiting: [{
      ...client("8121764139b84941ba5ccb83ccae1f98"),
      node: "node-b",
      at: before(2),
      since: before(31),
      kind: "lock_held",
      sentence: "held",
    }],
    turns: [{
      ...client("a".repeat(32)),
      node: "node-c",
      granted: before(80),
      released: before(70),
      isSameImage: false,
    }],
  }),
]);

/** The same, as a replica shows it that has lost the API server, beside one that is gone. */
const AWAY: Account = { ...INCIDENT, isInStep: false, areNodesInStep: false };

/** An address on which no API server listens. */
const NO_API_SERVER = "http://localhost:3";

/**
 * A configuration file with a key that is misspelt, a time zone that does not exist, and a number that is too small.
 */
const BAD_FILE = `timeZone: Europe/Berlni
groups:
  workers:
    slot: 2
    allow:
      - { days: [fri], at: "22:00", for: 6h }
  storage:
    slots: 0
`;

/** A valid configuration file whose freeze covers all windows. */
const NEVER = `groups:
  storage:
    allow:
      - { days: [last sun], at: "02:00", for: 3h }
    freeze:
      - { from: 2020-01-01, to: 2099-12-31, reason: until the migration }
`;

/** The times of the incident. */
const FIXED = /^2026-11-26T0[0-6]:(00|30):00Z$/;

/** Runs every case. @returns The text of each golden file, by its name. */
export async function runCases(): Promise<Map<string, string>> {
  const texts = new Map<string, string>();
  const folder = await Deno.makeTempDir({ prefix: "fleetlock-golden-" });
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    ({ url }) => {
      const { pathname } = new URL(url);
      if (pathname === "/status.json") return Response.json(INCIDENT);
      return pathname === "/away/status.json" ? Response.json(AWAY) : new Response("", { status: 404 });
    },
  );
  const incident = `http://127.0.0.1:${server.addr.port}`;
  const store = `sqlite:${folder}/locks.db`;
  const normal = (text: string) =>
    text.replaceAll(incident, "http://10.3.0.15").replaceAll(new URL(incident).host, "10.3.0.15")
      .replaceAll(folder, "/var/lib/fleetlock")
      .replaceAll(NO_API_SERVER, "http://localhost:8001").replace(/127\.0\.0\.1:\d+/g, "10.3.0.15")
      .replace(/\b\d+ s\b/g, "2 s").replaceAll("granted now", "granted 2 s ago")
      // The times of the incident are always the same. The others are those of this run.
      .replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g, (time) => FIXED.test(time) ? time : "2026-12-24T18:00:00Z");
  const record = async (name: string, ...commands: string[][]) => {
    let text = "";
    for (const args of commands) {
      const { code, stdout, stderr } = await runProgram(args, { USER: "ada" });
      const typed = args.map((arg) => /[^\w./:@=-]/.test(arg) ? `"${arg}"` : arg).join(" ");
      text += `$ fleetlock ${typed}\n${stderr}${stdout}(exit code ${code})\n\n`;
    }
    texts.set(name, normal(text.trimEnd() + "\n"));
  };
  try {
    await record("status", ["status", "--server", incident]);
    await record(
      "explain",
      ["explain", "workers", "node-b", "--server", incident],
      ["explain", "control", "node-x", "--server", incident],
      ["explain", "storage", "node-t", "--server", incident],
      ["explain", "edge", "node-e1", "--server", incident],
      ["explain", "edge", "node-e2", "--server", incident],
      ["explain", "gpu", "node-g", "--server", incident],
    );
    const away = ["--api-server", NO_API_SERVER, "-n", "fleetlock"];
    await record(
      "api_server_away",
      ["status", ...away],
      ["status", "workers", "--server", `${incident}/away`],
      ["explain", "workers", "node-b", "--server", `${incident}/away`],
      ["release", "storage", "node-s1", ...away],
      ["hold", "node-b", "--reason", "INC-42", ...away],
    );
    await record(
      "errors",
      ["status", "--server", "http://127.0.0.1:2"],
      ["status", "nobody", "--server", incident],
      ["status", "--store", `sqlite:${folder}/none.db`],
      ["release", "workers", "node-a", "--server", incident],
      ["pause", "workers"],
    );
    {
      await using program = await startProgram([`--store=${store}`]);
      await preReboot(program.url, ID, "workers");
      const lock = ["lock", "--group", "workers", "--id"];
      await record("lock", [...lock, "backup-job", program.url], [...lock, "backup-job", "http://127.0.0.1:2"], [
        ...lock,
        "a,b",
        program.url,
      ]);
    }
    await record(
      "release",
      ["status", "--store", store],
      ["release", "workers", "978a225b", "--store", store],
      ["release", "workers", "978a225b", "--store", store, "--yes"],
      ["release", "workers", "978a225b", "--store", store, "--yes"],
    );
    await record(
      "pause",
      ["pause", "workers", "--reason", "release day", "--until", "8h", "--store", store],
      ["status", "--store", store],
      ["resume", "workers", "--store", store],
    );
    await Deno.writeTextFile(`${folder}/bad.yaml`, BAD_FILE);
    await Deno.writeTextFile(`${folder}/never.yaml`, NEVER);
    await record(
      "check",
      ["check", "--store", store],
      ["check", "--store", store, "--config", `${folder}/bad.yaml`],
      ["check", "--store", store, "--config", `${folder}/never.yaml`],
      ["check", "--api-server", NO_API_SERVER],
      ["check", "--kubeconfig", `${folder}/none`, "--config", `${folder}/bad.yaml`],
    );
  } finally {
    await server.shutdown();
    await Deno.remove(folder, { recursive: true });
  }
  return texts;
}

if (import.meta.main) {
  for (const [name, text] of await runCases()) await Deno.writeTextFile(`${FOLDER}${name}.txt`, text);
}
