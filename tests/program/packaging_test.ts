/**
 * Facts that stand in several files of the packaging must be the same in all of them.
 *
 * @module
 */

import { deepEqual, equal, match, notEqual, ok } from "node:assert/strict";
import { load } from "js-yaml";
import { fileURLToPath } from "node:url";
import manifest from "../../deno.json" with { type: "json" };

const root = fileURLToPath(new URL("../../", import.meta.url));
const read = (path: string) => Deno.readTextFileSync(root + path);
// deno-lint-ignore no-explicit-any
const yaml = (path: string) => load(read(path)) as any;

/** All matches of a pattern's first group. */
function found(text: string, pattern: RegExp): string[] {
  return [...text.matchAll(pattern)].map((match) => match[1]!);
}

Deno.test("README, Containerfile and workflow name the Deno that runs these tests", () => {
  const versions = {
    readme: found(read("README.md"), /deno@([\d.]*\d)/g),
    containerfile: found(read("Containerfile"), /denoland\/deno:(\S+)/g),
    workflow: found(read(".github/workflows/ci.yaml"), /DENO_VERSION: (\S+)/g),
  };
  for (const [place, each] of Object.entries(versions)) {
    ok(each.length > 0, `${place} names no version`);
    deepEqual(each, each.map(() => Deno.version.deno), place);
  }
});

Deno.test("image, manifests and changelog name the program's version", () => {
  deepEqual(found(read("Containerfile"), /image\.version="(.*?)"/g), [manifest.version]);
  equal(yaml("examples/k8s/kustomization.yaml").images[0].newTag, manifest.version);
  deepEqual(found(read("examples/quadlet/fleetlock.container"), /^Image=.*:(\S+)$/gm), [manifest.version]);
  match(read("CHANGELOG.md"), new RegExp(`^## \\[?${manifest.version}\\b`, "m"));
});

Deno.test("every package and image has an exact version", () => {
  const { "node:assert/strict": strict, ...packages } = manifest.imports;
  equal(strict, "./tests/support/assert.ts");
  for (const [name, specifier] of Object.entries(packages)) {
    match(specifier, /^npm:\/?(@[a-z-]+\/)?[a-z-]+@\d+\.\d+\.\d+\/?$/, name);
  }
  const images = found(read("Containerfile"), /^FROM (?:--\S+ )?(\S+)/gm);
  equal(images.length, 2);
  for (const image of images) match(image, /:(?!latest)[\w.-]+$/);
  const actions = found(read(".github/workflows/ci.yaml"), /uses: (\S+)/g);
  ok(actions.length > 0);
  for (const action of actions) match(action, /@v\d+\.\d+\.\d+$/);
  equal(manifest.lock.frozen, true);
});

Deno.test("the image and the pods run as the same user, and it is not root", () => {
  const user = found(read("Containerfile"), /^USER (\d+):\d+$/gm);
  const pod = yaml("examples/k8s/deployment.yaml").spec.template.spec;
  deepEqual(user, [`${pod.securityContext.runAsUser}`]);
  notEqual(pod.securityContext.runAsUser, 0);
  equal(pod.securityContext.runAsNonRoot, true);
});

Deno.test("the unit, the Quadlet and the image provide the folder of the SQLite file, which the program does not make", () => {
  const [unit, quadlet] = [read("examples/systemd/fleetlock.service"), read("examples/quadlet/fleetlock.container")];
  const folder = "/var/lib/fleetlock";
  for (const text of [unit, quadlet, read("README.md")]) {
    deepEqual(new Set(found(text, /--store sqlite:(\/\S+)\/locks\.db/g)), new Set([folder]));
  }
  deepEqual(found(unit, /^StateDirectory=(.*)$/gm).map((name) => `/var/lib/${name}`), [folder]);
  deepEqual(found(quadlet, /^Volume=[^:]+:([^:]+):U$/gm), [folder]);
  const image = read("Containerfile");
  const user = found(image, /^USER (\S+)$/gm)[0];
  deepEqual(found(image, new RegExp(`^COPY --from=build --chown=${user} /state (\\S+)$`, "gm")), [folder]);
  equal(found(image, /^RUN (mkdir -m 0700 \/state)$/gm).length, 1);
});

Deno.test("README names the oldest Kubernetes that the manifests need, and how they are applied", () => {
  const { lifecycle } = yaml("examples/k8s/deployment.yaml").spec.template.spec.containers[0];
  deepEqual(lifecycle, { preStop: { sleep: { seconds: 5 } } }, "another hook may need another version");
  const readme = read("README.md");
  match(readme, /need Kubernetes 1\.30 or later: they stop pods with `preStop\.sleep`/);
  match(readme, /`kubectl apply -f examples\/k8s` fails/);
});

Deno.test("the command in README that prints a host's id uses Zincati's application id", () => {
  const inReadme = found(read("README.md"), /^systemd-id128 machine-id --app-specific=([0-9a-f]{32})$/gm);
  const inSource = found(read("src/keeper/nodes/zincati_id.ts"), /\b([0-9a-f]{32})\b/g);
  equal(inReadme.length, 1);
  ok(inSource.includes(inReadme[0]!));
});

Deno.test("README says what an operator asks first: who may ask, where refusals are, and the coordinating host's base_url", () => {
  const readme = read("README.md").replaceAll("\n", " ");
  match(readme, /plain HTTP and does not authenticate clients/);
  match(readme, /Refused requests are in it from `-log-level debug` on/);
  match(readme, /coordinating host itself uses `base_url = "http:\/\/127\.0\.0\.1:8080\/"`/);
});

Deno.test("README names what the HTTP server cannot do: end one connection, and take a POST that asks for an upgrade", () => {
  const readme = read("README.md").replaceAll(/\s+/g, " ");
  const limits = readme.slice(readme.indexOf("Limits of the HTTP server:"), readme.indexOf("## Metrics"));
  match(limits, /never ends its body gets 408 after ten seconds, but keeps its connection until it leaves/);
  match(limits, /no file descriptors left, it takes no new connections until some are free/);
  match(limits, /\(`upgrade: h2c`, as Java's HTTP client sends by default\) gets an empty 400/);
});

Deno.test("every task has a description", () => {
  for (const [name, task] of Object.entries(manifest.tasks)) ok(task.description, name);
});

Deno.test("executables must not run other programs, and read only the environment variables in the list", () => {
  const permissions: Record<string, unknown> = manifest.permissions.default;
  deepEqual(Object.keys(permissions).sort(), ["env", "import", "net", "read", "write"]);
  equal(permissions.import, false);
  equal(manifest.permissions.default.env.ignore, true);
});

Deno.test("the example hosts use the Service's address, and body.json is a valid request", () => {
  const { clusterIP, ports } = yaml("examples/k8s/service.yaml").spec;
  equal(ports[0].port, 80);
  for (const path of ["zincati/55-update-strategy.toml", "butane/fleetlock-client.bu", "typhoon/fleetlock-client.bu"]) {
    deepEqual(found(read(`examples/${path}`), /base_url = "(.*)"/g), [`http://${clusterIP}/`], path);
  }
  const body = JSON.parse(read("examples/body.json"));
  deepEqual(body, { client_params: { id: "c988d2509fdf5cdcbed39037c56406fb", group: "default" } });
});
