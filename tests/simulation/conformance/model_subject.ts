/**
 * The modelled API server as a subject of the conformance cases.
 *
 * @module
 */

import { Random } from "../../../src/simulator/random.ts";
import { ApiServer } from "../world/api.ts";
import { failedResponse } from "../world/network.ts";
import type { Stored } from "../world/objects.ts";
import type { Subject } from "./cases.ts";

/** Makes one. */
export function modelSubject(): Subject {
  const renewals = new Map<string, number>();
  const api = new ApiServer({
    now: () => Date.UTC(2030, 0, 7, 8),
    random: new Random(1),
    hasWatchList: true,
    renewal: (name) => renewals.get(name),
  });
  const subject: Subject = {
    namespace: "case",
    prefix: "case",
    call(method, path, body, more = {}) {
      const answer = api.handle({
        method,
        path,
        accept: more.accept ?? "application/json",
        user: "kubectl",
        ...(body !== undefined && { body: JSON.stringify(body) }),
      });
      if (answer.kind === "watch") throw new Error("a watch where an answer was expected");
      return Promise.resolve({ status: answer.status, body: JSON.parse(answer.body) });
    },
    watch(path) {
      const answer = api.handle({ method: "GET", path, accept: "application/json", user: "kubectl" });
      if (answer.kind !== "watch") throw new Error(`no watch: ${answer.body}`);
      const lines: Stored[] = [...answer.watch.first];
      api.store.listen((change) => {
        const event = change.kind === answer.watch.kind ? answer.watch.shown(change) : undefined;
        if (event !== undefined) lines.push(event);
      });
      return Promise.resolve((count) => Promise.resolve(lines.slice(0, count)));
    },
    compact() {
      api.store.compact();
      return Promise.resolve();
    },
    expire: () => "a token of a version that is forgotten",
    async overload() {
      const response = failedResponse(429, new Date(0).toUTCString());
      const { status, headers } = response;
      const text = await response.text();
      return { status, type: headers.get("content-type"), text, retryAfter: headers.get("retry-after") };
    },
    backUp() {
      const backup = api.store.backup();
      return Promise.resolve(() => Promise.resolve(api.store.restore(backup)));
    },
    budget({ name, app, minAvailable }) {
      // It always knows how many run.
      const { budgets } = api.disruptions;
      if (!budgets.some((one) => one.name === name)) budgets.push({ name, app, minAvailable });
      return Promise.resolve();
    },
    renew(node) {
      renewals.set(node, Date.UTC(2030, 0, 7, 8));
      return Promise.resolve();
    },
    async callWithout(right, ...call) {
      api.denied.add(right);
      const answer = await subject.call(...call);
      api.denied.delete(right);
      return answer;
    },
  };
  return subject;
}
