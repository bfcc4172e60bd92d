/**
 * The fault run with nodes: hosts that are drained by replicas whose clocks
 * disagree, on a real control plane, under faults and administrators. See
 * {@link Observer} for what it checks. At its end it must come to rest.
 *
 * @module
 */

import { zincatiId } from "../../../src/keeper/nodes/zincati_id.ts";
import { Random } from "../../../src/simulator/random.ts";
import { until } from "../../support/condition.ts";
import { ControlPlane } from "../../support/control_plane.ts";
import { awaitUntainted } from "../../support/workloads.ts";
import { Replica } from "../replica.ts";
import { makeNodeFaults, type Victims } from "./faults.ts";
import { Host } from "./host.ts";
import { Machine } from "./machine.ts";
import { Observer, type Violation } from "./observer.ts";
import { Workloads } from "./workloads.ts";

/** Options of {@link runNodeFaults}. */
export interface NodeRunOptions {
  /** How long to make faults, in milliseconds. */
  readonly durationMs: number;
  /** Determines the faults, hosts and their choices. */
  readonly seed: number;
  /** @default {12} */
  readonly nodes?: number;
  /** @default {3} */
  readonly groups?: number;
  /** More flags of a replica; they let a test run a program that is set up wrongly. */
  readonly flags?: (index: number) => readonly string[];
  /** The namespace of a replica's Leases, if it is not the common one. */
  readonly namespaceOf?: (index: number, common: string) => string;
  /** Ends the run at the first violation of this kind. */
  readonly until?: Violation["kind"];
  /** Kinds of faults, and of the pods of {@link PUT_BACK}, to leave out. */
  readonly without?: readonly string[];
  /** Acts besides the faults until the signal aborts. */
  readonly meanwhile?: (victims: Victims, signal: AbortSignal) => Promise<void>;
  /** Receives a line of progress every ten seconds. */
  readonly log?: (line: string) => void;
}

/** The results of a run. */
export interface NodeReport {
  readonly seed: number;
  readonly durationMs: number;
  /** The number of replies by endpoint and outcome. */
  readonly replies: Readonly<Record<string, number>>;
  /** The number of faults by kind. */
  readonly faults: Readonly<Record<string, number>>;
  readonly counts: Observer["counts"];
  /** Drains that one process began and another completed. */
  readonly resumed: number;
  /** Turns of all hosts. */
  readonly turns: number;
  /**
   * How long it took after the faults until every host had another turn, in milliseconds; undefined if one had none.
   */
  readonly allTurnsMs?: number;
  readonly violations: readonly Violation[];
}

/**
 * The clocks of the replicas: right, an hour fast, and nearly an hour slow (the API server's certificate is younger).
 */
const CLOCKS: readonly (string | undefined)[] = [undefined, "+1h", "-59m"];

/**
 * No drain is this old in a run, so nothing may time out. A replica that went by its own clock would believe it, and
 * say yes at once.
 */
const FLAGS = ["--drain-timeout=20m", "--drain-on-timeout=proceed", "--reply-wait=1500ms"];

/** How long after the faults every host must have had a turn, in milliseconds. */
const LIVENESS_MS = 150_000;

/** How long after the last turn no cordon and no holder may be left, in milliseconds. */
const REST_MS = 90_000;

