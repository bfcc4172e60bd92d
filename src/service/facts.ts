/**
 * Gathers for the policies what they need from outside: the time, the Nodes and
 * the health. It costs no calls until the policies ask for a grant. It knows no
 * rule.
 *
 * @module
 */

import type { FleetView, SeenNode } from "../keeper/fleet_view.ts";
import { type LabelSelector, parseLabelSelector } from "../kubernetes/label_selector.ts";
import type { Clock } from "../lock/clock.ts";
import { UnavailableError } from "../lock/errors.ts";
import type { NodeIdentity } from "../lock/node_keeper.ts";
import type { PolicyQuestion } from "../lock/policy.ts";
import type { Monitors } from "../policies/monitors.ts";
import { GroupNodes } from "../policies/nodes.ts";
import type { GroupOptions } from "../policies/options.ts";
import type { FactsSource, MonitorFailures } from "../policies/policies.ts";
import type { Gathered, HealthFacts, NodeFacts } from "../policies/snapshot.ts";
import { KeptAnswers } from "./kept_answers.ts";

/** The drain's time. */
export interface FactsTime {
  /** Milliseconds since the epoch. */
  now(): number;
  /** Whether it was heard within the last minute. */
  isFresh(): boolean;
  /** Hears it anew. Does not throw. */
  hear(): Promise<void>;
}

/** What {@link Facts} works with. */
export interface FactsOptions {
  /** The time that all policies go by. */
  readonly time: FactsTime;
  /** The Nodes and their pods; undefined where nodes are not drained. */
  readonly fleet?: FleetView;
  /** Asks Prometheus and Alertmanager. */
  readonly monitors: Monitors;
  /** Measures time that passes. */
  readonly clock: Pick<Clock, "monotonic" | "sleep">;
  /** Is told of each question to the API server that failed, for the log. Hosts are told less. */
  readonly onFailure?: (what: string, error: unknown) => void;
}

const NOT_ASKED = { kind: "not_asked" } as const;
const NOTHING = { kind: "known", value: [] } as const;
const NO_FLEET = { kind: "failed", reason: "nobody follows the nodes, because draining is off" } as const;
const BEHIND = { kind: "failed", reason: "the watch of the nodes is behind" } as const;

/** The nodes of a group as they were counted last. */
interface Counted {
  readonly edition: number;
  readonly nodes: Gathered<GroupNodes>;
}

/** See the module. */
export class Facts implements FactsSource {
  readonly #options: FactsOptions;
  readonly #budgets: KeptAnswers<readonly string[]>;
  readonly #pods: KeptAnswers<readonly string[]>;
  /** The nodes of each group. Options that are no longer in force take theirs with them. */
  readonly #counted = new WeakMap<GroupOptions, Counted>();
  readonly #selectors = new WeakMap<GroupOptions, LabelSelector>();
  /** The asking nodes that were read for a question because the watch is behind. */
  readonly #read = new WeakMap<PolicyQuestion, Gathered<readonly NodeFacts[]>>();

  /** Gathers nothing yet. */
  constructor(options: FactsOptions) {
    this.#options = options;
    this.#budgets = new KeptAnswers(options);
    this.#pods = new KeptAnswers(options);
  }

  /** See {@link FactsSource.now}. */
  now(): number {
    return this.#options.time.now();
  }

  /** See {@link FactsSource.isTimeFresh}. */
  isTimeFresh(): boolean {
    return this.#options.time.isFresh();
  }

  /** See {@link FactsSource.hearTime}. */
  hearTime(): Promise<void> {
    return this.#options.time.hear();
  }

  /** See {@link FactsSource.nodes}. */
  nodes(options: GroupOptions): Gathered<GroupNodes> {
    const { fleet } = this.#options;
    if (!countsNodes(options)) return NOT_ASKED;
    if (fleet === undefined) return NO_FLEET;
    return fleet.isSynced ? this.#count(fleet, options) : BEHIND;
  }

  /** See {@link FactsSource.asking}. */
  asking(question: PolicyQuestion): Gathered<readonly NodeFacts[]> {
    const { fleet } = this.#options;
    if (fleet === undefined) return NOTHING;
    if (!fleet.isSynced) return this.#read.get(question) ?? NOT_ASKED;
    return { kind: "known", value: askingNodes(fleet, question) };
  }

  /** See {@link FactsSource.knownHealth}. */
  knownHealth({ health }: GroupOptions, question: PolicyQuestion): HealthFacts {
    const { fleet, monitors } = this.#options;
    const node = question.node ?? (fleet?.isSynced ? soleOf(fleet.candidates(question.id)) : undefined);
    return {
      prometheus: monitors.known(health.prometheus),
      alertmanager: monitors.known(health.alertmanager),
      blockingPods: node && health.blockingPods !== undefined
        ? this.#pods.known(podsKey(node, health.blockingPods))
        : NOT_ASKED,
      budgets: node && health.budgets !== undefined ? this.#budgets.known(node.uid) : NOT_ASKED,
    };
  }

