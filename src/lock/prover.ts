/**
 * The way from a hold to a yes: the drain of the host, what is noted of it with
 * the hold, and the evidence for {@link judgeYes}, whose verdict it turns into
 * the answer. It takes no slot, and whether the evidence is enough is not its
 * decision.
 *
 * @module
 */

import type { Clock } from "./clock.ts";
import type { GroupView } from "./group_view.ts";
import type { Ticket } from "./group_writer.ts";
import type { Proven } from "./hold_outcomes.ts";
import { type Holds, refuseFull } from "./holds.ts";
import type { Group } from "./identity.ts";
import type { Versioned } from "./lock_store.ts";
import type { DrainOutcome, NodeIdentity, NodeKeeper } from "./node_keeper.ts";
import { type PreRebootOutcome, type Refused, refused } from "./outcomes.ts";
import { amend, type DrainPhase, type HeldNode, holderOf, isSameHoldAndNode, mayHaveHadYes } from "./semaphore.ts";
import type { Yields } from "./yields.ts";
import { FRESH_MS, type HostEvidence, judgeYes, SECOND_SEARCH_MS } from "./yes.ts";

/** How often a hold may move to another node within one request. */
const MAX_MOVES = 3;

/** How often one request collects its evidence again because it has become too old. */
const MAX_TRIES = 10;

/**
 * How long ago a write may have begun for a hold to need no other proof, in milliseconds. Most take a tenth of that.
 */
const SLOW_WRITE_MS = 200;

/** How often the hold is read for one proof, since the watch shows one state of the group after the other. */
const MAX_READS = 3;

/** What {@link Prover} works with. */
export interface ProverOptions {
  /** Drains the hosts. Without one, the hold alone is enough for a yes. */
  readonly keeper?: NodeKeeper;
  /** How long an answer may wait for the node keeper, in milliseconds. */
  readonly replyWaitMs: number;
  /** Ends such waits at once. */
  readonly stopping: AbortSignal;
  /** Measures the age of the evidence. */
  readonly clock: Pick<Clock, "monotonic">;
  /** How many clients of a group may hold a slot. */
  readonly slotsOf: (group: Group) => number;
  /** Frees the slots of hosts that cannot be drained. */
  readonly yields: Yields;
  /** What was seen last of the groups. */
  readonly view: Pick<GroupView, "get">;
}

/** Everything that a yes rests on, as far as it was seen. */
interface Evidence {
  readonly kind: "evidence";
  readonly hold: Proven;
  readonly host: HostEvidence;
  /** {@link Clock.monotonic} as of which `host` is known. */
  readonly readAt: number;
  /** The same of what changes at any moment: whether the node is cordoned, and that there is none. */
  readonly confirmedAt: number;
}

/** When the facts of a host were read. */
type Times = Pick<Evidence, "readAt" | "confirmedAt">;

/** See the module. Its methods throw {@link "./errors.ts".UnavailableError} where the store or the cluster fails. */
export class Prover {
  readonly #holds: Holds;
  readonly #options: ProverOptions;

  /** Works on the holds of a store. */
  constructor(holds: Holds, options: ProverOptions) {
    this.#holds = holds;
    this.#options = options;
  }

