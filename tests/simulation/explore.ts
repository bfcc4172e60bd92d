import { planOf } from "./plan.ts";
import { runPlan } from "./run.ts";
const [seed, n, calm] = Deno.args;
for (let s = Number(seed); s < Number(seed) + Number(n ?? 1); s++) {
  const t = performance.now();
  const r = await runPlan(planOf(s, { isCalm: calm === "calm" }));
  console.log(
    s,
    r.timeline.hash(),
    `turns ${r.turns} virtual ${(r.virtualMs / 3600000).toFixed(2)} h events ${r.events} real ${
      ((performance.now() - t) / 1000).toFixed(2)
    } s`,
    r.violations.map((v) => `${v.kind}: ${v.message}`).slice(0, 3),
  );
  if (n === "1" || n === undefined) {
    console.log(r.timeline.text(150).join("\n"));
    console.log(r.timeline.situations);
  }
}