  /** See {@link FactsSource.monitorFailures}. */
  monitorFailures({ health }: GroupOptions): MonitorFailures {
    const { monitors } = this.#options;
    return {
      prometheus: monitors.failureOf(health.prometheus),
      alertmanager: monitors.failureOf(health.alertmanager),
    };
  }

  /** See {@link FactsSource.askHealth}. It also reads the asking node where the watch of the nodes is behind. */
  async askHealth({ health }: GroupOptions, question: PolicyQuestion): Promise<HealthFacts> {
    const { monitors } = this.#options;
    const [prometheus, alertmanager, blockingPods, budgets] = await Promise.all([
      monitors.ask(health.prometheus),
      monitors.ask(health.alertmanager),
      health.blockingPods === undefined ? NOT_ASKED : this.#askPods(health.blockingPods, question.node),
      health.budgets === undefined ? NOT_ASKED : this.#askBudgets(question.node),
      this.#readAsking(question),
    ]);
    return { prometheus, alertmanager, blockingPods, budgets };
  }

  #askPods(text: string, node: NodeIdentity | undefined): Promise<Gathered<readonly string[]>> | typeof NO_FLEET {
    const { fleet } = this.#options;
    if (fleet === undefined) return NO_FLEET;
    // A host without a Node has no pods.
    if (node === undefined) return Promise.resolve(NOTHING);
    const question = (signal: AbortSignal) => fleet.podsOn(node, parseLabelSelector(text), signal);
    return this.#pods.ask(podsKey(node, text), question, this.#describing("the pods of the node"));
  }

  #askBudgets(node: NodeIdentity | undefined): Promise<Gathered<readonly string[]>> | typeof NO_FLEET {
    const { fleet } = this.#options;
    if (fleet === undefined) return NO_FLEET;
    if (node === undefined) return Promise.resolve(NOTHING);
    return this.#budgets.ask(node.uid, (signal) => fleet.budgetRefusals(node, signal), this.#describing("the budgets"));
  }

  /** A watch that is behind may not have seen that somebody put the node on hold. */
  async #readAsking(question: PolicyQuestion): Promise<void> {
    const { fleet, clock } = this.#options;
    const { node } = question;
    if (fleet === undefined || fleet.isSynced || node === undefined) return;
    const reads = new KeptAnswers<SeenNode | undefined>({ clock });
    const read = await reads.ask(node.uid, (signal) => fleet.read(node, signal), this.#describing("the node"));
    const value = read.kind === "known" && read.value !== undefined ? [read.value] : [];
    this.#read.set(question, read.kind === "known" ? { kind: "known", value } : read);
  }

  /** A poll counts only where a node has changed since the last one that did. */
  #count(fleet: FleetView, options: GroupOptions): Gathered<GroupNodes> {
    const { edition } = fleet;
    let counted = this.#counted.get(options);
    if (counted?.edition !== edition) {
      const { count, suspects } = fleet.count(this.#selectorOf(options));
      counted = { edition, nodes: { kind: "known", value: new GroupNodes(count, suspects) } };
      this.#counted.set(options, counted);
    }
    return counted.nodes;
  }

  /** Makes what tells hosts why a question failed. The details are for the log: they may name addresses. */
  #describing(what: string): (error: unknown) => string {
    return (error) => {
      this.#options.onFailure?.(what, error);
      const known = error instanceof UnavailableError ? error.publicMessage : undefined;
      return known ?? "the API server does not answer";
    };
  }

  #selectorOf(options: GroupOptions): LabelSelector | undefined {
    if (options.nodes === undefined) return undefined;
    let selector = this.#selectors.get(options);
    if (selector === undefined) this.#selectors.set(options, selector = parseLabelSelector(options.nodes));
    return selector;
  }
}

/** Whether a rule of the group counts nodes. */
function countsNodes({ slots, unavailable, health }: GroupOptions): boolean {
  return slots.kind === "percent" || unavailable === "count" || health.notReady !== undefined;
}

function askingNodes(fleet: FleetView, { id, node }: PolicyQuestion): SeenNode[] {
  if (node === undefined) return fleet.candidates(id);
  const seen = fleet.find(node);
  return seen === undefined ? [] : [seen];
}

function soleOf(nodes: readonly SeenNode[]): SeenNode | undefined {
  return nodes.length === 1 ? nodes[0] : undefined;
}

function podsKey({ uid }: Pick<NodeIdentity, "uid">, selector: string): string {
  return `${uid} ${selector}`;
}
