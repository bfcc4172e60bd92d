import { deepEqual, equal, ok } from "node:assert/strict";
import { CORDON_ANNOTATION } from "../../../src/keeper/nodes/cordon.ts";
import {
  countsAlike,
  ID_ANNOTATION,
  identityOf,
  isInStep,
  isNewer,
  type NodeView,
  viewNode,
} from "../../../src/keeper/nodes/node.ts";

const MACHINE = "1c09ca98649c4c7abc779cd04c96812e";
const ZINCATI = "978a225b3d7b40e9acd7ce9b62f68444";

/** A node with the given machine-id and annotation. */
function ids(machineID: string, named?: string): readonly string[] {
  const nodeInfo = { machineID } as NonNullable<NonNullable<Parameters<typeof viewNode>[0]["status"]>["nodeInfo"]>;
  const annotations = named === undefined ? undefined : { [ID_ANNOTATION]: named };
  return viewNode({ metadata: { name: "a", annotations }, status: { nodeInfo } }).ids;
}

for (
  const [what, found, expected] of [
    ["its machine-id", ids(MACHINE), [ZINCATI, MACHINE]],
    ["its machine-id as a UUID", ids("1C09CA98-649c-4c7a-bc77-9cd04c96812e"), [ZINCATI, MACHINE]],
    ["a malformed machine-id", ids("web-1"), ["web-1"]],
    ["a machine-id with space around it", ids(" web-1 "), ["web-1"]],
    ["its annotation", ids("", "custom"), ["custom"]],
    ["all of them", ids(MACHINE, "custom"), [ZINCATI, MACHINE, "custom"]],
    ["none of them", ids(""), []],
  ] as const
) {
  Deno.test(`a node matches the ids of ${what}`, () => deepEqual(found, expected));
}

Deno.test("the id of a node whose machine-id did not change is taken from an earlier view, and derived otherwise", () => {
  const node = (machineID: string | undefined) => ({ metadata: { name: "a" }, status: { nodeInfo: { machineID } } });
  const view = (machineID: string | undefined, known?: ReturnType<typeof viewNode>) =>
    viewNode(node(machineID) as Parameters<typeof viewNode>[0], known);
  const known = { ...view(MACHINE), derivedId: "taken" };
  deepEqual(view(MACHINE, known).ids, ["taken", MACHINE]);
  const other = "ad432f2cb0c28bbcd1f87a20199237f9";
  for (const machineID of [other, "web-1", "", undefined]) {
    deepEqual(view(machineID, known), view(machineID));
    deepEqual(view(machineID, view(machineID)), view(machineID));
  }
});

const annotation = { "f:metadata": { "f:annotations": { [`f:${CORDON_ANNOTATION}`]: {} } } };
const cordon = { "f:spec": { "f:unschedulable": {} } };

for (
  const [what, managedFields, expected] of [
    ["nobody, as far as the API server has noted", undefined, false],
    ["us, with the annotation", [{ manager: "fleetlock", fieldsV1: { ...annotation, ...cordon } }], false],
    ["an earlier version of ours", [{ manager: "old", fieldsV1: { ...annotation, ...cordon } }], false],
    ["us, but somebody edited the annotation", [
      { manager: "fleetlock", fieldsV1: cordon },
      { manager: "kubectl-edit", fieldsV1: annotation },
    ], false],
    ["kubectl, after we set the annotation", [
      { manager: "fleetlock", fieldsV1: annotation },
      { manager: "kubectl", fieldsV1: cordon },
    ], true],
    ["us, and somebody applies it too", [
      { manager: "gitops", fieldsV1: cordon },
      { manager: "fleetlock", fieldsV1: { ...annotation, ...cordon } },
    ], true],
    ["nobody, after an uncordoning", [{ manager: "fleetlock", fieldsV1: annotation }], false],
  ] as const
) {
  Deno.test(`a cordon is ${expected ? "foreign" : "not foreign"} where it was set by ${what}`, () => {
    equal(viewNode({ metadata: { name: "a", managedFields: managedFields as never } }).isCordonForeign, expected);
  });
}

