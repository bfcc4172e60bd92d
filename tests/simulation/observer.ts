/**
 * Watches a run from outside the program, and finds what breaks a promise. It sees every change of the store, every
 * call of a replica and every reply to a host at the moment it happens, and uses none of the program's own code.
 *
 * What a yes promises is judged by `tests/chaos/nodes/judge.ts`, at some moment between the request and its yes.
 *
 * @module
 */

import type { Operation } from "../../src/simulator/history.ts";
import { History, leaseFact, nodeFact, podFact } from "../chaos/nodes/history.ts";
import type { Scheduler } from "./engine/scheduler.ts";
import type { Timeline } from "./timeline.ts";
import type { Machine } from "./world/machine.ts";
import type { Answered, Replica } from "./world/replica.ts";
import {
  changesPause,
  isYield,
  mayHaveHadYes,
  notedSlots,
  notedUid,
  notesDeferral,
  recordOf,
  wrongGrant,
} from "./group_check.ts";
import { hadNoNode, wrongGoneRelease } from "./gone_nodes.ts";
import { type Grant, Grants } from "./grants.ts";
import type { Stored } from "./world/objects.ts";
import type { Change } from "./world/store.ts";
import {
  type Asked,
  CLOCK_MS,
  EARLY_MS,
  HOLD_MS,
  notedName,
  PROOF_MS,
  proofMomentsOf,
  situationsOf,
  wrongWith,
} from "./yes_check.ts";

/** A broken promise. */
export interface Violation {
  readonly kind:
    | "exclusion"
    | "unproven yes"
    | "early release"
    | "wrong release"
    | "wrong grant"
    | "wrong yield"
    | "cordon lifted"
    | "eviction after uncordon"
    | "too many evictions"
    | "deletion"
    | "storm"
    | "stale read"
    | "not at rest"
    | "left over"
    | "fault"
    | "history"
    | "no turn";
  readonly message: string;
  /** When, in milliseconds since the epoch. */
  readonly at: number;
  /** The names that it is about. */
  readonly about: readonly string[];
}

/** A host from its yes to its release. */
export interface Turn {
  readonly group: string;
  readonly id: string;
  readonly machine: Machine;
  readonly yesAt: number;
  /** How many slots the group had by the grant. */
  slots: number;
  /** When it first reported after the yes; undefined before. */
  reportedAt?: number;
  /** The moment at which its hold began, where the locks are seen. */
  hold?: number;
  /** How many of its reports may have freed its slot: the service has got them, and has not refused them. */
  reports: number;
}

/** See the module. */
export class Observer {
  readonly violations: Violation[] = [];
  readonly history: History = new History();
  /** What the hosts saw, for the checker of histories. */
  readonly operations: Operation[] = [];
  /** The nodes that an administrator has cordoned. */
  readonly adminCordons: Set<string> = new Set();
  /** Who writes to the store now: a replica's name; undefined for anybody else. */
  writer: () => string | undefined = () => undefined;
  /** How many slots each group has, where the locks are not seen. */
  slots = 1;
  /** The most slots that a replica gives each group now. */
  mostSlots: () => number = () => this.slots;
  /** Whether the locks are Leases, so that it sees what a yes rests on. */
  seesLocks = true;
  /** Until when a hold's drain may take, in milliseconds, where the operator lets the reboot go on after it. */
  proceedsAfterMs = Infinity;
  /** How long a reply waits for a host whose Node does not exist, in milliseconds. */
  replyWaitMs = 240_000;
  /** Whether the program frees holds whose Nodes are gone. */
  freesGone = false;
  /** Whether the store went back to a backup. */
  wasRestored = false;
  /** The most slots that a grant has noted. */
  mostNoted = 0;
  /** When that was last, in milliseconds since the epoch. */
  restoredAt = -Infinity;
  readonly #scheduler: Scheduler;
  readonly #timeline: Timeline;
  readonly #turns = new Map<string, Turn>();
  /** The machines of the clients that have asked, by their ids. */
  readonly #machines = new Map<string, Machine>();
  readonly #freed: { group: string; id: string; at: number }[] = [];
  /** Since which moment a client asks for a slot, by its id. */
  readonly #asking = new Map<string, number>();
  /** The machines of the hosts that have crashed and not asked since, by their ids. */
  readonly #crashed = new Map<string, Machine>();
  readonly #grants: Grants = new Grants(this.history);
  /**
   * For how many seconds who gave a client its last yes had tried to drain its Node, by its id, where that is too
   * short.
   */
  readonly #triedTooShort = new Map<string, number>();
  /** The Lease of each group. */
  readonly #leases = new Map<string, Stored>();
  /** Since which moment a group's Lease has been ending; absent while it is not. */
  readonly #ending = new Map<string, number>();
  /** Since which moment the Node of a name has been ending; absent while it is not. */
  readonly #endingNodes = new Map<string, number>();
  readonly #start: number;
  #moment = 0;

