/**
 * The commands for operators and for other programs: their arguments, flags, help
 * and examples. Their modules are imported statically, on purpose: a module that is
 * imported dynamically makes the bundler wrap all that it shares with the server,
 * which costs each start 50 ms and 7 MB.
 *
 * @module
 */

import { type Command, Option } from "commander";
import { ConfigError } from "../config/config_error.ts";
import { UnavailableError } from "../lock/errors.ts";
import { check as checkCommand } from "./check.ts";
import { EXIT, type Io, printError } from "./command.ts";
import { explainCommand } from "./explain.ts";
import { hold as holdCommand } from "./hold.ts";
import { lock as lockCommand } from "./lock.ts";
import { pause as pauseCommand, resume as resumeCommand, undeferCommand } from "./orders.ts";
import { releaseCommand } from "./release.ts";
import { status as showStatus } from "./status.ts";

/** What the commands run with. */
export interface OperatorContext {
  /** The process. */
  readonly io: Io;
  /** Asks the running command to end. */
  readonly signal: AbortSignal;
  /** Aborts once nobody reads standard output. */
  readonly unread: AbortSignal;
  /** Gets the exit code. */
  readonly end: (code: number) => void;
}

// The parser does not know the types of a command's flags: each flag is declared beside its command.
// deno-lint-ignore no-explicit-any
type Given = any;

/** Adds the commands. */
export function addOperatorCommands(program: Command, context: OperatorContext): void {
  addViews(program, context);
  addOrders(program, context);
  addNodeOrders(program, context);
  addProtocol(program, context);
  addCheck(program, context);
}

function addViews(program: Command, context: OperatorContext): void {
  const { io, signal, unread } = context;
  const status = program.command("status").argument("[group]", "the only group to show")
    .description("show who holds which slot, for how long, what it waits for, and what to type next")
    .option("-w, --watch", "go on until interrupted");
  outputFlag(placeFlags(status)).action(guarded(context, async (group: string | undefined, options: Given) => {
    return await showStatus({ ...options, group }, io, AbortSignal.any([signal, unread]));
  }));
  examples(status, [
    "kubectl exec deploy/fleetlock -- fleetlock status",
    "fleetlock status workers --watch",
    "fleetlock status --api-server http://127.0.0.1:8001",
    "fleetlock status --store sqlite:/var/lib/fleetlock/locks.db",
    "fleetlock status --server http://10.3.0.15 -o json",
  ], "It ends with 2 where something is stuck, and with 1 where nothing could be read.");

  const explain = program.command("explain").argument("<group>", "the group").argument("<node|id>", CLIENT)
    .description("say whether a client would be granted a slot now, why not, and what would change it");
  outputFlag(placeFlags(explain)).action(guarded(context, async (group: string, name: string, options: Given) => {
    return await explainCommand({ ...options, group, name }, io, signal);
  }));
  examples(explain, ["fleetlock explain workers node-a", "fleetlock explain workers 978a225b -o json"]);
}

function addOrders(program: Command, context: OperatorContext): void {
  const { io, signal } = context;
  const release = program.command("release").argument("<group>", "the group").argument("<node|id>", CLIENT)
    .description("free a slot by hand, if its hold is still the one that is shown")
    .option("--uncordon", "lift the server's own cordon at once; one of somebody else stays")
    .option("-y, --yes", "do not ask");
  byFlag(placeFlags(release)).action(guarded(context, async (group: string, name: string, options: Given) => {
    return await releaseCommand({ ...options, group, name }, io, signal);
  }));
  examples(release, ["fleetlock release workers node-a --uncordon", "fleetlock release default 978a225b --yes"]);

  const pause = program.command("pause").argument("<group>", "the group")
    .description("grant no slots of a group; hosts that have their yes still reboot")
    .requiredOption("--reason <text>", "why, for the replies and for whoever wonders at night")
    .option("--until <time>", "when it ends: a time such as 2026-12-24T18:00:00Z, or a duration such as 2h")
    .option("--drains", "let drains under way yield their slots too");
  byFlag(placeFlags(pause)).action(guarded(context, async (group: string, options: Given) => {
    return await pauseCommand({ ...options, group }, io, signal);
  }));
  examples(pause, [
    'fleetlock pause workers --reason "release day" --until 8h',
    'fleetlock pause default --reason "INC-42" --drains',
  ]);

  const resume = program.command("resume").argument("<group>", "the group").description("lift the pause of a group")
    .option("-y, --yes", "do not ask before notes that cannot be read are deleted");
  byFlag(placeFlags(resume)).action(guarded(context, async (group: string, options: Given) => {
    return await resumeCommand({ ...options, group }, io, signal);
  }));
  examples(resume, ["fleetlock resume workers"]);

  const undefer = program.command("undefer").argument("<group>", "the group").argument("<node|id>", CLIENT)
    .description("let a host that has yielded its slot have the next one");
  byFlag(placeFlags(undefer)).action(guarded(context, async (group: string, name: string, options: Given) => {
    return await undeferCommand({ ...options, group, name }, io, signal);
  }));
  examples(undefer, ["fleetlock undefer workers node-a"]);
}