Deno.test("labels are kept where they are wanted, and those of an earlier view while they are the same", () => {
  const node = (labels?: Record<string, string>) => ({ metadata: { name: "a", labels } });
  equal(viewNode(node({ tier: "web" })).labels, undefined);
  const known = viewNode(node({ tier: "web" }), undefined, true);
  deepEqual(known.labels, { tier: "web" });
  equal(viewNode(node({ tier: "web" }), known, true).labels, known.labels);
  const others: Record<string, string>[] = [{ tier: "db" }, { tier: "web", zone: "1" }, { zone: "web" }, {}];
  for (const labels of others) {
    deepEqual(viewNode(node(labels), known, true).labels, labels);
  }
  deepEqual(viewNode(node(), known, true).labels, {});
  const two = viewNode(node({ tier: "web", zone: "1" }), undefined, true);
  deepEqual(viewNode(node({ tier: "web", zone: "2" }), two, true).labels, { tier: "web", zone: "2" });
});

Deno.test("a hold and a skip are read from their annotations, an empty one too", () => {
  const annotations = { "fleetlock.internal/hold": "", "fleetlock.internal/skip": "all" };
  const { hold, skip } = viewNode({ metadata: { name: "a", annotations } });
  deepEqual([hold, skip], ["", "all"]);
});

Deno.test("a node's image is the name of its system with that of its kernel, and unknown before the kubelet reports it", () => {
  const image = (nodeInfo: Record<string, string>) =>
    viewNode({ status: { nodeInfo } } as unknown as Parameters<typeof viewNode>[0]).image;
  equal(image({ osImage: "Fedora CoreOS 40", kernelVersion: "6.8.5" }), "Fedora CoreOS 40, kernel 6.8.5");
  equal(image({ osImage: "", kernelVersion: "" }), undefined);
  equal(image({ osImage: "x".repeat(1_000), kernelVersion: "1" })!.length, 200);
  for (let nth = 0; nth < 100; nth++) equal(image({ osImage: `${nth}`, kernelVersion: "1" }), `${nth}, kernel 1`);
});

type V1Node = Parameters<typeof viewNode>[0];

Deno.test("a view has all that the keeper needs of a Node", () => {
  const node = {
    metadata: {
      name: "a",
      uid: "uid-a",
      resourceVersion: "7",
      creationTimestamp: "2026-01-01T00:00:00Z",
      deletionTimestamp: "2026-01-02T00:00:00Z",
      annotations: { [CORDON_ANNOTATION]: "{}", [ID_ANNOTATION]: " Custom ", other: "x" },
    },
    spec: { unschedulable: true },
    status: {
      nodeInfo: { machineID: MACHINE, bootID: "boot" },
      conditions: [{ type: "DiskPressure", status: "Unknown" }, {
        type: "Ready",
        status: "False",
        message: "no network",
      }],
    },
  } as unknown as V1Node;
  deepEqual(viewNode(node), {
    name: "a",
    uid: "uid-a",
    createdAt: Date.UTC(2026, 0, 1),
    deleting: true,
    resourceVersion: "7",
    ids: [ZINCATI, MACHINE, "Custom"],
    derivedId: ZINCATI,
    malformed: false,
    machineId: MACHINE,
    bootId: "boot",
    unschedulable: true,
    cordon: "{}",
    isCordonForeign: false,
    ready: "False",
    readyMessage: "no network",
  });
});

Deno.test("of a Node without anything, a view says that nothing is known", () => {
  const nothing = {
    name: "",
    uid: "",
    createdAt: undefined,
    deleting: false,
    resourceVersion: "",
    ids: [],
    derivedId: undefined,
    malformed: false,
    machineId: undefined,
    bootId: undefined,
    unschedulable: false,
    cordon: undefined,
    isCordonForeign: false,
    ready: undefined,
    readyMessage: undefined,
  };
  deepEqual(viewNode({}), nothing);
  // What a kubelet that has just registered reports.
  deepEqual(
    viewNode({ status: { nodeInfo: { machineID: "", bootID: "" }, conditions: [] } } as unknown as V1Node),
    nothing,
  );
});

for (
  const [machineID, malformed] of [[undefined, false], ["", false], [MACHINE, false], ["web-1", true], [
    " ",
    true,
  ]] as const
) {
  Deno.test(`the machine-id ${JSON.stringify(machineID)} is ${malformed ? "" : "not "}malformed`, () => {
    equal(viewNode({ status: { nodeInfo: { machineID } } } as V1Node).malformed, malformed);
  });
}

