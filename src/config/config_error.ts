/**
 * The error for every configuration mistake, whichever part of the program finds it.
 *
 * @module
 */

/**
 * A flag, an environment variable, or a file that one of them names is not
 * valid, and trying again does not help. The message is one sentence for the
 * operator: what is wrong and what to do.
 */
export class ConfigError extends Error {
  /** The class name in logs. */
  override readonly name = "ConfigError";
}
