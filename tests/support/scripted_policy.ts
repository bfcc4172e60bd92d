/**
 * A policy that a test scripts.
 *
 * @module
 */

import { ok } from "node:assert/strict";
import type { Group } from "../../src/lock/identity.ts";
import type { DrainRule } from "../../src/lock/node_keeper.ts";
import type { GrantPolicy, PolicyAnswer, PolicyQuestion, Reason, ReasonKind } from "../../src/lock/policy.ts";

/** Makes a reason. */
export function reason(kind: ReasonKind, until?: number): Reason {
  return { kind, rule: kind, sentence: `${kind} until later`, ...(until !== undefined && { until }) };
}

/** What a test says of an answer. */
type Script = Partial<PolicyAnswer> | ((question: PolicyQuestion) => Partial<PolicyAnswer>);

/** A policy that answers what the test says, and notes what it was asked. */
export class ScriptedPolicy implements GrantPolicy {
  slots = 1;
  rule: DrainRule = {};
  goneAfterMs: number | undefined;
  peeks: Script = {};
  judges: Script | ((question: PolicyQuestion) => Promise<Partial<PolicyAnswer>>) = {};
  readonly peeked: PolicyQuestion[] = [];
  readonly judged: PolicyQuestion[] = [];

  slotsOf(_group: Group): number {
    return this.slots;
  }

  drainOf(_group: Group): DrainRule {
    return this.rule;
  }

  goneAfter(_group: Group): number | undefined {
    return this.goneAfterMs;
  }

  peek(question: PolicyQuestion): PolicyAnswer {
    this.peeked.push(question);
    return this.#answer(typeof this.peeks === "function" ? this.peeks(question) : this.peeks);
  }

  async judge(question: PolicyQuestion): Promise<PolicyAnswer> {
    ok(!question.state.holders.some(({ id }) => id === question.id), "a policy is never asked about a hold");
    this.judged.push(question);
    return this.#answer(typeof this.judges === "function" ? await this.judges(question) : this.judges);
  }

  #answer(script: Partial<PolicyAnswer>): PolicyAnswer {
    return { slots: this.slots, reasons: [], ignored: [], ...script };
  }
}

/**
 * The rules that rest on what is noted with the lock: a pause, a host that has yielded, a holder that just came back.
 */
export function rulesOfNotes(
  { id, state: { notes } }: PolicyQuestion,
  now: number,
  settleMs = 0,
): Partial<PolicyAnswer> {
  const { pause, deferred = [], returned } = notes ?? {};
  const reasons: Reason[] = [];
  if (pause !== undefined && (pause.until ?? Infinity) > now) reasons.push(reason("paused", pause.until));
  const own = deferred.find((one) => one.id === id);
  if (own !== undefined && own.until > now) reasons.push(reason("deferred", own.until));
  if (returned !== undefined && returned + settleMs > now) reasons.push(reason("settling", returned + settleMs));
  return { reasons };
}