  /** Makes one that has seen nothing. */
  constructor(scheduler: Scheduler, timeline: Timeline) {
    this.#scheduler = scheduler;
    this.#timeline = timeline;
    this.#start = scheduler.now;
  }

  /** The moment of the last change. */
  get moment(): number {
    return this.#moment;
  }

  /** When a client's hold began; undefined where it has none. */
  grantOf(group: string, id: string): Grant | undefined {
    return this.#grants.of(group, id);
  }

  /** Whether a client has a hold that has never noted a Node. */
  isWithoutNode(group: string, id: string): boolean {
    const grant = this.grantOf(group, id);
    return grant !== undefined && this.history.leases.versions(group).every(({ revision, fact }) => {
      return revision < grant.moment || !fact?.noted.includes(id);
    });
  }

  /** The hosts of a group in their turns. */
  turnsOf(group: string): Turn[] {
    return [...this.#turns.values()].filter((turn) => turn.group === group);
  }

  /** Adds a line to the timeline. */
  note(about: string, text: string): void {
    this.#timeline.add(about, text);
  }

  /** Counts a situation. */
  count(situation: string): void {
    this.#timeline.count(situation);
  }

  /** Adds a violation. */
  violate(kind: Violation["kind"], message: string, ...names: string[]): void {
    // What is about a client is about its machine, too.
    const about = [...new Set(names.flatMap((name) => [name, this.#machines.get(name)?.name ?? name]))];
    this.violations.push({ kind, message, at: this.#scheduler.now, about });
    this.#timeline.add("VIOLATION", `${kind}: ${message}`);
  }

  /** Notes that an administrator frees a slot. */
  freeing(group: string, id: string): void {
    this.#freed.push({ group, id, at: this.#scheduler.now });
    this.#noteFreed(group, id);
  }

  /** Notes for the histories that a slot was freed without a request. */
  #noteFreed(group: string, client: string): void {
    const at = this.#ns(this.#scheduler.now);
    const times = { invoked: at, completed: at };
    this.operations.push({ client, group, operation: "steady-state", ...times, outcome: "released", kind: "" });
  }

  /** Notes for the histories that a slot was given without a request, after all that were freed at this time. */
  #noteGiven(group: string, client: string): void {
    const at = this.#ns(this.#scheduler.now) + 1;
    const times = { invoked: at, completed: at };
    this.operations.push({ client, group, operation: "pre-reboot", ...times, outcome: "granted", kind: "" });
  }

  /** Notes that the store goes back to a backup, with all that was written since. */
  restoring(holds: readonly { readonly group: string; readonly id: string }[]): void {
    this.wasRestored = true;
    // What the histories make of it shows in the changes that follow: a hold that the backup has, too, stays.
    for (const { group, id } of holds) this.#freed.push({ group, id, at: this.#scheduler.now });
    this.restoredAt = this.#scheduler.now;
    this.#asking.clear();
    // What the backup does not know of, the program cannot know.
    this.#grants.forgetYes();
  }

  /** Notes a request that a host is about to send. */
  asked(id: string, group: string, endpoint: "pre-reboot" | "steady-state", machine: Machine): Asked {
    this.#crashed.delete(id);
    if (endpoint === "steady-state") this.#asking.delete(id);
    else if (!this.#asking.has(id)) this.#asking.set(id, this.#moment);
    this.#machines.set(id, machine);
    const isReport = endpoint === "steady-state";
    // What has reached the process may be done, whether or not its client waits for it.
    const mayAct = () => {
      const turn = isReport && !asked.mayAct ? this.#turns.get(id) : undefined;
      asked.mayAct = true;
      if (turn !== undefined) turn.reports++;
    };
    const asked: Asked = {
      invokedAt: this.#scheduler.now,
      node: machine.name,
      ...(!machine.isNamed && { machineId: machine.machineId }),
      respondedMoment: 0,
      queued: () => {
        asked.isQueued = true;
        mayAct();
      },
      arrived: () => {
        asked.arrivedAt = this.#scheduler.now;
        mayAct();
      },
      responded: (isYes) => {
        asked.respondedAt = this.#scheduler.now;
        asked.respondedMoment = this.#moment;
        const grant = this.grantOf(group, id);
        if (isYes && endpoint === "pre-reboot" && grant !== undefined) grant.hadYes = true;
      },
    };
    return asked;
  }

  /** Notes what a host got. */
  replied(
    id: string,
    group: string,
    endpoint: "pre-reboot" | "steady-state",
    replica: Replica,
    asked: Asked,
    answer: Answered | undefined,
    kind: string,
  ): void {
    const text = answer === undefined ? kind : answer.text.trim().replace(/\s+/g, " ");
    this.#timeline.add(id, `${endpoint} at ${replica.name}: ${answer?.status ?? "no answer"} ${text}`);
    this.#timeline.count(`${endpoint}: ${answer === undefined ? "no answer" : answer.status < 300 ? "yes" : kind}`);
    if (kind === "internal_error") this.violate("fault", `${replica.name} answers internal_error`, id);
    const isDone = answer !== undefined && answer.status < 300;
    const isRefused = answer !== undefined && answer.status >= 400 && answer.status < 500;
    // The replica reads what is in the queue of its process when it goes on, after its client has given up.
    const isSent = asked.mayAct === true;
    const turn = isRefused && endpoint === "steady-state" ? this.#turns.get(id) : undefined;
    if (turn !== undefined && turn.reports > 0) turn.reports--;
    this.operations.push({
      client: id,
      group,
      operation: endpoint,
      invoked: this.#ns(asked.invokedAt),
      completed: answer === undefined && isSent ? null : this.#ns(this.#scheduler.now),
      outcome: isDone
        ? endpoint === "pre-reboot" ? "granted" : "released"
        : isRefused
        ? "refused"
        : answer === undefined && isSent
        ? "unknown"
        : "error",
      kind: isDone ? "" : answer === undefined && !isSent ? "unreachable" : kind,
    });
  }

  /** A host's turn begins: it has a yes. */
  begin(id: string, group: string, machine: Machine): Turn {
    return { group, id, machine, yesAt: this.#scheduler.now, slots: this.slots, reports: 0 };
  }

  /**
   * A process gives a yes. `triedS` is for how many seconds it has tried to drain the Node, where that is too short.
   */
  answering(id: string, triedS: number | undefined): void {
    if (triedS === undefined) this.#triedTooShort.delete(id);
    else this.#triedTooShort.set(id, triedS);
  }

  /** Takes a yes that has arrived. */
  yes(turn: Turn, asked: Asked): void {
    // A hold whose record an administrator has broken goes on under the slots of now.
    if (this.seesLocks) turn.slots = recordOf(this.#leases.get(turn.group), turn.id)?.slots ?? this.mostSlots();
    this.#checkExclusion(turn, asked);
    if (!this.#turns.has(turn.id)) this.#turns.set(turn.id, turn);
    if (!this.seesLocks) return;
    turn.hold = this.grantOf(turn.group, turn.id)?.moment;
    const respondedAt = asked.respondedAt!;
    const moments = proofMomentsOf(this.history, asked);
    const { heldFrom } = moments;
    const { group, id } = turn;
    const held = this.grantOf(group, id);
    const restoredGrant = this.wasRestored ? this.#grants.firstMomentOf(group, id) : undefined;
    const judge = (waivesPods: boolean) => {
      return wrongWith(this.history, asked, group, id, moments, {
        restoredGrant,
        waivesPods,
        isNoteLost: held?.isNoteLost,
      });
    };
    const isLate = held !== undefined && respondedAt - held.at >= this.proceedsAfterMs - EARLY_MS;
    const wrong = judge(isLate);
    if (isLate && wrong.length < judge(false).length) {
      this.count("yes: past the time-out, with pods left (proceed)");
      const triedS = this.#triedTooShort.get(id);
      if (triedS !== undefined) {
        wrong.push(`pods are left, and the replica has tried to drain the Node for ${triedS} s only`);
      }
    }
    for (const situation of situationsOf(this.history, asked)) this.count(situation);
    const ending = this.#ending.get(group);
    if (ending !== undefined && ending <= heldFrom) {
      this.violate("unproven yes", `${id} got a yes on a Lease that is being deleted`, id, group);
    }
    const nodeEnding = this.#endingNodes.get(asked.node);
    const isAboutNode = notedName(this.history, group, id, asked.respondedMoment) === asked.node;
    if (nodeEnding !== undefined && nodeEnding <= heldFrom && isAboutNode) {
      wrong.push(`the Node ${asked.node} is being deleted, and the next one would not be cordoned`);
    }
    if (wrong.length === 0) return;
    this.violate("unproven yes", `${id} on ${asked.node} got a yes: ${wrong.join("; ")}`, id, group, asked.node);
  }

  /** Notes that a host's turn is over: it was released, or refused before it rebooted. */
  over(id: string): void {
    this.#turns.delete(id);
  }

  /** Notes that the machine of a host has crashed, so that nobody waits for the answer to what it asked. */
  crashed(id: string, machine: Machine): void {
    this.#asking.delete(id);
    this.#crashed.set(id, machine);
  }

  /** Takes a change of the store. */
  changed({ type, kind, object, before }: Change): void {
    const version = { revision: ++this.#moment, at: this.#scheduler.now };
    this.history.arrived(version.at, version.revision);
    const isGone = type === "DELETED";
    switch (kind.plural) {
      case "nodes": {
        const fact = nodeFact(object);
        this.history.nodes.add(object.metadata.name, { ...version, ...(!isGone && { fact }) });
        const isEnding = !isGone && object.metadata.deletionTimestamp !== undefined;
        if (!isEnding) this.#endingNodes.delete(object.metadata.name);
        else if (!this.#endingNodes.has(object.metadata.name)) {
          this.#endingNodes.set(object.metadata.name, this.#moment);
        }
        this.#nodeChanged(type, object, before);
        break;
      }
      case "pods": {
        const fact = podFact(object);
        this.history.addPod(object.metadata.uid, { ...version, ...(!isGone && { fact }) });
        const node = object.spec.nodeName;
        if (node === undefined) break;
        const what = isGone
          ? "gone"
          : object.metadata.deletionTimestamp && !before?.metadata.deletionTimestamp
          ? "ending"
          : before?.spec.nodeName === undefined
          ? "bound"
          : undefined;
        if (what !== undefined) this.note(node, `pod ${object.metadata.name} ${what}`);
        break;
      }
      case "leases": {
        const group = object.metadata.name.replace(/^fleetlock-/, "");
        const fact = leaseFact(object);
        this.history.leases.add(group, { ...version, ...(!isGone && { fact }) });
        const isEnding = !isGone && object.metadata.deletionTimestamp !== undefined;
        if (!isEnding) this.#ending.delete(group);
        else if (!this.#ending.has(group)) this.#ending.set(group, this.#moment);
        const was = before === undefined ? [] : leaseFact(before).holders;
        const now = isGone ? [] : fact.holders;
        const by = this.writer() ?? "others";
        this.note(
          group,
          `Lease ${isGone ? "deleted" : `held by ${now.join(",") || "nobody"}`} (${by}) ${phaseOf(fact.record)}`,
        );
        const isRestored = this.restoredAt === this.#scheduler.now && this.writer() === undefined;
        if (isRestored) {
          this.count("Lease changed by a restore of etcd");
          for (const id of was) this.#noteFreed(group, id);
        }
        for (const id of now) {
          // A backup may bring back an earlier hold of a client that has one.
          if (was.includes(id) && !isRestored) {
            if (this.writer() === undefined) this.#grants.edited(object, group, id);
            continue;
          }
          if (this.writer() === undefined) this.#noteGiven(group, id);
          const wrong = this.writer() && wrongGrant(before, object, id, version.at);
          if (wrong) this.violate("wrong grant", wrong, id, group);
          // Who adds a holder by hand goes by the slots of now, and notes none.
          const slots = this.writer() === undefined ? now.length : notedSlots(object, id);
          this.mostNoted = Math.max(this.mostNoted, slots);
          this.#grants.began(object, group, id, version, isRestored);
        }
        if (this.writer() !== undefined && !isGone && changesPause(before, object)) {
          this.violate("wrong grant", `${this.writer()} changes the pause of ${group}`, group);
        }
        if (isGone) this.#leases.delete(group);
        else this.#leases.set(group, object);
        for (const id of was) if (!now.includes(id)) this.#released(group, id, before!, isGone ? undefined : object);
      }
    }
  }

  // deno-lint-ignore no-explicit-any
  #nodeChanged(type: Change["type"], node: any, before: any): void {
    const { name } = node.metadata;
    const isCordoned = node.spec?.unschedulable === true;
    const fact = nodeFact(node);
    this.note(
      name,
      `Node ${type === "DELETED" ? "deleted" : isCordoned ? "cordoned" : "schedulable"} for ` +
        `${fact.cordonedFor ?? "nobody"}, ready ${fact.ready}, boot ${fact.bootId.slice(0, 4)}, ` +
        `uid ${fact.uid.slice(0, 4)} (${this.writer() ?? "others"})`,
    );
    if (type === "DELETED") this.adminCordons.delete(name);
    const wasCordoned = before?.spec?.unschedulable === true;
    if (this.writer() !== undefined && wasCordoned && !isCordoned && this.adminCordons.has(name)) {
      this.violate("cordon lifted", `${this.writer()} lifted an administrator's cordon of ${name}`, name);
    }
  }

  /** A slot may be freed only by an administrator, or once its host has reported after its yes. */
  #released(group: string, id: string, before: Stored, after: Stored | undefined): void {
    const grant = this.#grants.ended(group, id);
    if (this.writer() === undefined) return;
    const turn = this.#turns.get(id);
    const asking = this.#asking.get(id);
    const isInTurn = turn !== undefined && turn.reportedAt === undefined &&
      !this.#wasFreed(group, id, Math.max(grant?.at ?? -Infinity, turn.yesAt - HOLD_MS));
    const machine = isInTurn ? turn.machine : this.#crashed.get(id);
    const mayYield = isYield(before, after, id, asking !== undefined || this.#crashed.has(id));
    const wrong = machine && wrongGoneRelease(this.history, before, machine, this.#scheduler.now);
    // A host that is drained again, since an administrator took its slot after its yes, may yield to a pause.
    const isGone = machine !== undefined && !notesDeferral(before, after, id) && !(wrong && mayYield);
    if (this.freesGone && isGone) {
      if (wrong) this.violate("early release", `${this.writer()} freed the slot of ${id}: ${wrong}`, id, group);
      this.count("release of a hold whose Node is gone");
      this.freeing(group, id);
      return;
    }
    if (mayYield) {
      this.count("yield");
      const isUsed = turn !== undefined && turn.reportedAt === undefined &&
        !this.#wasFreed(group, id, turn.yesAt - HOLD_MS);
      if (isUsed || grant?.hadYes || mayHaveHadYes(before, id)) {
        this.violate("wrong yield", `${this.writer()} takes the slot of ${id}, which has had its yes`, id, group);
      }
      this.#noteFreed(group, id);
      return;
    }
    const isNoted = leaseFact(before).noted.includes(id);
    if (asking !== undefined && grant !== undefined && grant.moment > asking) {
      this.violate("wrong release", `${this.writer()} freed a slot of ${group} that ${id} is asking for`, id, group);
    }
    if (turn === undefined || this.#wasFreed(group, id, turn.yesAt - HOLD_MS)) {
      // A hold that a backup brought back may be freed without a report: by a yield, or as its Node is gone.
      if (this.wasRestored && turn?.reportedAt === undefined) this.#noteFreed(group, id);
      return;
    }
    if (turn.reportedAt === undefined) {
      this.violate("early release", `the slot of ${id} was freed before it reported`, id, group);
    } else if (!turn.machine.isBack && isNoted && this.#isNodeSame(turn, notedUid(before, id))) {
      this.violate("early release", `the slot of ${id} was freed before its kubelet was back`, id, group);
    } else if (isNoted && hadNoNode(this.history, before, turn.machine, this.#scheduler.now)) {
      // A replica that has not heard of the report may free it by the operator's grace period.
      const isGone = this.freesGone && !wrongGoneRelease(this.history, before, turn.machine, this.#scheduler.now);
      if (!isGone && this.#scheduler.now - turn.reportedAt < this.replyWaitMs - CLOCK_MS) {
        this.violate("early release", `the slot of ${id} was freed while its Node did not exist`, id, group);
      }
      this.count("release of a host whose Node does not exist");
    }
  }

  /**
   * Whether the host's Node has been the same one since before the yes. A release need not wait for one that is gone,
   * nor where another one that shows the host's machine-id is ready: a host may come back under another name. Nor for a
   * Node that is neither the noted one nor shows the host's id: where the note was broken by hand, only the id tells.
   */
  #isNodeSame({ machine, yesAt }: Turn, noted: string | undefined): boolean {
    const { nodes } = this.history;
    for (const name of nodes.keys) {
      const { machineId, ready } = nodes.now(name) ?? {};
      if (name !== machine.name && machineId === machine.machineId && ready === "True") return false;
    }
    const versions = this.history.nodes.versions(machine.name).filter(({ at }) => at >= yesAt - PROOF_MS);
    const { uid, machineId, namedId } = this.history.nodes.now(machine.name) ?? {};
    const isHosts = uid === noted || machineId === machine.machineId || namedId === machine.id;
    return uid !== undefined && isHosts && versions.every((version) => version.fact?.uid === uid);
  }

  /** The hosts that reboot at a time are never more than the most slots that a grant among them notes. */
  #checkExclusion(turn: Turn, asked: Asked): void {
    const { group, id } = turn;
    const others = this.turnsOf(group).filter((other) => other.id !== id && this.#isInTurn(other));
    if (others.length > 0) this.count("several hosts reboot at a time");
    if (others.length < Math.max(turn.slots, ...others.map(({ slots }) => slots))) return;
    const names = others.map((other) => `${other.id} on ${other.machine.name}`).join(" and ");
    const about = [id, ...others.map((other) => other.id), group];
    this.violate("exclusion", `${id} on ${asked.node} has a yes while ${names} reboots`, ...about);
  }

  /** Whether a host that had its yes still has its slot: until the store shows that it is freed, or it may be. */
  #isInTurn({ group, id, yesAt, reportedAt, hold, reports }: Turn): boolean {
    if (this.#wasFreed(group, id, yesAt - HOLD_MS)) return false;
    if (reportedAt === undefined) return true;
    if (!this.seesLocks) return reports === 0;
    return hold !== undefined && this.grantOf(group, id)?.moment === hold;
  }

  #wasFreed(group: string, id: string, since: number): boolean {
    return this.#freed.some((each) => each.group === group && each.id === id && each.at >= since);
  }

  #ns(at: number): number {
    return Math.round((at - this.#start) * 1e6);
  }
}

function phaseOf(record: string): string {
  return [...record.matchAll(/"phase":"(\w+)"/g)].map(([, phase]) => phase).join(",");
}
