/**
 * Looks at the server before the hosts run: whether it grants each group as many
 * slots as the simulation assumes, and whether others already hold some. So what
 * was there before is not taken for what the hosts did. It asks with clients of
 * its own and leaves no slot taken.
 *
 * @module
 */

import type { Clock } from "../lock/clock.ts";
import type { Reply, VirtualClient } from "./client.ts";
import { type Fleet, type GroupTally, LaterAbort, simulatedId } from "./fleet.ts";
import type { Operation } from "./history.ts";
import { SimulationOptionsError } from "./options.ts";

/** Options of {@link surveyServer}. */
export interface SurveyOptions {
  /** How many slots each group has, according to the user. */
  readonly slots: number;
  /** Whether to release the slots of simulated hosts that an earlier run left. */
  readonly clear: boolean;
  /** How long to repeat requests that fail, in milliseconds. */
  readonly startMs: number;
  /** Whether to go on without an answer when requests still fail then. */
  readonly optional: boolean;
  /** How long requests in progress may go on after the signal, in milliseconds. */
  readonly graceMs: number;
  /** Measures and waits. */
  readonly clock: Clock;
}

/** What {@link surveyServer} found and changed. */
export interface Survey {
  /** How many slots it released that an earlier run had left. */
  readonly cleared: number;
  /** Those holds as operations, for the checker: a refusal may be based on them. */
  readonly earlier: readonly Operation[];
}

/** How many groups to look at, and how many ids to release, at a time. */
const AT_A_TIME = 16;

/** How often to repeat a request that failed, in milliseconds. */
const RETRY_MS = 200;

/** How long a refusal may lag behind a release, in milliseconds. */
const LAG_MS = 3_000;

/** The name of a simulated host or of a client of this module, which a reply shows of its id. */
const SIMULATED = /\bsimp?\d+\b/g;

/** Kinds of refusals that say that the server does not understand the requests. */
const NOT_UNDERSTOOD = /^(http_(?!423|429)\d+|not_found|method_not_allowed|missing_header|decode_error|invalid_\w+)$/;

/**
 * Asks for every slot of every group, and releases it again.
 *
 * @throws {SimulationOptionsError} The server cannot be what the options assume: it has fewer slots or groups, others
 *   hold slots, or it does not speak the protocol. The message says what to do.
 */
export async function surveyServer(fleet: Fleet, options: SurveyOptions, signal: AbortSignal): Promise<Survey> {
  const began = options.clock.monotonic();
  const results: GroupSurvey[] = [];
  const problems: unknown[] = [];
  // Requests in progress end by themselves: what the server does with one that was cut is not known.
  using cut = new LaterAbort(signal, options.graceMs, options.clock);
  await inParallel([...fleet.groups.values()], async (tally) => {
    if (problems.length > 0 || signal.aborted) return;
    const survey = new GroupSurvey(fleet, tally, options, began, cut.signal);
    results.push(survey);
    await survey.run(signal).catch((error) => problems.push(error));
  });
  if (problems.length > 0 && !signal.aborted) throw problems[0];
  return {
    cleared: results.reduce((total, each) => total + each.earlier.length / 2, 0),
    earlier: results.flatMap((each) => each.earlier),
  };
}

class GroupSurvey {
  readonly earlier: Operation[] = [];
  readonly #fleet: Fleet;
  readonly #tally: GroupTally;
  readonly #options: SurveyOptions;
  readonly #began: number;
  readonly #cut: AbortSignal;

  constructor(fleet: Fleet, tally: GroupTally, options: SurveyOptions, began: number, cut: AbortSignal) {
    this.#fleet = fleet;
    this.#tally = tally;
    this.#options = options;
    this.#began = began;
    this.#cut = cut;
  }

  /** Takes slot after slot. What it took is released by {@link Fleet.release} if it fails. */
  async run(signal: AbortSignal): Promise<void> {
    const { group, clients } = this.#tally;
    const { slots, clear } = this.#options;
    const probes: VirtualClient[] = [];
    for (let number = 1; number <= Math.min(slots, clients.length); number++) {
      const probe = this.#fleet.createClient(group, simulatedId(`simp${number}`));
      let reply = await this.#ask(probe, "pre-reboot", signal);
      if (reply.kind === "lock_held" && clear) reply = await this.#clear(probe, probes, reply, signal);
      if (reply.outcome !== "granted") {
        const problem = this.#problem(reply, probes.length);
        if (problem !== undefined) throw new SimulationOptionsError(problem);
        break;
      }
      probes.push(probe);
    }
    for (const probe of probes) await this.#ask(probe, "steady-state", signal);
  }

