/**
 * The commands `lock` and `unlock`: the protocol's client for other programs.
 *
 * @module
 */

import { ConfigError } from "../config/config_error.ts";
import { duration } from "../config/values.ts";
import { type ClientId, parseClientId } from "../lock/identity.ts";
import { serverUrl } from "../operate/place.ts";
import { askProtocol, ownId } from "../operate/protocol_client.ts";
import { EXIT, type Io, printError } from "./command.ts";
import { groupOf } from "./options.ts";

/** The arguments and flags of the commands. */
export interface LockFlags {
  /** What to ask for. */
  readonly endpoint: "pre-reboot" | "steady-state";
  /** The server's URL. */
  readonly url: string;
  /** The group. */
  readonly group: string;
  /** The client's id; undefined for that of this host. */
  readonly id?: string;
  /** How long to go on asking. */
  readonly wait?: string;
}

/** Asks a server. @returns The exit code: 0 for a yes, 75 to try again, 1 for a fault. */
export async function lock(flags: LockFlags, io: Io, signal: AbortSignal): Promise<number> {
  const { endpoint } = flags;
  const server = serverUrl(flags.url);
  const group = groupOf(flags.group);
  const waitMs = flags.wait === undefined ? 0 : duration.parse(flags.wait);
  if (waitMs === undefined) {
    throw new ConfigError(`--wait must be ${duration.expected}: it is ${JSON.stringify(flags.wait)}`);
  }
  const id = await idOf(flags.id);
  let told: string | undefined;
  const onRefusal = (sentence: string) => {
    if (sentence !== told) io.stderr(`fleetlock: not now, asking again: ${sentence}\n`);
    told = sentence;
  };
  const outcome = await askProtocol({ server, endpoint, id, group, waitMs, onRefusal, signal });
  switch (outcome.kind) {
    case "done":
      io.stdout(endpoint === "pre-reboot" ? `Locked: this host has a slot of group ${group}.\n` : "Unlocked.\n");
      return EXIT.OK;
    case "later":
      printError(io, `not now: ${outcome.sentence}; try again later, or give a longer --wait`);
      return EXIT.TRY_AGAIN;
    case "fault":
      printError(io, `the server refuses the request: ${outcome.sentence}; check the URL, --group and --id`);
      return EXIT.FAILED;
  }
}

async function idOf(text: string | undefined): Promise<ClientId> {
  if (text === undefined) {
    const id = await ownId();
    if (typeof id === "string") return id;
    throw new ConfigError(id.problem);
  }
  const id = parseClientId(text);
  if (id !== undefined) return id;
  throw new ConfigError(
    `--id must have 1 to 253 printable ASCII characters without spaces and commas: it is ${JSON.stringify(text)}`,
  );
}
