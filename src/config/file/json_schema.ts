/**
 * Writes the JSON Schema of the configuration file, for editors, out of the table
 * of its keys.
 *
 * @module
 */

import { toJsonSchema } from "@valibot/to-json-schema";
import { WHOLE_SCHEMA } from "./schema.ts";

/** What a JSON Schema consists of. */
interface Schema {
  type?: unknown;
  properties?: unknown;
  additionalProperties?: unknown;
  description?: unknown;
}

/** Returns the JSON Schema, as JSON with a line break at its end. */
export function policyFileSchema(): string {
  const schema = toJsonSchema(WHOLE_SCHEMA, {
    target: "draft-07",
    typeMode: "input",
    // Checks that no JSON Schema can express, such as that a time zone exists.
    ignoreActions: ["raw_transform", "raw_check", "check", "transform"],
    overrideSchema({ jsonSchema }) {
      const made: Schema = jsonSchema;
      if (made.properties !== undefined) made.additionalProperties = false;
      if (made.description === "") delete made.description;
      return jsonSchema;
    },
  });
  return `${JSON.stringify({ ...schema, title: "fleetlock configuration file" }, undefined, 2)}\n`;
}
