/**
 * Wires the account of the state: what this replica remembers, what it sees of
 * groups, nodes and drains, and what the policies say. It also watches for holds
 * that are stuck and for reboots without a slot.
 *
 * @module
 */

import type { Config } from "../config/config.ts";
import type { PolicyFile } from "../config/reload.ts";
import type { KubernetesNodeKeeper } from "../keeper/node_keeper.ts";
import { untilAborted } from "../lock/abort.ts";
import type { Clock } from "../lock/clock.ts";
import { type Group, parseGroup } from "../lock/identity.ts";
import type { LockObserver, LockService } from "../lock/lock_service.ts";
import type { HeldNode } from "../lock/semaphore.ts";
import type { Account } from "../status/account.ts";
import { NO_POLICIES } from "../policies/options.ts";
import { Accountant, type AccountSources } from "../status/accountant.ts";
import { type BootOf, StatusMemory } from "../status/memory.ts";
import { type HeldNodeFacts, thresholdsOf } from "../status/stage.ts";
import { StuckWatch } from "../status/stuck_watch.ts";
import { unaskedRules } from "../status/unasked.ts";
import { holdersOf, Witness, type WitnessedNode } from "../status/witness.ts";
import type { StuckHold } from "../telemetry/drain_metrics.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { Draining } from "./cluster.ts";

/** The time limit of a drain where nodes are not drained, which no hold then reaches. */
const NO_DRAIN_MS = 0;

/** What {@link Status.begin} needs. */
export interface StatusParts {
  /** Knows the groups. */
  readonly locks: LockService;
  /** Knows the nodes and the drains; undefined where nodes are not drained. */
  readonly draining?: Draining;
  /** Says what speaks against a grant. */
  readonly policy: AccountSources["policy"];
  /** The configuration file; undefined where there is none. */
  readonly file?: Pick<PolicyFile, "current" | "hash" | "errors">;
  /** Shows the stuck holds. */
  readonly metrics: Metrics;
  /** Ends what runs in the background. */
  readonly signal: AbortSignal;
}

/** See the module. It exists before the parts that tell it things, and can make accounts once it has begun. */
export class Status {
  /** What this replica remembers. */
  readonly memory: StatusMemory = new StatusMemory();
  readonly #config: Config;
  readonly #version: string;
  readonly #clock: Clock;
  readonly #started: string;
  #bootOf: BootOf = () => undefined;
  #cameBackSame: Draining["cameBackSame"] | undefined;
  #accountant: Accountant | undefined;
  #stuck: StuckWatch | undefined;
  #witness: Witness | undefined;

  /** Makes one that knows nothing yet. `clock` is that of the locks. */
  constructor(config: Config, { version, clock }: { readonly version: string; readonly clock: Clock }) {
    this.#config = config;
    this.#version = version;
    this.#clock = clock;
    this.#started = new Date(clock.now()).toISOString();
  }

  /** See {@link LockObserver.changed}. */
  readonly changed: NonNullable<LockObserver["changed"]> = (group, before, after) => {
    const turns = this.memory.changed(group, before, after, this.#clock.now(), this.#bootOf);
    for (const turn of turns) if (turn.isSameImage) this.#cameBackSame?.(group, turn);
    if (after.holders.length > 0) this.#stuck?.begin();
  };

  /** A node is new or has changed. */
  readonly nodeChanged = (node: WitnessedNode): void => this.#witness?.nodeChanged(node);

  /** Begins to make accounts. Must be called once. */
  begin({ locks, draining, policy, file, metrics, signal }: StatusParts): void {
    const accountant = this.#accountant = new Accountant({
      ...this.#sources(locks, draining?.keeper),
      policy,
      named: () => groupsOf(file),
      unasked: (group) => {
        const { groups, defaults } = file?.current ?? NO_POLICIES;
        return unaskedRules(groups.get(group) ?? defaults, this.#config.drain);
      },
      thresholds: (group) =>
        thresholdsOf(
          (file?.current ?? NO_POLICIES).stuck,
          policy.drainOf(group).timeoutMs ?? this.#config.drain?.timeoutMs ?? NO_DRAIN_MS,
        ),
      ...configOf(file),
    });
    metrics.collectWaiting((stored) => accountant.waiting(stored));
    if (draining === undefined) return;
    const { stuck, rebootedUnheld: rebooted, keeper } = draining;
    this.#bootOf = (node) => nodeOf(node, keeper.view);
    this.#cameBackSame = draining.cameBackSame;
    metrics.collectHolds(() => [...accountant.holds(), ...this.#rolledBack()]);
    this.#stuck = new StuckWatch({ accountant, stuck, clock: this.#clock, signal });
    this.#witness = new Witness({
      holders: () => holdersOf(locks.knownGroups),
      turns: () => this.memory.allTurns(),
      now: () => this.#clock.now(),
      isInStep: () => locks.isInStep,
      rebooted,
    });
  }

