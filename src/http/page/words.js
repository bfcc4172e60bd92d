// How a client, a stage and a rule are called.

/** What each stage is called, and how it looks. */
const STAGES = {
  "draining": ["Draining", "work"],
  "blocked": ["Drain blocked", "work"],
  "granted-not-rebooting": ["May reboot now", "sky"],
  "rebooting": ["Rebooting", "sky"],
  "back-not-reporting": ["Back, has not reported", "good"],
  "node-gone": ["Its node is gone", "work"],
  "unknown": ["Holds the slot", "sky"],
};

/** What is asked only when a host asks. */
export const UNASKED = {
  "health.prometheus": "Prometheus",
  "health.alertmanager": "Alertmanager",
  "health.blockingPods": "pods that block a reboot",
  "health.budgets": "budgets of its pods",
  "drain": "pods that a drain must leave alone",
};

export function stageOf({ stage, isStuck }) {
  const [name, tone] = STAGES[stage] ?? [String(stage), "plain"];
  return { name, tone: isStuck ? "alarm" : tone };
}

/** Tells a client from the others of its group. */
export const clientOf = ({ id, hash }) => `${hash} ${id}`;

export const nameOf = ({ node, id }) => node ?? id;
export const plural = (count, one, many) => `${count} ${count === 1 ? one : many}`;
