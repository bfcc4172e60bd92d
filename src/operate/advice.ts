/** The one command to type next. Pure. @module */

import { withoutEllipsis } from "../lock/wording.ts";
import type { HolderAccount } from "../status/account.ts";
import { commandLine, shellWord } from "./command_line.ts";

/** A command to type. */
export interface Advice {
  /** The command. */
  readonly command: string;
  /** Why, a clause such as "to lift the pause". */
  readonly why: string;
}

/** The command for a hold that is stuck. */
export function adviceForHolder(group: string, holder: HolderAccount): Advice {
  const name = holder.node ?? withoutEllipsis(holder.id);
  switch (holder.stage) {
    case "draining":
    case "blocked": {
      const pod = holder.pods?.[0]?.pod;
      if (pod === undefined) {
        return { command: commandLine("kubectl describe node", name), why: "to see what its drain waits for" };
      }
      const [namespace] = pod.split("/");
      return { command: `kubectl get pods,pdb -n ${shellWord(namespace!)}`, why: `to see what keeps ${pod}` };
    }
    case "granted-not-rebooting":
      return {
        command: `ssh core@${shellWord(name)} journalctl -u zincati -u rpm-ostreed -n 50`,
        why: "to see why it does not reboot",
      };
    case "rebooting":
      return {
        command: commandLine("kubectl describe node", name),
        why: "to see whether it comes back; look at its console",
      };
    case "back-not-reporting":
      return {
        command: `ssh core@${shellWord(name)} systemctl restart zincati`,
        why: "to let it report that it is back",
      };
    case "node-gone":
      return {
        command: commandLine("fleetlock release", group, name),
        why: holder.release === undefined
          ? "to free the slot of a node that is gone"
          : "to free the slot of a node that is gone before the server does",
      };
    case "unknown":
      return {
        command: commandLine("fleetlock release", group, name),
        why: "to free its slot, if its host is not rebooting",
      };
  }
}