  /**
   * Releases what simulated hosts may hold: first those that the reply names, then all of this run.
   *
   * @param probes The clients of this look that hold a slot. They keep it: they show how many slots there are.
   */
  async #clear(
    probe: VirtualClient,
    probes: readonly VirtualClient[],
    refusal: Reply,
    signal: AbortSignal,
  ): Promise<Reply> {
    const { group, clients } = this.#tally;
    const { clock, slots } = this.#options;
    const held = slots - probes.length;
    const named = simulatedIn(refusal.value).filter((id) => !probes.some((each) => each.id === id));
    const began = nowNs(clock);
    let reply = refusal;
    for (const ids of [named, clients.map((each) => each.id)]) {
      if (ids.length === 0) continue;
      await inParallel(ids, (id) => this.#ask(this.#fleet.createClient(group, id), "steady-state", signal));
      // The server may refuse for a moment by the state that it has seen last.
      const until = clock.monotonic() + LAG_MS;
      do {
        reply = await this.#ask(probe, "pre-reboot", signal);
        if (reply.kind !== "lock_held") break;
        await clock.sleep(RETRY_MS, signal);
      } while (clock.monotonic() < until);
      if (reply.outcome === "granted") break;
    }
    if (reply.outcome === "granted") {
      for (let number = 1; number <= held; number++) {
        const hold = { client: `earlier run ${number}`, group, kind: "" };
        const since = Math.round(this.#began * 1e6);
        this.earlier.push(
          { ...hold, operation: "pre-reboot", invoked: since, completed: since, outcome: "granted" },
          { ...hold, operation: "steady-state", invoked: began, completed: nowNs(clock), outcome: "released" },
        );
      }
    }
    return reply;
  }

  /** Explains why the run cannot start; undefined when the reply does not prevent it. */
  #problem({ outcome, kind, value }: Reply, granted: number): string | undefined {
    const { group } = this.#tally;
    const { slots, clear, optional } = this.#options;
    const said = value === "" ? kind : `${kind}, ${value}`;
    if (outcome !== "refused") {
      return optional ? undefined : `Cannot get a slot of group "${group}" from the server: ${said}`;
    }
    if (kind === "too_many_groups") {
      return `The server refuses group "${group}": ${said}; use fewer --groups, or a server that allows more`;
    }
    if (NOT_UNDERSTOOD.test(kind)) return `The server does not accept the requests of a host: ${said}`;
    // Another reason, such as a maintenance window, only makes the hosts wait.
    if (kind !== "lock_held") return undefined;
    const left = simulatedIn(value).some((id) => !/^simp/.test(id) || granted === 0);
    if (left && !clear) {
      return `A simulated host holds a slot of group "${group}": an earlier simulation left it, or another one is ` +
        `running (${said}); add --clear to release what an earlier one left`;
    }
    if (granted === 0) {
      const hint = clear ? "--clear did not release it, because no simulated host holds it" : "wait or release it";
      return `Another client holds the slot of group "${group}" (${said}); ${hint}`;
    }
    return `--slots is ${slots}, but only ${granted} of group "${group}" can be held (${said}); ` +
      `use --slots ${granted}, or a server with as many slots`;
  }

  /** Sends a request, and repeats it while it fails and the server may still be starting. */
  async #ask(client: VirtualClient, operation: Operation["operation"], signal: AbortSignal): Promise<Reply> {
    const { clock, startMs, optional } = this.#options;
    for (;;) {
      signal.throwIfAborted();
      const reply = await client.ask(operation, this.#cut);
      const isFailure = reply.outcome === "error" || reply.outcome === "unknown";
      if (!isFailure || optional || clock.monotonic() - this.#began >= startMs) return reply;
      await clock.sleep(RETRY_MS, signal);
    }
  }
}

function simulatedIn(sentence: string): string[] {
  return [...new Set(sentence.match(SIMULATED))].map(simulatedId);
}

function nowNs(clock: Clock): number {
  return Math.round(clock.monotonic() * 1e6);
}

async function inParallel<T>(items: readonly T[], act: (item: T) => Promise<unknown>): Promise<void> {
  const waiting = [...items].reverse();
  const worker = async () => {
    for (let item = waiting.pop(); item !== undefined; item = waiting.pop()) await act(item);
  };
  await Promise.all(Array.from({ length: Math.min(AT_A_TIME, items.length) }, worker));
}