/** Runs hosts and faults, and checks every promise. */
export async function runNodeFaults(options: NodeRunOptions): Promise<NodeReport> {
  const { seed, durationMs, without = [], log = () => {} } = options;
  const random = new Random(seed);
  await using cleanup = new AsyncDisposableStack();
  const plane = cleanup.use(await ControlPlane.start({ controllers: true, scheduler: true }));
  const namespace = await plane.createNamespace();
  const observer = cleanup.use(await Observer.start(plane, namespace));
  const end = new AbortController();
  const running: Promise<unknown>[] = [];
  const machines = createMachines(plane, observer, random, options.nodes ?? 12);
  const names = machines.map((machine) => machine.identity.name);
  const workloads = new Workloads(plane, observer.history, await plane.createNamespace(), names, without);
  await Promise.all(machines.map((machine) => machine.register()));
  await awaitUntainted(plane);
  running.push(...machines.map((machine) => machine.run(end.signal)));
  // Before the control plane goes: nobody may call one that has gone.
  cleanup.defer(async () => {
    end.abort();
    await Promise.allSettled(running);
  });
  await workloads.create();
  running.push(workloads.run(end.signal));
  const replicas = await startReplicas(plane, namespace, options, cleanup);
  const hosts = createHosts(machines, replicas, observer, random, options.groups ?? 3);
  running.push(...hosts.map((host) => host.run(end.signal)));

  const faults: Record<string, number> = {};
  const victims: Victims = { plane, namespace, hosts, workloads, observer, replicas };
  const faultsEnd = new AbortController();
  const failing = Promise.all([
    makeNodeFaults(victims, random, faultsEnd.signal, without, (kind) => faults[kind] = (faults[kind] ?? 0) + 1),
    options.meanwhile?.(victims, faultsEnd.signal),
  ]);
  const report = (faultsMs: number, allTurnsMs?: number): NodeReport => ({
    seed,
    durationMs: faultsMs,
    replies: sum(hosts),
    faults,
    counts: observer.counts,
    resumed: hosts.reduce((total, host) => total + host.resumed, 0),
    turns: hosts.reduce((total, host) => total + host.turns, 0),
    allTurnsMs,
    violations: observer.violations,
  });
  const passedMs = () => Math.round(performance.now() - began);
  const isOver = () => observer.violations.some(({ kind }) => kind === options.until);

  const began = performance.now();
  let nextLine = began;
  await until(() => {
    observer.check();
    if (performance.now() >= nextLine) {
      nextLine += 10_000;
      const { counts, turns, violations } = report(passedMs());
      log(
        `${Math.round(passedMs() / 1_000)} s: ${counts.yeses} yeses, ${turns} turns, ${violations.length} violations`,
      );
    }
    return isOver() || passedMs() >= durationMs;
  }, { timeoutMs: durationMs + 60_000, what: "the run is over" });
  const faultsMs = passedMs();
  faultsEnd.abort();
  await failing;
  log("the faults are over");
  const allTurnsMs = isOver() ? undefined : await comeToRest(victims);
  await observer.settle();
  observer.check();
  if (observer.violations.length > 0 && options.until === undefined) {
    for (const replica of replicas) log(`${replica.name}: ${(await replica.log()).slice(-3_000)}`);
  }
  return report(faultsMs, allTurnsMs);
}

/** The ids of most hosts derive from the machine-id; an annotation names every fourth. */
function createMachines(plane: ControlPlane, observer: Observer, random: Random, count: number): Machine[] {
  return Array.from({ length: count }, (_, index) => {
    const machineId = random.hex(32);
    const isNamed = index % 4 === 3;
    const id = isNamed ? `host-${random.hex(8)}` : zincatiId(machineId)!;
    const name = `node-${String(index + 1).padStart(2, "0")}`;
    return new Machine(plane, observer.history, random.fork(), { name, machineId, id, isNamed });
  });
}

function createHosts(
  machines: readonly Machine[],
  replicas: readonly Replica[],
  observer: Observer,
  random: Random,
  groups: number,
): Host[] {
  const targets = replicas.map((replica) => ({
    name: replica.name,
    url: replica.url.href.replace(/\/$/, ""),
    starts: () => replica.launches,
  }));
  return machines.map((machine, index) =>
    new Host(machine, `group-${index % groups + 1}`, { targets, observer, random: random.fork() })
  );
}

async function startReplicas(
  plane: ControlPlane,
  namespace: string,
  { flags, namespaceOf }: NodeRunOptions,
  cleanup: AsyncDisposableStack,
): Promise<Replica[]> {
  return await Promise.all(CLOCKS.map(async (clock, index) => {
    const started = await Replica.start(plane, {
      name: `replica-${index + 1}${clock === undefined ? "" : ` (${clock})`}`,
      namespace: namespaceOf?.(index, namespace) ?? namespace,
      flags: [...FLAGS, ...flags?.(index) ?? []],
      clock,
    });
    return cleanup.use(started);
  }));
}

