/**
 * What every call of the keeper to the API server must do, whatever it is about: end with its signal, and name what was
 * refused.
 *
 * @module
 */

import { equal, ok, rejects } from "node:assert/strict";
import type { KubernetesClient } from "../../src/kubernetes/client.ts";
import { CallRefusedError } from "../../src/lock/errors.ts";
import { until } from "./condition.ts";
import { fakeApiServer, json, status } from "./fake_api_server.ts";

/** Makes a call over a client. */
type MakeCall = (client: KubernetesClient, signal?: AbortSignal) => Promise<unknown>;

/** Checks that a signal ends a call with its reason, and that the call does not begin after that. */
export async function checkSignal(make: MakeCall): Promise<void> {
  const never = Promise.withResolvers<Response>();
  await using fake = await fakeApiServer(() => never.promise);
  const stop = new AbortController();
  const running = rejects(make(fake.client, stop.signal), /^Error: stop$/);
  await until(() => fake.requests.length === 1);
  stop.abort(new Error("stop"));
  await running;
  await rejects(make(fake.client, stop.signal), /^Error: stop$/);
  equal(fake.requests.length, 1);
  never.resolve(json({}));
}

/** Checks that a refusal that a call does not expect is a fault that says what was refused. */
export async function checkRefusal(make: MakeCall): Promise<void> {
  await using fake = await fakeApiServer(() => status(422, { reason: "Invalid", message: "not like that" }));
  await rejects(make(fake.client), (error) => {
    ok(error instanceof CallRefusedError);
    equal(error.message, "the API server refused a call about a node: not like that");
    return true;
  });
}