function addNodeOrders(program: Command, context: OperatorContext): void {
  const { io, signal } = context;
  const hold = program.command("hold").argument("<node>", "the name of the node")
    .description("hold a node back from reboots until somebody lifts it")
    .requiredOption("--reason <text>", "why, for the replies and for whoever wonders at night");
  byFlag(placeFlags(hold)).action(guarded(context, async (node: string, options: Given) => {
    return await holdCommand({ ...options, node }, io, signal);
  }));
  examples(
    hold,
    ['fleetlock hold node-a --reason "its disk is being replaced"'],
    "Servers that run with --drain=false see no nodes, and obey no hold: pause the group instead.",
  );

  const unhold = program.command("unhold").argument("<node>", "the name of the node")
    .description("let a node reboot again that was held back");
  byFlag(placeFlags(unhold)).action(guarded(context, async (node: string, options: Given) => {
    return await holdCommand({ ...options, node }, io, signal);
  }));
  examples(unhold, ["fleetlock unhold node-a"]);
}

function addProtocol(program: Command, context: OperatorContext): void {
  const { io, signal } = context;
  const both = [
    { name: "lock", endpoint: "pre-reboot", description: "take a slot, as a host does before it reboots" },
    { name: "unlock", endpoint: "steady-state", description: "give a slot back, as a host does when it is back" },
  ];
  for (const { name, endpoint, description } of both) {
    const command = program.command(name).argument("<url>", "the server's URL, as in Zincati's base_url")
      .description(description)
      .requiredOption("--group <name>", "the group")
      .option("--id <id>", "the client's id (default: this host's, derived from /etc/machine-id as Zincati does)")
      .option("--wait <duration>", "go on asking for this long (default: ask once)")
      .action(guarded(context, async (url: string, options: Given) => {
        return await lockCommand({ ...options, url, endpoint }, io, signal);
      }));
    examples(command, [
      `fleetlock ${name} --group workers http://10.3.0.15`,
      `fleetlock ${name} --group workers --id backup-job --wait 30m http://10.3.0.15`,
    ], "It ends with 0 for a yes, 75 to try again later, and 1 for a fault.");
  }
}

function addCheck(program: Command, context: OperatorContext): void {
  const { io, signal } = context;
  const check = program.command("check")
    .description(
      "check the configuration file, the cluster, the permissions, the nodes and the workloads for what would stop reboots",
    )
    .option("--pre", "check what an installation needs, before it")
    .option("--service-account <name>", "the server's service account", "fleetlock")
    .option("--config <file>", "the server's configuration file (default: FLEETLOCK_CONFIG)")
    .option("--drain <bool>", "the server's flag of this name")
    .option("--drain-timeout <duration>", "the server's flag of this name")
    .option("--drain-on-timeout <policy>", "the server's flag of this name")
    .option("--drain-unmanaged <policy>", "the server's flag of this name")
    .option("--drain-empty-dir <policy>", "the server's flag of this name");
  outputFlag(placeFlags(check)).action(guarded(context, async (options: Given) => {
    return await checkCommand(options, io, signal);
  }));
  examples(check, [
    "fleetlock check --pre",
    "kubectl exec deploy/fleetlock -- fleetlock check",
    "fleetlock check --config policies.yaml",
    "fleetlock check -o json",
  ], "It ends with 1 where a check failed. Warnings alone are a success.");
}

/** How a client is named. */
const CLIENT = "the name of the host's node, the host's id, or the start of the id";

/** Adds the flags that say where the locks are. */
function placeFlags(command: Command): Command {
  return command
    .option("--kubeconfig <path>", "the kubeconfig (default: KUBECONFIG, the pod's service account, or ~/.kube/config)")
    .option("-n, --namespace <name>", "the namespace of the server (default: NAMESPACE, or that of the kubeconfig)")
    .option("--api-server <url>", "an API server that needs no credentials, such as that of kubectl proxy")
    .option(
      "--store <store>",
      "the server's SQLite file instead of a cluster, as in sqlite:/var/lib/fleetlock/locks.db",
    )
    .option("--server <url>", "one server's URL, whose state is read")
    .option("--selector <labels>", 'the label selector of the server\'s pods (default: "name=fleetlock")')
    .option("--port <number>", 'the port of the server\'s pods (default: "8080")');
}

function outputFlag(command: Command): Command {
  return command.addOption(
    new Option("-o, --output <form>", "table or json").choices(["table", "json"]).default("table"),
  );
}

function byFlag(command: Command): Command {
  return command.option("--by <name>", "who does it (default: the user whom the API server knows, or of this machine)");
}

function examples(command: Command, lines: readonly string[], note?: string): void {
  const text = lines.map((line) => `  ${line}\n`).join("");
  command.addHelpText("after", `${note === undefined ? "" : `\n${note}\n`}\nExamples:\n${text}`);
}

/** Turns what a command throws into one sentence and an exit code. */
function guarded<A extends unknown[]>({ io, signal, end }: OperatorContext, act: (...args: A) => Promise<number>) {
  return async (...args: A): Promise<void> => {
    try {
      // The parser gives a flag that the server has too, such as --store, to the program, wherever it stands.
      const command = args.at(-1) as Command;
      end(await act(...args.with(-2, command.optsWithGlobals()) as A));
    } catch (error) {
      if (signal.aborted) {
        printError(io, "interrupted: what was asked for may have been done; look with fleetlock status");
      } else if (error instanceof ConfigError) {
        printError(io, error.message);
      } else if (error instanceof UnavailableError) {
        printError(io, `${error.message}; run fleetlock check to find out what is wrong`);
      } else {
        throw error;
      }
      end(EXIT.FAILED);
    }
  };
}
