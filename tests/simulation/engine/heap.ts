/**
 * Looks at the private fields of objects, as a debugger does: how many entries their maps and sets have. The code under
 * test need not offer anything for it.
 *
 * @module
 */

import { Session } from "node:inspector";

/** How many entries the maps and sets of an object have, by the name of its field. */
export type Sizes = Readonly<Record<string, number>>;

/** What the debugger tells of a value. */
interface Remote {
  readonly objectId?: string;
  readonly subtype?: string;
  readonly value?: unknown;
}

/** A named value. */
interface Property {
  readonly name: string;
  readonly value?: Remote;
}

/** See the module. */
export class Heap implements Disposable {
  readonly #session = new Session();

  /** Attaches the debugger to this process. */
  constructor() {
    this.#session.connect();
  }

  /** The sizes of the maps and sets in the private fields of each instance of a class that is still reachable. */
  async sizesOf(type: { readonly prototype: object }): Promise<Sizes[]> {
    const held = globalThis as { heldForDebugger?: object };
    held.heldForDebugger = type.prototype;
    try {
      const { result } = await this.#post<{ result: Remote }>("Runtime.evaluate", { expression: "heldForDebugger" });
      const { objects } = await this.#post<{ objects: Remote }>("Runtime.queryObjects", {
        prototypeObjectId: result.objectId,
      });
      const instances = await this.#properties(objects);
      const all: Sizes[] = [];
      for (const { name, value } of instances.result) if (/^\d+$/.test(name)) all.push(await this.#sizes(value!));
      return all;
    } finally {
      delete held.heldForDebugger;
      await this.#post("Runtime.releaseObjectGroup", { objectGroup: "" });
    }
  }

  /** Detaches it. */
  [Symbol.dispose](): void {
    this.#session.disconnect();
  }

  async #sizes(instance: Remote): Promise<Sizes> {
    const sizes: Record<string, number> = {};
    const { privateProperties = [] } = await this.#properties(instance);
    for (const { name, value } of privateProperties) {
      if (value?.objectId === undefined || !["map", "set"].includes(value.subtype!)) continue;
      const { result } = await this.#post<{ result: Remote }>("Runtime.callFunctionOn", {
        objectId: value.objectId,
        functionDeclaration: "function () { return this.size; }",
      });
      sizes[name] = result.value as number;
    }
    return sizes;
  }

  #properties({ objectId }: Remote): Promise<{ result: Property[]; privateProperties?: Property[] }> {
    return this.#post("Runtime.getProperties", { objectId, ownProperties: true });
  }

  #post<T>(method: string, parameters: object): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#session.post(method, parameters, (error: unknown, result?: object) => {
        if (error) reject(new Error(`the debugger refuses ${method}`, { cause: error }));
        else resolve(result as T);
      });
    });
  }
}
