/**
 * `deno task chaos`: the fault run of many hosts without nodes, then the one with
 * nodes. Its exit code is 1 if a promise was broken.
 *
 * @module
 */

import { existsSync } from "node:fs";
import { FAKETIME_LACK } from "../support/faketime.ts";
import { NODE_FAULT_KINDS } from "./nodes/faults.ts";
import { formatNodeReport, runNodeFaults } from "./nodes/run.ts";
import { PUT_BACK } from "./nodes/workloads.ts";
import { formatReport, runFaults } from "./run.ts";

const USAGE =
  `usage: deno task chaos [--minutes 2] [--seed 1] [--clients 200] [--nodes 12] [--history PATH] [--without KIND]
  --minutes  how long to make faults in each of the two runs
  --clients  hosts without nodes; 0 leaves their run out
  --nodes    hosts with nodes; 0 leaves their run out
  --history  a file for the history of the hosts without nodes
  --without  what the run with nodes leaves out; may stand several times. One of:
             ${[...NODE_FAULT_KINDS, ...PUT_BACK].join(", ")}`;

const flags = new Map<string, string>();
const without: string[] = [];
for (let index = 0; index < Deno.args.length; index += 2) {
  const [name, value] = [Deno.args[index]!, Deno.args[index + 1]];
  const isKnown = ["--minutes", "--seed", "--clients", "--nodes", "--history", "--without"].includes(name);
  if (!isKnown || value === undefined) fail(USAGE);
  if (name === "--without" && !NODE_FAULT_KINDS.includes(value) && !PUT_BACK.includes(value)) fail(USAGE);
  if (name === "--without") without.push(value);
  else flags.set(name, value);
}
const minutes = Number(flags.get("--minutes") ?? 2);
const seed = Number(flags.get("--seed") ?? Math.floor(Math.random() * 2 ** 32));
const clients = Number(flags.get("--clients") ?? 200);
const nodes = Number(flags.get("--nodes") ?? 12);
if (!(minutes > 0) || !Number.isInteger(seed)) {
  fail("--minutes must be a number above 0, and --seed must be an integer");
}
if (!isCount(clients, 1) || !isCount(nodes, 4)) {
  fail("--clients must be an integer above 0 and --nodes one above 3; 0 leaves the run out");
}

const assets = Deno.env.get("KUBEBUILDER_ASSETS");
if (!assets || !["etcd", "kube-apiserver"].every((program) => existsSync(`${assets}/${program}`))) {
  fail(
    "The fault run needs a Kubernetes control plane: set KUBEBUILDER_ASSETS to the folder of etcd and kube-apiserver" +
      (assets ? `, which are not in ${assets}` : ""),
  );
}

console.log(`seed ${seed}`);
const log = (line: string) => console.log(line);
const durationMs = minutes * 60_000;
let isBroken = false;
if (clients > 0) {
  const report = await runFaults({ durationMs, seed, clients, history: flags.get("--history"), log });
  console.log(formatReport(report));
  isBroken ||= report.check.violationCount > 0 || report.withoutTurn > 0;
}
if (nodes > 0 && FAKETIME_LACK !== undefined) {
  console.log(`the run with nodes is skipped: ${FAKETIME_LACK}`);
  isBroken ||= Deno.env.get("CI") === "true";
} else if (nodes > 0) {
  const report = await runNodeFaults({ durationMs, seed, nodes, without, log });
  console.log(formatNodeReport(report));
  isBroken ||= report.violations.length > 0;
}
Deno.exit(isBroken ? 1 : 0);

function isCount(value: number, min: number): boolean {
  return Number.isInteger(value) && (value === 0 || value >= min);
}

function fail(message: string): never {
  console.error(message);
  Deno.exit(2);
}