  /** Makes the account of this moment. */
  account(): Account {
    return this.#accountant!.account();
  }

  /** Waits until the signal has aborted and nothing runs in the background. */
  async ended(signal: AbortSignal): Promise<void> {
    await untilAborted(signal);
    await this.#stuck?.ended();
  }

  /** The hosts that came back with the image that they had before, in the form of stuck holds. */
  *#rolledBack(): Generator<StuckHold> {
    for (const { group } of this.memory.rolledBack(this.#bootOf)) {
      yield { group, holder: { stage: "rolled-back", isStuck: true } };
    }
  }

  #sources(
    locks: LockService,
    keeper: KubernetesNodeKeeper | undefined,
  ): Omit<AccountSources, "policy" | "thresholds" | "unasked" | "named"> {
    const { store, kubernetes } = this.#config;
    const now = () => this.#clock.now();
    return {
      replica: {
        replica: kubernetes.podName ?? "local",
        program: this.#version,
        store: store.kind,
        started: this.#started,
      },
      now,
      monotonic: () => this.#clock.monotonic(),
      seenForMs: (group, holder) => locks.seenForMs(group, holder),
      groups: () => locks.knownGroups,
      isInStep: () => locks.isInStep,
      releaseOf: (group, holder) => locks.plannedRelease(group, holder),
      memory: this.memory,
      ...(keeper && {
        nodes: {
          get isSynced() {
            return keeper.view.isSynced;
          },
          factsOf: (node) => factsOf(node, keeper.view),
          nameOf: (id) => {
            const nodes = keeper.view.peekById(id);
            return nodes.length === 1 ? nodes[0]!.name : undefined;
          },
          drainOf: (group, holder) => keeper.drainOf(group, holder),
        },
      }),
    };
  }
}

/** The groups that the file in force names. */
function groupsOf(file: StatusParts["file"]): Group[] {
  return [...(file?.current ?? NO_POLICIES).groups.keys()].flatMap((name) => parseGroup(name) ?? []);
}

/** What the account says of the configuration file. */
function configOf(file: StatusParts["file"]): Pick<AccountSources, "config"> {
  return file === undefined ? {} : {
    config: () => ({ hash: file.hash, ...(file.errors.length > 0 && { error: file.errors.join("\n") }) }),
  };
}

/** What the watch shows of a noted node. */
function factsOf(noted: HeldNode, view: KubernetesNodeKeeper["view"]): HeldNodeFacts {
  const seen = nodeOf(noted, view);
  return seen === undefined ? { kind: "gone" } : { kind: "seen", isReady: seen.ready === "True", bootId: seen.bootId };
}

/** The node that the watch shows for a noted one. A later Node of the same name and machine is the same host's. */
function nodeOf(
  noted: HeldNode,
  view: KubernetesNodeKeeper["view"],
): ReturnType<KubernetesNodeKeeper["view"]["peek"]> {
  const seen = view.peek(noted.name);
  if (seen === undefined) return undefined;
  const isSame = seen.uid === noted.uid || (seen.machineId !== undefined && seen.machineId === noted.machineId);
  return isSame ? seen : undefined;
}
