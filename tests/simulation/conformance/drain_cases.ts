/**
 * What the modelled API server and a real one must answer alike to the calls of a drain and to those beside it:
 * evictions and their budgets, VolumeAttachments, kubelets' Leases, Events, and the refusal of a call for which a right
 * is missing. The program reads some of the sentences, so that they are compared too.
 *
 * @module
 */

import { type Answer, type Case, lease, leasesOf, MERGE, pod, seen, type Subject } from "./cases.ts";

// deno-lint-ignore no-explicit-any
type Json = any;

const UID = "00000000-0000-4000-8000-000000000000";

/** What is compared of a refusal, with its sentences. Names that only one server has are left out. */
function said({ namespace, prefix }: Subject): (answer: Answer) => Json {
  const common = (text?: string) =>
    text?.replaceAll(prefix, "PREFIX").replaceAll(namespace, "NAMESPACE").replace(/User "[^"]*"/, 'User "…"')
      .replace(/UID in record \([^)]*\)/, "UID in record (…)");
  return (answer) => {
    const { message, details } = answer.body;
    return {
      ...seen(answer),
      message: common(message),
      why: details?.causes?.map((cause: Json) => common(cause.message)),
    };
  };
}

/** Makes pods that run on a Node, tells what their evictions are answered, and removes all again. */
async function evictions(
  subject: Subject,
  names: readonly string[],
  act: (pods: string) => Promise<void>,
): Promise<Json> {
  const { namespace, prefix, call } = subject;
  const pods = `/api/v1/namespaces/${namespace}/pods`;
  await call("POST", "/api/v1/nodes", { metadata: { name: `${prefix}--n` } });
  const status = { phase: "Running", conditions: [{ type: "Ready", status: "True" }] };
  for (const name of names) {
    await call("POST", pods, pod(name, `${prefix}--n`));
    await call("PATCH", `${pods}/${name}/status`, { status }, { type: MERGE });
  }
  await act(pods);
  for (const name of names) await call("DELETE", `${pods}/${name}`, { gracePeriodSeconds: 0 });
  await call("DELETE", `/api/v1/nodes/${prefix}--n`);
}

function evict({ namespace, call }: Subject, name: string, uid?: string): Promise<Answer> {
  return call("POST", `/api/v1/namespaces/${namespace}/pods/${name}/eviction`, {
    apiVersion: "policy/v1",
    kind: "Eviction",
    metadata: { name, namespace },
    ...(uid && { deleteOptions: { preconditions: { uid } } }),
  });
}

