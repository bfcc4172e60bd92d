/**
 * Tells whether an object is garbage, so that a test notices what is kept for ever.
 *
 * @module
 */

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

let collect: (() => void) | undefined;

/** Collects the garbage, and tells whether the object is gone. The caller must not hold it. */
export async function isGarbage(reference: WeakRef<object>): Promise<boolean> {
  if (collect === undefined) {
    setFlagsFromString("--expose-gc");
    collect = runInNewContext("gc") as () => void;
  }
  // An object stays for as long as the event runs that made a reference to it or looked through one.
  await new Promise((resolve) => setTimeout(resolve, 0));
  collect();
  return reference.deref() === undefined;
}
