import { deepEqual, match } from "node:assert/strict";
import { History, leaseFact, nodeFact, podFact } from "./history.ts";
import { judgeYes, type Yes } from "./judge.ts";

const TOLERATION = { key: "node.kubernetes.io/unschedulable", operator: "Exists", effect: "NoSchedule" };

/** A cluster whose every change has the next revision. */
class Cluster {
  readonly history = new History();
  revision = 0;

  lease(holder: string, note?: string, group = "g", since?: string): this {
    const holders = JSON.stringify([{ id: holder, ...(note && { node: note }), since }]);
    const metadata = { name: `fleetlock-${group}`, annotations: { "fleetlock.internal/holders": holders } };
    this.history.leases.add(group, this.#version(leaseFact({ metadata, spec: { holderIdentity: holder } })));
    return this;
  }

  node(change: { unschedulable?: boolean; machineID?: string; ready?: string; name?: string; id?: string } = {}): this {
    const { unschedulable = true, machineID = "m", ready = "True", name = "n", id } = change;
    const annotations = id === undefined ? {} : { "fleetlock.internal/id": id };
    const status = { nodeInfo: { machineID, bootID: "b" }, conditions: [{ type: "Ready", status: ready }] };
    const fact = nodeFact({ metadata: { uid: "u", annotations }, spec: { unschedulable }, status });
    this.history.nodes.add(name, this.#version(fact));
    return this;
  }

  noNode(): this {
    this.history.nodes.add("n", this.#version(undefined));
    return this;
  }

  pod(
    name: string,
    change: { metadata?: object; spec?: object; status?: object; owner?: string; kind?: string } = {},
  ): this {
    const { kind = "ReplicaSet", owner } = change;
    const ownerReferences = owner === undefined ? [] : [{ kind, uid: owner, controller: true }];
    const metadata = { name, namespace: "default", uid: name, ownerReferences, ...change.metadata };
    const fact = podFact({ metadata, spec: { nodeName: "n", ...change.spec }, status: change.status });
    this.history.addPod(name, this.#version(fact));
    return this;
  }

  noPod(name: string): this {
    this.history.addPod(name, this.#version(undefined));
    return this;
  }

  /** Judges a yes whose proof may lie at the last revisions. */
  judge(revisions = 1, change: Partial<Yes> = {}): string[] {
    const [from, to] = [this.revision - revisions + 1, this.revision];
    return judgeYes(this.history, { group: "g", id: "a", node: "n", machineId: "m", from, to, at: 60_000, ...change });
  }

  #version<T>(fact: T) {
    return { revision: ++this.revision, at: 0, fact };
  }
}

/** What is seen of a pod that must have gone. */
const LEFT = ["the pod p is left on n"];
const AT_ZERO = { deletionTimestamp: new Date(0).toISOString() };

const cases: [name: string, cluster: Cluster, wrong: string[]][] = [
  ["a cordoned, empty node of a holder", new Cluster().lease("a", "n").node(), []],
  ["a pod is left", new Cluster().pod("p").lease("a", "n").node(), LEFT],
  ["a pod came after the grant", new Cluster().lease("a", "n").node().pod("p"), LEFT],
  [
    "a pod that tolerates the cordon came after the grant",
    new Cluster().lease("a", "n").node().pod("p", { spec: { tolerations: [TOLERATION] } }),
    [],
  ],
  [
    "a pod that tolerates the cordon was there at the grant",
    new Cluster().pod("p", { spec: { tolerations: [TOLERATION] } }).lease("a", "n").node(),
    LEFT,
  ],
  [
    "a pod that tolerates something else came after the grant",
    new Cluster().lease("a", "n").node().pod("p", { spec: { tolerations: [{ key: "x", operator: "Exists" }] } }),
    LEFT,
  ],
  [
    "a pod tolerates only being started",
    new Cluster().lease("a", "n").node().pod("p", {
      spec: { tolerations: [{ operator: "Exists", effect: "NoExecute" }] },
    }),
    LEFT,
  ],
  ["a DaemonSet's pod", new Cluster().pod("p", { owner: "d", kind: "DaemonSet" }).lease("a", "n").node(), []],
  [
    "a mirror pod",
    new Cluster().pod("p", { metadata: { annotations: { "kubernetes.io/config.mirror": "x" } } }).lease("a", "n")
      .node(),
    [],
  ],
  ["a finished pod", new Cluster().pod("p", { status: { phase: "Succeeded" } }).lease("a", "n").node(), []],
  [
    "a finished pod that is being deleted",
    new Cluster().pod("p", { status: { phase: "Failed" }, metadata: AT_ZERO }).lease("a", "n").node(),
    LEFT,
  ],
  [
    "a pod past its grace under a dead kubelet",
    new Cluster().pod("p", { metadata: AT_ZERO }).lease("a", "n").node({ ready: "Unknown" }),
    [],
  ],
  ["a pod past its grace under a kubelet", new Cluster().pod("p", { metadata: AT_ZERO }).lease("a", "n").node(), LEFT],
  ["a pod on a node that has gone", new Cluster().pod("p").node().lease("a", "n").noNode(), LEFT],
  ["a node that has gone with its pods", new Cluster().node().lease("a", "n").noNode(), []],
  ["another host holds", new Cluster().lease("b", "n").node(), ["the Lease does not name the host as a holder"]],
  ["not cordoned", new Cluster().lease("a", "n").node({ unschedulable: false }), ["the node n is not cordoned"]],
  ["no node had the id, and none was noted", new Cluster().pod("p").lease("a").node({ machineID: "x" }), []],
  ["the id was lost after a node was noted", new Cluster().pod("p").lease("a", "n").node({ machineID: "x" }), LEFT],
  [
    "the note was lost with the id",
    new Cluster().pod("p").lease("a", "n").lease("a").node({ machineID: "x" }),
    LEFT,
  ],
  [
    "an annotation names the id",
    new Cluster().lease("a").node({ machineID: "", id: "a", unschedulable: false }),
    ["the node n is not cordoned"],
  ],
];

for (const [name, cluster, wrong] of cases) {
  Deno.test(`a yes is judged: ${name}`, () => deepEqual(cluster.judge(), wrong));
}

Deno.test("a pod that its controller puts back may stay after three evictions in the hold, not after two", () => {
  const cluster = new Cluster().lease("a", "n").node();
  for (const name of ["p1", "p2"]) cluster.pod(name, { owner: "r" }).noPod(name);
  deepEqual(cluster.pod("p", { owner: "r" }).judge(), LEFT);
  cluster.noPod("p").pod("q", { owner: "r" });
  deepEqual(cluster.judge(), []);
  // A later hold begins anew.
  cluster.lease("b").lease("a", "n");
  deepEqual(cluster.judge(), ["the pod q is left on n"]);
});

Deno.test("what an administrator does after the last look is not held against a yes", () => {
  const cluster = new Cluster().pod("p").lease("a", "n").node().noPod("p").node({ unschedulable: false });
  deepEqual(cluster.judge(2), []);
  match(cluster.judge(1).join(), /not cordoned/);
});

Deno.test("a node that was empty and cordoned at different times proves nothing", () => {
  const cluster = new Cluster().lease("a", "n").node().node({ unschedulable: false }).pod("p").node();
  deepEqual(cluster.judge(3), LEFT);
});

const GONE = "the Lease did not show the hold any more when the yes was given";

Deno.test("the hold of a yes is shown shortly before it, too: the very one", () => {
  const wrongOf = (cluster: Cluster, last: number) => cluster.judge(4, { heldFrom: cluster.revision - last + 1 });
  const freed = () => new Cluster().lease("a", "n").node().lease("b").lease("c");
  // The Lease shows it as of the first of the last revisions.
  deepEqual(wrongOf(freed(), 3), []);
  deepEqual(wrongOf(freed(), 2), ["the Lease does not name the host as a holder"]);
  const [once, again] = ["2030-01-01T00:00:00Z", "2030-01-01T00:00:09Z"];
  const granted = (since: string) => {
    return new Cluster().lease("a", "n", "g", once).node().lease("b").pod("p").lease("a", "n", "g", since);
  };
  // A backup brings it back.
  deepEqual(wrongOf(granted(once), 1), []);
  deepEqual(granted(again).judge(4, { heldFrom: 5, to: 2 }), [GONE]);
  deepEqual(wrongOf(granted(again), 1), LEFT);
});

Deno.test("a yes without a node needs a hold that notes none shortly before it", () => {
  const late = (cluster: Cluster) => cluster.judge(3, { heldFrom: cluster.revision });
  // The node may join after the search, which comes after the grant.
  deepEqual(late(new Cluster().lease("a").node({ unschedulable: false }).lease("a")), []);
  match(late(new Cluster().noNode().node({ unschedulable: false }).lease("a")).join(), /is not cordoned/);
  const noted = new Cluster().lease("a").noNode().noNode().lease("a", "n");
  deepEqual(noted.judge(3, { heldFrom: noted.revision, to: noted.revision }), []);
  const joined = new Cluster().lease("a").lease("a", "n").node({ unschedulable: false });
  match(joined.judge(3, { heldFrom: joined.revision }).join(), /is not cordoned/);
});

Deno.test("a node that was uncordoned for a while before the yes proves nothing", () => {
  const cluster = new Cluster().lease("a", "n").node().node({ unschedulable: false }).lease("a", "n");
  const wrongOf = (last: number) => cluster.judge(4, { heldFrom: cluster.revision - last + 1 });
  deepEqual(wrongOf(3), []);
  deepEqual(wrongOf(2), ["the node n is not cordoned"]);
});

Deno.test("past the time-out of a drain, an operator may waive the pods that are left, and nothing else", () => {
  const cluster = new Cluster().pod("p").lease("a", "n").node();
  deepEqual(cluster.judge(), LEFT);
  deepEqual(cluster.judge(1, { waivesPods: true }), []);
  cluster.node({ unschedulable: false });
  deepEqual(cluster.judge(1, { waivesPods: true }), ["the node n is not cordoned"]);
  cluster.node().lease("b", "n");
  deepEqual(cluster.judge(1, { waivesPods: true }), ["the Lease does not name the host as a holder"]);
});
