/**
 * A minimal server of the protocol for the simulator's tests, which can be faulty on purpose.
 *
 * @module
 */

import { startOfId } from "../../src/lock/wording.ts";
import { parseClientId, parseGroup } from "../../src/lock/identity.ts";
import { LockService } from "../../src/lock/lock_service.ts";
import { slotsOnly } from "../../src/lock/policy.ts";
import type { Refusal } from "../../src/lock/outcomes.ts";
import { MemoryLockStore } from "../../src/lock/lock_store.ts";

/** One request, as the server received it. */
export interface SeenRequest {
  readonly path: string;
  readonly headers: Headers;
  readonly body: string;
}

/** The faults of a server. */
export interface Faults {
  /** The server grants every request. */
  readonly grantsAll?: boolean;
  /** The server says yes to a release and keeps the hold. */
  readonly keepsAll?: boolean;
  /** The server's replies name no holder. */
  readonly namesNobody?: boolean;
  /** The most groups that the server allows. */
  readonly maxGroups?: number;
}

/** A server on a free port. */
export class ProtocolServer implements AsyncDisposable {
  /** The requests in order. */
  readonly seen: SeenRequest[] = [];
  /** Its base URL. */
  readonly url: URL;
  /** Its locks, for tests that take slots beside the simulation. */
  readonly locks: LockService;
  /** How many of the next requests get 503. */
  unavailable = 0;
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly #faults: Faults;
  readonly #groups = new Set<string>();

  constructor(slots: number, faults: Faults = {}) {
    this.locks = new LockService(new MemoryLockStore(), { policy: slotsOnly(() => slots) });
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
      this.#groups.add(group);
      if (this.#groups.size > (this.#faults.maxGroups ?? Infinity)) {
        this.#groups.delete(group);
        return Response.json({ kind: "too_many_groups", value: "" }, { status: 429 });
      }
      if (this.#faults.grantsAll) return new Response("granted");
      const outcome = await this.locks.preReboot(client, parseGroup(group)!);
      if (outcome.kind !== "refused") return new Response("granted");
      return Response.json({
        kind: outcome.refusal.kind,
        value: this.#faults.namesNobody ? "" : sentence(outcome.refusal),
      }, { status: 423 });
    }
    if (path !== "/base/v1/steady-state") return new Response("not found", { status: 404 });
    if (!this.#faults.keepsAll) await this.locks.steadyState(client, parseGroup(group)!);
    return new Response("released");
  }
}

/** A sentence that names the holders, as the program's does. */
function sentence(refusal: Refusal): string {
  return refusal.kind === "lock_held" ? `held by ${refusal.holders.map((each) => startOfId(each.id)).join(", ")}` : "";
}