  /**
   * Answers a client that holds a slot, as a write of this request has shown.
   *
   * @param arrival The request's ticket.
   */
  async prove(acquired: Proven, group: Group, arrival: Ticket): Promise<PreRebootOutcome> {
    const deadline = this.#options.clock.monotonic() + this.#options.replyWaitMs;
    let hold = acquired;
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const evidence = await this.#drain(hold, group, deadline);
      if (evidence.kind === "refused") return evidence;
      hold = evidence.hold;
      let answer = this.#judge(evidence, group);
      if (answer === "too_old") {
        // What is too old may be the write alone. And a node is drained again only for a hold that is still there.
        const renewed = await this.#renew(hold, group, arrival);
        if (renewed.kind === "refused") return renewed;
        hold = renewed;
        answer = this.#judge({ ...evidence, hold }, group);
      }
      if (answer !== "too_old" && answer.kind !== "refused") {
        answer = await this.#confirm({ ...evidence, hold }, group, deadline);
      }
      if (answer !== "too_old") return answer;
    }
    return refused({ kind: "contended" });
  }

  /**
   * Reads again what has become old while the rest of the evidence was collected, or seems to be no longer so, and
   * judges it anew: meanwhile, somebody may have freed the slot, another request may have found a node, or the host may
   * have joined as one.
   */
  async #confirm(evidence: Evidence, group: Group, deadline: number): Promise<PreRebootOutcome | "too_old"> {
    const first = await this.#reread(evidence, FRESH_MS, group);
    if (first !== "too_old") return first;
    const again = await this.#readAgain(evidence.hold, group, deadline);
    return again === undefined ? "too_old" : await this.#reread(again, SECOND_SEARCH_MS, group);
  }

  /**
   * Reads the hold again where that is due, and judges it with what was read of the host before.
   *
   * @param searchMs How old a search may be.
   */
  async #reread(evidence: Evidence, searchMs: number, group: Group): Promise<PreRebootOutcome | "too_old"> {
    const { clock, keeper, view } = this.#options;
    let last = evidence;
    // At one moment, the hold must be there and the host have no node. So the search follows the grant, since the host
    // may join between the two, and a read of the hold follows the search.
    let isDue = last.host.kind === "no_node" || clock.monotonic() - last.hold.written.began > SLOW_WRITE_MS;
    let disproved: Versioned | undefined;
    for (let reads = 0; reads < MAX_READS && !this.#isOutdated(last, searchMs); reads++) {
      // What the watch shows proves nothing, but a read must speak against it.
      const seen = view.get(group);
      if (!isDue && (seen === disproved || shows(seen, last.hold))) {
        // And so it is with a Node that may have joined after the search.
        const isJoined = last.host.kind === "no_node" && keeper?.showsNode(last.hold.holder.id);
        return isJoined ? "too_old" : this.#judge(last, group);
      }
      const hold = await this.#holds.confirm(last.hold, group);
      if (hold.kind === "refused") return hold;
      if (clock.monotonic() - hold.written.began > FRESH_MS) return "too_old";
      last = { ...last, hold };
      disproved = seen;
      isDue = false;
    }
    return "too_old";
  }

  /** Whether what came after the reading of a node took so long that the node may have changed, or one have joined. */
  #isOutdated({ host, confirmedAt }: Evidence, searchMs: number): boolean {
    const ageMs = this.#options.clock.monotonic() - confirmedAt;
    return host.kind === "node" ? ageMs > FRESH_MS : host.kind === "no_node" && ageMs > searchMs;
  }

  /**
   * Reads the node of a drained hold again, after all writes, or searches for one. Returns undefined where it must be
   * drained again first.
   */
  async #readAgain(hold: Proven, group: Group, deadline: number): Promise<Evidence | undefined> {
    const { keeper, clock, stopping, yields } = this.#options;
    const called = clock.monotonic();
    const outcome = await keeper?.drain(yields.toDrain(hold.holder, group), Math.max(0, deadline - called), stopping);
    if (outcome?.kind !== "drained" || outcome.node?.uid !== hold.holder.node?.uid) return undefined;
    return { kind: "evidence", hold, host: outcome.host, ...timesOf(outcome, called) };
  }

  /** Drains the host, and notes with the hold which node that is and that it is drained. */
  async #drain(acquired: Proven, group: Group, deadline: number): Promise<Evidence | Refused> {
    const { keeper, clock, stopping, yields } = this.#options;
    let hold: Proven | Refused = acquired;
    if (keeper === undefined) return await this.#withoutDrain(hold, group);
    for (let moves = 0; hold.kind !== "refused"; moves++) {
      const paused = await yields.toPause(hold.holder, group, hold.written.state);
      if (paused !== undefined) return paused;
      const { node } = hold.holder;
      const called = clock.monotonic();
      const waitMs = Math.max(0, deadline - called);
      const outcome = await keeper.drain(yields.toDrain(hold.holder, group), waitMs, stopping);
      switch (outcome.kind) {
        case "moved":
          if (moves === MAX_MOVES) return refused({ kind: "contended" });
          hold = await this.#holds.note(hold, group, heldNode(outcome.node, "draining"));
          break;
        case "drained":
          return await this.#noteDrained(hold, group, outcome.node ?? node, outcome.host, timesOf(outcome, called));
        case "failed": {
          const yielded = await yields.afterDrain(hold.holder, group, outcome);
          if (yielded !== undefined) return yielded;
          if (node?.phase === "draining") await this.#holds.note(hold, group, { ...node, phase: "failed" });
          const { yields: _, ...failure } = outcome;
          return refused({ ...failure, kind: "drain_failed" });
        }
        case "draining":
          return refused(outcome);
        case "abandoned":
          return yields.refuseEnded(hold.holder, group);
        case "ambiguous":
          return refused({ kind: "node_ambiguous", nodes: outcome.nodes });
        case "unreadable":
          return refused({ kind: "hold_unreadable" });
        default:
          return outcome satisfies never;
      }
    }
    return hold;
  }

  /**
   * The evidence where nodes are not drained. A hold that another server, which drains them, began to drain must show
   * from now on that its host may reboot.
   */
  async #withoutDrain(acquired: Proven, group: Group): Promise<Evidence | Refused> {
    const hold = mayHaveHadYes(acquired.holder) ? acquired : await this.#holds.noteYes(acquired, group);
    if (hold.kind === "refused") return hold;
    return { kind: "evidence", hold, host: { kind: "not_drained" }, ...asOf(this.#options.clock.monotonic()) };
  }

  /**
   * Notes the end of a drain. The write that notes it is the proof of the hold. Nothing is noted where there is no
   * node, or where the evidence is not enough already.
   */
  async #noteDrained(
    hold: Proven,
    group: Group,
    node: NodeIdentity | undefined,
    host: HostEvidence,
    times: Times,
  ): Promise<Evidence | Refused> {
    const evidence: Evidence = { kind: "evidence", hold, host, ...times };
    // The write that would note it comes only now, so the age of the last one does not matter yet.
    const noting = node && amend(hold.written.state, hold.holder, 0, heldNode(node, "drained"));
    const written = { ...hold.written, state: noting ?? hold.written.state, began: times.readAt };
    const answer = this.#judge({ ...evidence, hold: { ...hold, written } }, group);
    if (node === undefined || answer === "too_old" || answer.kind === "refused") return evidence;
    // A hold comes to be about another node only by a move, which the drain of that node follows.
    if (hold.holder.node?.uid !== node.uid) return refused({ kind: "contended" });
    const noted = await this.#holds.note(hold, group, heldNode(node, "drained"));
    return noted.kind === "refused" ? noted : { ...evidence, hold: noted };
  }

  /** Proves a hold by another write. It stays a grant where this request took the slot. */
  async #renew({ kind, holder }: Proven, group: Group, arrival: Ticket): Promise<Proven | Refused> {
    const renewed = await this.#holds.renew(holder.id, group, arrival);
    if (renewed.kind === "refused") return renewed;
    if (renewed.kind === "free" || renewed.holder.since !== holder.since) return refused({ kind: "contended" });
    return { ...renewed, kind };
  }

  /** Turns the verdict on the evidence into an answer. */
  #judge({ hold: { kind, holder, written }, host, readAt }: Evidence, group: Group): PreRebootOutcome | "too_old" {
    const { id, since } = holder;
    const { state, ending, began } = written;
    const ageMs = this.#options.clock.monotonic() - Math.min(began, readAt);
    const slots = this.#options.slotsOf(group);
    const yes = judgeYes({ id, since, written: state, slots, isEnding: ending !== undefined, ageMs }, host);
    const node = holder.node?.name ?? "";
    switch (yes.kind) {
      case "yes":
        return { kind, holder };
      case "too_old":
        return "too_old";
      case "not_written":
        // Where the hold is there, the evidence is about another node than the hold: another request has changed it.
        return refused({ kind: holderOf(state, id)?.since === since ? "contended" : "write_altered" });
      case "lock_ending":
        return ending === undefined ? refused({ kind: "contended" }) : refused({ kind: "lock_ending", ...ending });
      case "full":
        return refuseFull(state, id, slots);
      case "pods_left": {
        const pods = yes.pods.map(({ namespace, name }) => ({ namespace, name, reason: "it is still there" }));
        return refused({ kind: "draining", node, pods });
      }
      case "uncordoned":
      case "node_ending":
        return refused({ kind: "draining", node, pods: [] });
      default:
        return yes satisfies never;
    }
  }
}

/** Whether a state of the group shows a hold as it was proven. */
function shows(seen: Versioned | undefined, { holder }: Proven): boolean {
  return seen?.ending === undefined && isSameHoldAndNode(seen && holderOf(seen.state, holder.id), holder);
}

/** The times of what a drain found, which was called at a moment. */
function timesOf({ readAt, confirmedAt }: Extract<DrainOutcome, { kind: "drained" }>, called: number): Times {
  return { readAt: readAt ?? called, confirmedAt: confirmedAt ?? readAt ?? called };
}

/** The times of what was found at once. */
function asOf(at: number): Times {
  return { readAt: at, confirmedAt: at };
}

/** What is noted of a node. */
export function heldNode({ name, uid, machineId, bootId }: NodeIdentity, phase: DrainPhase): HeldNode {
  return { name, uid, ...(machineId !== undefined && { machineId }), ...(bootId !== undefined && { bootId }), phase };
}