/**
 * Waits until every host has had another turn, then until nothing is left of any.
 *
 * @returns How long the turns took, in milliseconds; undefined if a host had none in time.
 */
async function comeToRest({ hosts, observer, plane, namespace }: Victims): Promise<number | undefined> {
  const before = new Map(hosts.map((host) => [host, host.turns]));
  const waiting = () => hosts.filter((host) => host.turns === before.get(host));
  const allTurnsMs = await within(LIVENESS_MS, () => waiting().length === 0);
  for (const { id, group, machine, lastReply } of waiting()) {
    const message = `${id} (${machine.identity.name}, ${group}) had no turn after the faults; last reply: ${lastReply}`;
    observer.violate("no turn", message, group, id, machine.identity.name);
  }
  for (const host of hosts) host.isActive = false;
  let left: string[] = [];
  const isAtRest = async () => {
    left = [];
    for (const { metadata, spec } of (await plane.request("GET", "/api/v1/nodes")).items) {
      const owner = metadata.annotations?.["fleetlock.internal/cordoned-for"];
      if (spec.unschedulable || owner !== undefined) left.push(`${metadata.name} is cordoned for ${owner ?? "nobody"}`);
    }
    const leases = `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`;
    for (const { metadata, spec } of (await plane.request("GET", leases)).items) {
      if (spec.holderIdentity) left.push(`${metadata.name} is held by ${spec.holderIdentity}`);
    }
    return left.length === 0;
  };
  // After a violation of liveness, what is left is its consequence.
  if (allTurnsMs !== undefined) {
    const restMs = await within(REST_MS, isAtRest);
    if (restMs === undefined) observer.violate("not at rest", left.join("; "));
  }
  return allTurnsMs;
}

/**
 * Waits until a condition is true, but not longer than a time of the machine's clock, however slow the machine is.
 *
 * @returns How long it took, in milliseconds; undefined if it did not become true in time.
 */
async function within(ms: number, condition: () => boolean | Promise<boolean>): Promise<number | undefined> {
  const began = performance.now();
  for (;;) {
    const isLate = performance.now() - began >= ms;
    if (await condition()) return Math.round(performance.now() - began);
    if (isLate) return undefined;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

function sum(hosts: readonly Host[]): Record<string, number> {
  const replies: Record<string, number> = {};
  for (const host of hosts) {
    for (const [outcome, count] of host.replies) replies[outcome] = (replies[outcome] ?? 0) + count;
  }
  return Object.fromEntries(Object.entries(replies).sort(([a], [b]) => a < b ? -1 : 1));
}

/** Formats a report as text, the verdict last. */
export function formatNodeReport(report: NodeReport): string {
  const { counts, violations } = report;
  const table = (rows: Readonly<Record<string, number>>) =>
    Object.entries(rows).map(([name, count]) => `  ${String(count).padStart(9)}  ${name}`);
  const faults = Object.values(report.faults).reduce((total, count) => total + count, 0);
  const kinds = [...new Set(violations.map(({ kind }) => kind))];
  return [
    `nodes: seed ${report.seed}, faults for ${(report.durationMs / 1_000).toFixed(0)} s`,
    "replies:",
    ...table(report.replies),
    `faults: ${faults}`,
    ...table(report.faults),
    ...kinds.flatMap((kind) => {
      const [first, ...more] = violations.filter((each) => each.kind === kind);
      return [
        `${kind}: ${first!.message}`,
        ...first!.timeline.slice(-60).map((line) => `    ${line}`),
        ...more.slice(0, 5).map((each) => `${kind}: ${each.message}`),
      ];
    }),
    `${counts.yeses} yeses, ${counts.drains} drains (${report.resumed} completed by another process), ` +
    `${counts.releases} releases, ${report.turns} turns; ` +
    (report.allTurnsMs === undefined
      ? "not every host had another turn after the faults"
      : `every host had another turn within ${(report.allTurnsMs / 1_000).toFixed(1)} s after the faults`),
    violations.length === 0
      ? "verdict: every promise held"
      : `verdict: ${violations.length} violations (${kinds.join(", ")})`,
  ].join("\n");
}