for (
  const [condition, expected] of [
    [{ status: "False", message: "no network", reason: "NotReady" }, "no network"],
    [{ status: "Unknown", message: "", reason: "NodeStatusUnknown" }, "NodeStatusUnknown"],
    [{ status: "False", message: "", reason: "" }, undefined],
    [{ status: "True", message: "all is well", reason: "KubeletReady" }, undefined],
  ] as const
) {
  Deno.test(`why a Node with the condition ${JSON.stringify(condition)} is not ready: ${expected}`, () => {
    const { ready, readyMessage } = viewNode({ status: { conditions: [{ type: "Ready", ...condition }] } });
    deepEqual([ready, readyMessage], [condition.status, expected]);
  });
}

Deno.test("the entries about cordons are found among others of all forms", () => {
  const entries = [{}, { manager: "kubelet", fieldsV1: {} }, { manager: "x", fieldsV1: { "f:spec": {} } }];
  const foreign = { manager: "kubectl", fieldsV1: { "f:metadata": {}, ...cordon } };
  for (const [managedFields, expected] of [[entries, false], [[...entries, foreign], true]] as const) {
    equal(viewNode({ metadata: { managedFields: [...managedFields] } }).isCordonForeign, expected);
  }
});

const SEEN = viewNode({ metadata: { name: "a", uid: "u", resourceVersion: "5", labels: {} } }, undefined, true);

for (
  const [change, expected] of [
    [{}, true],
    [{ resourceVersion: "6", readyMessage: "later", bootId: "2" }, true],
    [{ uid: "v" }, false],
    [{ ready: "True" }, false],
    [{ unschedulable: true }, false],
    [{ cordon: "{}" }, false],
    [{ hold: "x" }, false],
    [{ skip: "all" }, false],
    [{ labels: {} }, false],
  ] as const
) {
  Deno.test(`a state with ${JSON.stringify(change)} counts ${expected ? "like" : "unlike"} the one before`, () => {
    equal(countsAlike(SEEN, { ...SEEN, ...change }), expected);
  });
}

for (
  const [one, other, expected] of [
    ["6", "5", true],
    ["5", "5", false],
    ["5", "6", false],
    ["10", "9", true],
    // Too large for a number.
    ["9007199254740993", "9007199254740992", true],
    ["", "5", false],
    ["5", "", true],
    ["", "", false],
  ] as const
) {
  Deno.test(`the version ${one} is ${expected ? "" : "not "}newer than ${JSON.stringify(other)}`, () => {
    equal(isNewer({ ...SEEN, resourceVersion: one }, { ...SEEN, resourceVersion: other }), expected);
  });
}

Deno.test("the identity of a Node says what is known of it, and nothing else", () => {
  deepEqual(identityOf({ ...SEEN, machineId: "m", bootId: "b" }), { name: "a", uid: "u", machineId: "m", bootId: "b" });
  deepEqual(identityOf(SEEN), { name: "a", uid: "u" });
});

Deno.test("what was seen is in step where it is what there is, apart from changes that are about to be shown", () => {
  const view = (name: string, resourceVersion: string, uid = `uid of ${name}`) =>
    viewNode({ metadata: { name, uid, resourceVersion } });
  const seen = new Map([view("a", "3"), view("b", "5"), view("c", "12")].map((node) => [node.name, node]));
  const isNow = (...now: NodeView[]) => isInStep(seen, now, 10n);
  const [a, b, c] = [view("a", "3"), view("b", "5"), view("c", "12")];
  ok(isNow(a, b, c));
  ok(isNow(view("a", "11"), b, c), "a change that is about to be shown");
  ok(isNow(a, b, c, view("d", "11")), "a Node that is about to be shown");
  ok(isNow(a, view("b", "11", "later"), c), "a later Node of the same name, which is about to be shown");
  ok(!isNow(view("a", "4"), b, c), "a state that was missed");
  ok(!isNow(view("a", "10"), b, c), "a state that was missed at the very end");
  ok(!isNow(view("a", "2"), b, c), "an earlier state");
  ok(!isNow(view("a", "3", "other"), b, c), "another Node");
  ok(!isNow(a, b, c, view("d", "9")), "a Node that was missed");
  ok(!isNow(a, b), "a Node that is gone");
  ok(!isNow(a, b, view("c", "11")), "a state that our own call has seen a later one of");
  ok(!isNow(a, view("d", "11"), c), "one Node is gone and another has joined");
  ok(isInStep(new Map(), [], 10n));
});
