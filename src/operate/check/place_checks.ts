/**
 * Which checks a place gets. The check of the configuration file is in
 * config_checks.ts, and the caller adds it.
 *
 * @module
 */

import type { PodPolicy } from "../../keeper/drain/pods.ts";
import { askServer } from "../accounts.ts";
import type { Place } from "../place.ts";
import { describeFault, requestTo } from "../request.ts";
import { type CheckPart, type CheckResult, countOf } from "./check.ts";
import { type ClusterCheckOptions, clusterChecks } from "./cluster_checks.ts";
import { nodeChecks } from "./node_checks.ts";

/** Lists the checks of a place, in order. */
export function checksOf(
  place: Place,
  options: Omit<ClusterCheckOptions, "isInPod"> & { readonly pods: PodPolicy },
): CheckPart[] {
  const { signal } = options;
  switch (place.kind) {
    case "cluster": {
      const { client, isInPod } = place;
      const parts = clusterChecks(client, { ...options, isInPod });
      return [...parts, ...options.drain === undefined ? [NO_DRAIN] : nodeChecks(client, options.pods, signal)];
    }
    case "sqlite":
      return [{
        category: "locks",
        name: "the file can be read and written",
        hint: "check the owner of the file and of its folder, and whether its disk is full",
        async run() {
          const { groups } = await place.store.list({ signal });
          await place.store.checkWritable?.();
          return [{ name: "the file can be read and written", status: "ok", detail: countOf(groups.size, "group") }];
        },
      }];
    case "server":
      return [{ category: "server", name: "the server is ready", run: () => checkServer(place.url, signal) }];
  }
}

/** Stands for the checks of what a drain meets, where there is none. */
const NO_DRAIN: CheckPart = {
  category: "nodes",
  name: "nodes can be drained",
  run: () => Promise.resolve([{ name: "nodes can be drained", status: "skipped", detail: "draining is off" }]),
};

/**
 * Lists what is to be said of a place that cannot be opened.
 *
 * @param error Why it cannot; its message says what to do.
 */
export function checksOfClosed(kind: "cluster" | "sqlite", error: unknown): CheckPart[] {
  const run = () => Promise.reject(error);
  if (kind === "sqlite") return [{ category: "locks", name: "the file can be read and written", run }];
  return [
    { category: "cluster", name: "the cluster can be reached", otherwise: "the cluster cannot be reached", run },
    { category: "permissions", name: "the permissions suffice", run: never },
    { category: "nodes", name: "nodes can be drained", run: never },
  ];
}

function never(): Promise<CheckResult[]> {
  return Promise.reject(new Error("a part without a place is skipped"));
}

async function checkServer(server: URL, signal?: AbortSignal): Promise<CheckResult[]> {
  const { url, headers } = requestTo(server, "/-/ready");
  const name = "the server is ready";
  try {
    const deadline = AbortSignal.timeout(5_000);
    const every = signal === undefined ? deadline : AbortSignal.any([signal, deadline]);
    const response = await fetch(url, { headers, redirect: "manual", signal: every });
    const text = (await response.text()).trim();
    if (!response.ok) return [{ name, status: "failed", detail: text.slice(0, 500), hint: "look at the server's log" }];
  } catch (error) {
    signal?.throwIfAborted();
    return [{
      name,
      status: "failed",
      detail: describeFault(error),
      hint: "check the URL, and whether the server runs",
    }];
  }
  const { account, problem } = await askServer(server, signal);
  const shows = "the server shows its state";
  return [
    { name, status: "ok" },
    account === undefined ? { name: shows, status: "warning", detail: problem } : {
      name: shows,
      status: "ok",
      detail: `${countOf(account.groups.length, "group")}, fleetlock ${account.program}`,
    },
  ];
}
