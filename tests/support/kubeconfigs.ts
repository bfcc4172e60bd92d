/** Kubeconfigs for tests without a cluster, in folders of their own. @module */

/** Runs a test's part with a new folder, which is removed afterwards. */
export async function withFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await run(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Defines a test that has a folder. */
export function folderTest(name: string, run: (folder: string) => Promise<void>): void {
  Deno.test(name, () => withFolder(run));
}

/** A kubeconfig with one of everything; the parts may be replaced. */
export function kubeconfig(
  user: unknown,
  cluster: Record<string, unknown> = {},
  rest: Record<string, unknown> = {},
): string {
  return JSON.stringify({
    clusters: [{ name: "c", cluster: { server: "https://127.0.0.1:1/", ...cluster } }],
    users: [{ name: "u", user }],
    contexts: [{ name: "x", context: { cluster: "c", user: "u" } }],
    "current-context": "x",
    ...rest,
  });
}
