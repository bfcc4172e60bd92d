/**
 * Builds the container image with podman, buildah or docker: the first of them
 * that is installed. The first argument is the image's name, `fleetlock:VERSION`
 * by default. Further arguments go to the builder, for example
 * `--platform=linux/arm64`.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import manifest from "../../deno.json" with { type: "json" };
import { revision } from "./revision.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** Builds with an engine and sets the exit code; false when the engine is not installed. */
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
if (!await build("podman", args) && !await build("buildah", args) && !await build("docker", args)) {
  console.error("Cannot build the image: install podman, buildah or docker");
  Deno.exitCode = 1;
}
