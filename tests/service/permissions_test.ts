import { equal } from "node:assert/strict";
import { parseConfig } from "../../src/config/config.ts";
import { DEFAULT_GROUP, type GroupOptions } from "../../src/policies/options.ts";
import { usedPermissions } from "../../src/service/permissions.ts";

const { drain } = parseConfig({}, { KUBECONFIG: "config" });

function deletesPods(defaults: GroupOptions["drain"], workers: GroupOptions["drain"] = {}): boolean {
  const of = (said: GroupOptions["drain"]) => ({ ...DEFAULT_GROUP, drain: said });
  const policies = { defaults: of(defaults), groups: new Map([["workers", of(workers)]]) };
  const { required } = usedPermissions(drain, "fleetlock", policies);
  return required.some(({ verb, resource, subresource }) => verb === "delete" && resource === "pods" && !subresource);
}

Deno.test("the server needs to delete pods where the drain of any group may do so", () => {
  equal(deletesPods({}), false);
  equal(deletesPods({ onTimeout: "yield" }, { onTimeout: "refuse" }), false);
  equal(deletesPods({ onTimeout: "delete" }), true);
  equal(deletesPods({}, { onTimeout: "delete" }), true);
});