/** The cases, by name. */
export const DRAIN_CASES: Readonly<Record<string, Case>> = {
  async "a budget allows as many evictions as leave enough pods, and refuses the next one"(subject) {
    const answers: Answer[] = [];
    await evictions(subject, ["a", "b", "c"], async () => {
      await subject.budget({ name: "some", app: "web", minAvailable: 2, healthy: 3 });
      answers.push(await evict(subject, "a"));
      await subject.budget({ name: "some", app: "web", minAvailable: 2, healthy: 2 });
      // A pod that is being deleted already needs no budget.
      for (const name of ["b", "a"]) answers.push(await evict(subject, name));
    });
    return answers.map(said(subject));
  },
  async "a pod of several budgets is not evicted"(subject) {
    const answers: Answer[] = [];
    await evictions(subject, ["a"], async () => {
      for (const name of ["one", "two"]) await subject.budget({ name, app: "web", minAvailable: 0, healthy: 1 });
      answers.push(await evict(subject, "a"));
    });
    return answers.map(said(subject));
  },
  async "an eviction of a pod that is gone finds nothing, whatever its UID was"(subject) {
    const answers: Answer[] = [];
    await evictions(subject, ["a"], async (pods) => {
      await subject.call("DELETE", `${pods}/a`, { gracePeriodSeconds: 0 });
      answers.push(await evict(subject, "a"), await evict(subject, "a", UID));
      // One that never ran needs no budget.
      await subject.budget({ name: "none", app: "web", minAvailable: 1_000, healthy: 0 });
      await subject.call("POST", pods, pod("a", `${subject.prefix}--n`));
      answers.push(await evict(subject, "a", UID), await evict(subject, "a"));
    });
    return answers.map(said(subject));
  },
  async "VolumeAttachments are listed with the Node and the volume"({ prefix, call }) {
    const path = "/apis/storage.k8s.io/v1/volumeattachments";
    const names = ["a", "b"].map((name) => `${prefix}--${name}`);
    for (const name of names) {
      await call("POST", path, {
        metadata: { name },
        spec: { attacher: "example.com", nodeName: `${prefix}--n`, source: { persistentVolumeName: `${name}-volume` } },
      });
    }
    const list = async () => {
      const { status, body } = await call("GET", path);
      const ours = body.items.filter(({ metadata }: Json) => names.includes(metadata.name));
      return {
        status,
        kind: body.kind,
        apiVersion: body.apiVersion,
        specs: ours.map(({ spec }: Json) => shortOf(spec)),
      };
    };
    const shortOf = ({ nodeName, source }: Json) =>
      [nodeName, source.persistentVolumeName].map((text) => text.replace(prefix, ""));
    const lists = [await list()];
    await call("DELETE", `${path}/${names[0]}`);
    lists.push(await list());
    await call("DELETE", `${path}/${names[1]}`);
    return lists;
  },
  async "a kubelet's Lease tells when it was renewed"(subject) {
    const { prefix, call, renew } = subject;
    const path = `${leasesOf("kube-node-lease")}/${prefix}--n`;
    const answers = [await call("GET", path)];
    await renew(`${prefix}--n`);
    answers.push(await call("GET", path));
    const { spec } = answers[1]!.body;
    return [
      answers.map((answer) => ({ ...seen(answer), holder: undefined })),
      spec.leaseDurationSeconds,
      spec.holderIdentity === `${prefix}--n`,
      /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/.test(spec.renewTime),
    ];
  },
  async "an Event is created once, and only the series of one that is there grows"(subject) {
    const { namespace, call } = subject;
    const path = `/apis/events.k8s.io/v1/namespaces/${namespace}/events`;
    const time = "2030-01-07T08:00:00.000000Z";
    const event = {
      metadata: { namespace, name: "a" },
      eventTime: time,
      reportingController: "fleetlock.internal/fleetlock",
      reportingInstance: "one",
      action: "Cordoned",
      reason: "Cordoned",
      regarding: { apiVersion: "coordination.k8s.io/v1", kind: "Lease", name: "x", namespace },
      note: "It is cordoned.",
      type: "Normal",
    };
    const series = { series: { count: 2, lastObservedTime: time } };
    const patch = (name: string) => call("PATCH", `${path}/${name}`, series, { type: MERGE });
    const answers = [
      await call("POST", path, event),
      await call("POST", path, event),
      await patch("a"),
      await patch("b"),
    ];
    return [answers.map(said(subject)), answers.map(({ body }) => [body.note, body.series?.count])];
  },
  async "a call without the right for it is refused, and the refusal names the right"(subject) {
    const { namespace, prefix, call, callWithout } = subject;
    await call("POST", leasesOf(namespace), lease("a", "x"));
    const pods = `/api/v1/namespaces/${namespace}/pods`;
    const events = `/apis/events.k8s.io/v1/namespaces/${namespace}/events`;
    const patch = { spec: { unschedulable: true } };
    const answers = [
      await callWithout("get leases", "GET", `${leasesOf(namespace)}/a`),
      // Whether there is one is not told either.
      await callWithout("get leases", "GET", `${leasesOf(namespace)}/b`),
      await callWithout("list leases", "GET", leasesOf(namespace)),
      await callWithout("watch leases", "GET", `${leasesOf(namespace)}?watch=1`),
      await callWithout("create leases", "POST", leasesOf(namespace), lease("c", "x")),
      await callWithout("update leases", "PUT", `${leasesOf(namespace)}/a`, lease("a", "x")),
      await callWithout("get nodes", "GET", `/api/v1/nodes/${prefix}--n`),
      await callWithout("list nodes", "GET", "/api/v1/nodes?limit=1"),
      await callWithout("patch nodes", "PATCH", `/api/v1/nodes/${prefix}--n`, patch, { type: MERGE }),
      await callWithout("list pods", "GET", `/api/v1/pods?fieldSelector=spec.nodeName%3D${prefix}--n`),
      await callWithout("delete pods", "DELETE", `${pods}/a`),
      await callWithout("create pods/eviction", "POST", `${pods}/a/eviction`, { metadata: { name: "a", namespace } }),
      await callWithout("list volumeattachments", "GET", "/apis/storage.k8s.io/v1/volumeattachments"),
      await callWithout("create events", "POST", events, { metadata: { name: "a", namespace } }),
      await callWithout("patch events", "PATCH", `${events}/a`, { series: { count: 2 } }, { type: MERGE }),
    ];
    return answers.map(said(subject));
  },
};
