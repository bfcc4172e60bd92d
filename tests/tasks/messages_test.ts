/** What tasks say when something that they need is missing. @module */

import { equal, match } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import manifest from "../../deno.json" with { type: "json" };

const root = fileURLToPath(new URL("../../", import.meta.url));

/** Runs a script of the project, or of a copy of it, to its end. */
async function run(
  script: string,
  env: Record<string, string>,
  folder: string = root,
): Promise<{ code: number; stdout: string; stderr: string }> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--config", `${folder}deno.json`, "-P=development", `${folder}${script}`],
    cwd: folder,
    clearEnv: true,
    env: { PATH: "", HOME: Deno.env.get("HOME") ?? "", NO_COLOR: "1", ...env },
  }).output();
  const text = new TextDecoder();
  return { code, stdout: text.decode(stdout), stderr: text.decode(stderr) };
}

async function withFolder(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = `${await Deno.makeTempDir({ prefix: "fleetlock-test-" })}/`;
  try {
    await use(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

for (const assets of [undefined, "/nowhere"]) {
  Deno.test(`task chaos says at once that it needs a control plane: KUBEBUILDER_ASSETS is ${assets}`, async () => {
    const { code, stderr } = await run("tests/chaos/main.ts", assets ? { KUBEBUILDER_ASSETS: assets } : {});
    equal(code, 2);
    match(stderr, /^The fault run needs a Kubernetes control plane: set KUBEBUILDER_ASSETS [^\n]*\n$/);
  });
}

Deno.test("task compile says in one line that it cannot download Deno's runtime", async () => {
  await withFolder(async (folder) => {
    await Deno.mkdir(`${folder}src/tasks`, { recursive: true });
    await Deno.copyFile(`${root}src/tasks/compile.ts`, `${folder}src/tasks/compile.ts`);
    const { permissions, unstable } = manifest;
    await Deno.writeTextFile(`${folder}deno.json`, JSON.stringify({ permissions, unstable }));
    await Deno.mkdir(`${folder}dist`);
    await Deno.writeTextFile(`${folder}dist/fleetlock.js`, "");
    // Nothing listens on this port.
    const proxy = "http://127.0.0.1:9";
    const { code, stderr } = await run(
      "src/tasks/compile.ts",
      { DENO_DIR: `${folder}cache`, HTTPS_PROXY: proxy },
      folder,
    );
    equal(code, 1);
    match(stderr, /^Cannot compile for amd64: cannot download https:\S+, [^\n]*\n$/);
  });
});

Deno.test("task image builds with buildah where podman is not installed", async () => {
  await withFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}buildah`, '#!/bin/sh\necho "$@"\n', { mode: 0o755 });
    const { code, stdout } = await run("src/tasks/image.ts", { PATH: folder, REVISION: "0123abc" });
    equal(code, 0);
    match(stdout, /^build --file Containerfile --tag fleetlock:\S+ --build-arg=REVISION=0123abc \.\n$/);
  });
});

Deno.test("task image says which builders it knows when none is installed", async () => {
  const { code, stderr } = await run("src/tasks/image.ts", { PATH: "/nowhere" });
  equal(code, 1);
  equal(stderr, "Cannot build the image: install podman, buildah or docker\n");
});
