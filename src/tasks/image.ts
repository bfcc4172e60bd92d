/**
 * Builds the container image with podman or docker, whichever is there. The
 * argument names the image, `fleetlock:VERSION` by default; what follows goes to
 * the builder, `--platform=linux/arm64` for instance.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import manifest from "../../deno.json" with { type: "json" };
import { revision } from "./revision.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** Runs an engine; false where it is not installed. */
async function build(engine: string, args: readonly string[]): Promise<boolean> {
  try {
    const { code } = await new Deno.Command(engine, { args: [...args], cwd: root }).spawn().status;
    Deno.exitCode = code;
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

const [name = `fleetlock:${manifest.version}`, ...rest] = Deno.args;
const commit = await revision();
const args = ["build", "--file", "Containerfile", "--tag", name, `--build-arg=REVISION=${commit ?? ""}`, ...rest, "."];
if (!await build("podman", args) && !await build("docker", args)) {
  console.error("Cannot build the image: neither podman nor docker is installed");
  Deno.exitCode = 1;
}
