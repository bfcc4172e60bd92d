/**
 * The least server of the protocol, for the simulator's tests: right or wrong as the test wants it.
 *
 * @module
 */

import { parseClientId, parseGroup } from "../../src/lock/identity.ts";
import { LockService } from "../../src/lock/lock_service.ts";
import { MemoryLockStore } from "../../src/lock/lock_store.ts";

/** What the server saw of one request. */
export interface SeenRequest {
  readonly path: string;
  readonly headers: Headers;
  readonly body: string;
}

/** How a server may be wrong. */
export interface Faults {
  /** Everybody is granted a slot. */
  readonly grantsAll?: boolean;
  /** A release is answered with yes and forgotten. */
  readonly keepsAll?: boolean;
}

/** A server on a port of its own. */
export class ProtocolServer implements AsyncDisposable {
  /** Every request, in order. */
  readonly seen: SeenRequest[] = [];
  /** Where it listens. */
  readonly url: URL;
  /** How many of the next requests are answered 503. */
  unavailable = 0;
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly #locks: LockService;
  readonly #faults: Faults;

  constructor(slots: number, faults: Faults = {}) {
    this.#locks = new LockService(new MemoryLockStore(), { slotsOf: () => slots });
    this.#faults = faults;
    this.#server = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen: () => {} },
      (request) => this.#reply(request),
    );
    this.url = new URL(`http://127.0.0.1:${this.#server.addr.port}/base/`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
  }

  async #reply(request: Request): Promise<Response> {
    const body = await request.text();
    const path = new URL(request.url).pathname;
    this.seen.push({ path, headers: request.headers, body });
    if (this.unavailable > 0) {
      this.unavailable--;
      return Response.json({ kind: "store_unavailable", value: "" }, { status: 503 });
    }
    const { id, group } = JSON.parse(body).client_params;
    const client = parseClientId(id)!;
    if (path === "/base/v1/pre-reboot") {
      if (this.#faults.grantsAll) return new Response("granted");
      const outcome = await this.#locks.preReboot(client, parseGroup(group)!);
      if (outcome.kind !== "refused") return new Response("granted");
      return Response.json({ kind: outcome.refusal.kind, value: "" }, { status: 423 });
    }
    if (path !== "/base/v1/steady-state") return new Response("not found", { status: 404 });
    if (!this.#faults.keepsAll) await this.#locks.steadyState(client, parseGroup(group)!);
    return new Response("released");
  }
}
