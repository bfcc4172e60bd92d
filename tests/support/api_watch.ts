/**
 * Watches objects of a control plane with plain HTTP, so that a test sees what
 * the API server stores without the program's own client.
 *
 * @module
 */

import type { ControlPlane } from "./control_plane.ts";

/** What happened to an object. */
export type ChangeType = "ADDED" | "MODIFIED" | "DELETED";

/** A running watch. */
export interface ApiWatch extends AsyncDisposable {
  /** Settles when the first list has been reported. */
  readonly listed: Promise<void>;
  /** Settles when the watch is over. It rejects if changes may have been missed. */
  readonly ended: Promise<void>;
}

/**
 * Lists objects and then watches them. It reports each version exactly once, in order, over lost connections and
 * restarts of the API server too.
 *
 * @param path Such as `/api/v1/pods`.
 * @param changed Receives each change. The object of a deletion carries the revision of the deletion.
 */
export function watchApi(
  plane: ControlPlane,
  path: string,
  // deno-lint-ignore no-explicit-any
  changed: (type: ChangeType, object: any) => void,
): ApiWatch {
  const over = new AbortController();
  // The end of a fetch does not always end a read of its body that has begun.
  const stopped = new Promise<never>((_, reject) => over.signal.addEventListener("abort", () => reject(new Stopped())));
  stopped.catch(() => {});
  const listed = Promise.withResolvers<void>();
  const client = Deno.createHttpClient({ caCerts: [plane.ca] });
  let revision = "";

  const open = async (query: string): Promise<Response> =>
    await fetch(`${plane.server}${path}?${query}`, {
      headers: { authorization: `Bearer ${plane.adminToken}` },
      client,
      signal: over.signal,
    });
  const list = async () => {
    const { items, metadata } = await (await open("")).json();
    revision = metadata.resourceVersion;
    for (const item of items) changed("ADDED", item);
    listed.resolve();
  };
  const follow = async () => {
    const response = await open(`watch=1&allowWatchBookmarks=true&resourceVersion=${revision}`);
    if (!response.ok) {
      const text = await response.text();
      if (response.status === 410) throw new MissedChanges(path, text);
      throw new Error(text);
    }
    const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop()!;
      for (const line of lines) {
        const { type, object } = JSON.parse(line);
        if (type === "ERROR") throw object.code === 410 ? new MissedChanges(path, line) : new Error(line);
        revision = object.metadata.resourceVersion;
        if (type !== "BOOKMARK") changed(type, object);
      }
    }
  };
  const run = async () => {
    while (!over.signal.aborted) {
      try {
        await Promise.race([revision === "" ? list() : follow(), stopped]);
      } catch (error) {
        if (error instanceof MissedChanges) throw error;
        if (!over.signal.aborted) await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
  };
  const ended = run().finally(() => client.close());
  ended.catch((error) => listed.reject(error));
  return {
    listed: listed.promise,
    ended,
    async [Symbol.asyncDispose]() {
      over.abort();
      await ended;
    },
  };
}

class Stopped extends Error {}

class MissedChanges extends Error {
  constructor(path: string, text: string) {
    super(`The watch of ${path} missed changes: ${text.slice(0, 300)}`);
  }
}
