/** The times of a virtual host, by a clock that the tests advance. @module */

import { deepEqual, equal } from "node:assert/strict";
import { VirtualClient } from "../../src/simulator/client.ts";
import type { Operation } from "../../src/simulator/history.ts";
import { Random } from "../../src/simulator/random.ts";
import { until } from "../support/condition.ts";
import { FakeClock } from "../support/fake_clock.ts";

/** A host and a server that gives the replies of a list, one after the other, and none when the list is empty. */
class HostOfServer implements AsyncDisposable {
  readonly clock = new FakeClock();
  /** The requests, in order. */
  readonly asked: string[] = [];
  /** The operations that have ended. */
  readonly operations: Operation[] = [];
  readonly #end = new AbortController();
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly #http = Deno.createHttpClient({ poolMaxIdlePerHost: 0 });
  readonly #running: Promise<void>;

  constructor(statuses: number[]) {
    this.#server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
      await request.text();
      this.asked.push(request.url.split("/v1/")[1]!);
      const status = statuses.shift();
      if (status === undefined) await new Promise((resolve) => request.signal.addEventListener("abort", resolve));
      return Response.json({ kind: status === 200 ? undefined : "lock_held" }, { status });
    });
    const client = new VirtualClient({
      id: "a",
      group: "g",
      targets: [new URL(`http://127.0.0.1:${this.#server.addr.port}`)],
      random: new Random(1),
      http: this.#http,
      clock: this.clock,
      observer: { invoked: () => {}, completed: (_client, operation) => void this.operations.push(operation) },
    });
    this.#running = client.run(1, this.#end.signal);
  }

  /** Waits until as many operations have ended and the host waits for the clock. */
  async pausesAfter(operations: number): Promise<void> {
    await until(() => this.operations.length === operations && this.clock.sleepers === 1);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end.abort();
    await this.#running;
    this.#http.close();
    await this.#server.shutdown();
  }
}

Deno.test("a host repeats a refused request after 300 to 330 s", async () => {
  await using host = new HostOfServer([423, 423]);
  await host.pausesAfter(1);
  await host.clock.advance(299_999);
  equal(host.clock.sleepers, 1);
  await host.clock.advance(30_001);
  await host.pausesAfter(2);
  deepEqual(host.asked, ["steady-state", "steady-state"]);
});

Deno.test("a host asks for its reboot at most 10 minutes after its release", async () => {
  await using host = new HostOfServer([200, 423]);
  await host.pausesAfter(1);
  await host.clock.advance(600_000);
  await host.pausesAfter(2);
  deepEqual(host.asked, ["steady-state", "pre-reboot"]);
});

Deno.test("a host gives up a request after 30 minutes, and does not know its outcome", async () => {
  await using host = new HostOfServer([]);
  await until(() => host.asked.length === 1);
  const began = host.clock.monotonic();
  await host.clock.advance(1_799_999);
  deepEqual(host.operations, []);
  await host.clock.advance(1);
  await host.pausesAfter(1);
  deepEqual(host.operations, [{
    client: "a",
    group: "g",
    operation: "steady-state",
    invoked: began * 1_000_000,
    completed: null,
    outcome: "unknown",
    kind: "timeout",
  }]);
});
