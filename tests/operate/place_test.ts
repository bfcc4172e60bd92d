/** Where a command finds the locks: the namespace, from flags, the environment and kubeconfigs. @module */

import { equal, match, ok, rejects } from "node:assert/strict";
import { ConfigError } from "../../src/config/config_error.ts";
import { openPlace, type PlaceFlags } from "../../src/operate/place.ts";
import { folderTest, kubeconfig } from "../support/kubeconfigs.ts";

/** Opens a cluster, which needs no call, and returns the namespace in which its locks are. */
async function namespaceOf(flags: PlaceFlags, environment: Record<string, string> = {}): Promise<string | undefined> {
  await using place = await openPlace(flags, environment);
  return place.kind === "cluster" ? place.client.namespace : undefined;
}

function contextIn(namespace: unknown): string {
  return kubeconfig({ token: "t" }, {}, {
    contexts: [{ name: "x", context: { cluster: "c", user: "u", namespace } }],
  });
}

folderTest(
  "a command works in the namespace of its flag, of NAMESPACE or of the kubeconfig's context",
  async (folder) => {
    const path = `${folder}/config`;
    await Deno.writeTextFile(path, contextIn("of-context"));
    const NAMESPACE = "of-variable";
    equal(await namespaceOf({ kubeconfig: path, namespace: "of-flag" }, { NAMESPACE }), "of-flag");
    equal(await namespaceOf({ kubeconfig: path }, { NAMESPACE }), "of-variable");
    equal(await namespaceOf({ kubeconfig: path }), "of-context");
    equal(await namespaceOf({}, { KUBECONFIG: path }), "of-context");
    await Deno.mkdir(`${folder}/.kube`);
    await Deno.rename(path, `${folder}/.kube/config`);
    equal(await namespaceOf({}, { HOME: folder }), "of-context");
    // kubectl proxy is another way to a cluster, which a kubeconfig says nothing about.
    equal(await namespaceOf({ apiServer: "http://127.0.0.1:1" }, { HOME: folder }), "default");
    await Deno.writeTextFile(`${folder}/none`, contextIn(undefined));
    equal(await namespaceOf({ kubeconfig: `${folder}/none` }), "default");
  },
);

folderTest("a namespace that cannot be one is refused by the name of where it comes from", async (folder) => {
  const path = `${folder}/config`;
  await Deno.writeTextFile(path, contextIn("Bad_NS"));
  const cases: [PlaceFlags, Record<string, string>, RegExp][] = [
    [
      { kubeconfig: path, namespace: "Bad_NS" },
      {},
      /^--namespace must be the name of a namespace: .*: it is "Bad_NS"$/,
    ],
    [{ kubeconfig: path }, { NAMESPACE: "Bad_NS" }, /^NAMESPACE must be the name of a namespace: .*: it is "Bad_NS"$/],
    [{ kubeconfig: path }, {}, /^the namespace of the current context of the kubeconfig .*config must be the name of /],
  ];
  for (const [flags, environment, says] of cases) {
    await rejects(namespaceOf(flags, environment), (error) => {
      ok(error instanceof ConfigError);
      match(error.message, says);
      return true;
    });
  }
});
