/**
 * Runs the program as in a pod: its only access to the cluster is the files of
 * its service account. An executable also runs as the image's user, on a
 * read-only root, without capabilities. This needs root, for a mount namespace.
 *
 * @module
 */

import { SERVICE_ACCOUNT_FOLDER } from "../../src/kubernetes/access.ts";
import { clusterTest, type ControlPlane } from "./control_plane.ts";
import { isScript, type Program, startProgram } from "./program.ts";

/** The image's user. */
const USER = "65532";

const MOUNT = 'mount -t tmpfs tmpfs "$(readlink -f /var/run)"';
const READ_ONLY = "mount -o remount,bind,ro /";
const SETUP = `
set -e
files=$1 folder=$2 user=$3
shift 3
${MOUNT}
mkdir -p "$folder"
cp "$files"/token "$files"/ca.crt "$files"/namespace "$folder"
chmod -R a+rX "$folder"
[ "$user" ] || exec "$@"
${READ_ONLY}
exec setpriv --reuid="$user" --regid="$user" --clear-groups --no-new-privs --bounding-set=-all "$@"
`;

/** Whether this machine allows it. */
export const PODS_POSSIBLE: boolean = new Deno.Command("sh", {
  args: ["-c", `command -v setpriv && unshare --mount sh -c '${MOUNT} && ${READ_ONLY}'`],
  stdout: "null",
  stderr: "null",
}).outputSync().success;

/**
 * Defines a test that runs a program as in a pod. Where that is not possible, the test is skipped and its name says
 * why.
 */
export function podTest(name: string, run: () => Promise<void>): void {
  if (PODS_POSSIBLE) clusterTest(name, run);
  else Deno.test({ name: `${name} (skipped: it needs root, unshare and setpriv)`, ignore: true, fn: run });
}

/** Starts the program with the files of a service account as its only access to the cluster. */
export async function startInPod(
  plane: ControlPlane,
  account: { readonly namespace: string; readonly name: string },
  args: readonly string[] = [],
): Promise<Program> {
  const files = await Deno.makeTempDir({ dir: plane.folder });
  await Deno.writeTextFile(`${files}/token`, await plane.createToken(account.namespace, account.name));
  await Deno.writeTextFile(`${files}/ca.crt`, plane.ca);
  await Deno.writeTextFile(`${files}/namespace`, account.namespace);
  const { hostname, port } = new URL(plane.server);
  return await startProgram(args, {
    KUBERNETES_SERVICE_HOST: hostname,
    KUBERNETES_SERVICE_PORT: port,
  }, ["unshare", "--mount", "sh", "-c", SETUP, "sh", files, SERVICE_ACCOUNT_FOLDER, isScript() ? "" : USER]);
}
