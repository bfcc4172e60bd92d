import { deepEqual, equal } from "node:assert/strict";
import { KeptAnswers } from "../../src/service/kept_answers.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { isGarbage } from "../support/garbage.ts";

const describe = (error: unknown) => (error as Error).message;

Deno.test("an answer is shared by those who ask meanwhile, kept for ten seconds from its question, and then asked anew", async () => {
  const clock = new FakeClock();
  const kept = new KeptAnswers<number>({ clock });
  let asked = 0;
  const answers = [Promise.withResolvers<number>(), Promise.withResolvers<number>()];
  const question = () => answers[asked++]!.promise;
  const both = Promise.all([kept.ask("a", question, describe), kept.ask("a", question, describe)]);
  deepEqual(kept.known("a"), { kind: "not_asked" });
  await clock.advance(4_000);
  answers[0]!.resolve(1);
  deepEqual(await both, [{ kind: "known", value: 1 }, { kind: "known", value: 1 }]);
  equal(asked, 1);
  await clock.advance(5_999);
  deepEqual(await kept.ask("a", question, describe), { kind: "known", value: 1 });
  deepEqual(kept.known("b"), { kind: "not_asked" });
  await clock.advance(1);
  deepEqual(kept.known("a"), { kind: "not_asked" });
  answers[1]!.resolve(2);
  deepEqual(await kept.ask("a", question, describe), { kind: "known", value: 2 });
  equal(clock.sleepers, 0);
});

Deno.test("a question that fails is told and kept too, and one without an answer ends after five seconds", async () => {
  const clock = new FakeClock();
  const kept = new KeptAnswers<number>({ clock });
  const refused = { kind: "failed", reason: "not allowed" } as const;
  deepEqual(await kept.ask("a", () => Promise.reject(new Error("not allowed")), describe), refused);
  deepEqual(kept.known("a"), refused);
  const late = kept.ask("b", (signal) => {
    return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  }, describe);
  await clock.advance(4_999);
  deepEqual(kept.known("b"), { kind: "not_asked" });
  await clock.advance(1);
  deepEqual(await late, { kind: "failed", reason: "there was no answer in time" });
});

Deno.test("the answer to one question leaves those to others as they are", async () => {
  const clock = new FakeClock();
  const kept = new KeptAnswers<number>({ clock });
  const ask = (key: string, answer: number) => kept.ask(key, () => Promise.resolve(answer), describe);
  await ask("a", 1);
  await clock.advance(5_000);
  await ask("b", 2);
  await clock.advance(4_999);
  await ask("c", 3);
  deepEqual(["a", "b", "c"].map((key) => kept.known(key)), [1, 2, 3].map((value) => ({ kind: "known", value })));
  await clock.advance(1);
  await ask("d", 4);
  deepEqual(["a", "b", "d"].map((key) => kept.known(key).kind), ["not_asked", "known", "known"]);
});

Deno.test("an answer that is over is forgotten at the next question, so that questions of the past take no memory", async () => {
  const clock = new FakeClock();
  const kept = new KeptAnswers<object>({ clock });
  const ask = async (key: string) => {
    const answer = await kept.ask(key, () => Promise.resolve({}), describe);
    return new WeakRef(answer);
  };
  const answer = await ask("a");
  await clock.advance(9_999);
  await ask("b");
  equal(await isGarbage(answer), false);
  await clock.advance(1);
  await ask("c");
  equal(await isGarbage(answer), true);
});
