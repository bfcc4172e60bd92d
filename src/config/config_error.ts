/**
 * The error of everything that is configured wrongly, whichever part finds it.
 *
 * @module
 */

/**
 * A flag, the environment, or a file that they name is not as it must be, and
 * trying again does not help. The message is one sentence for the operator: what
 * is wrong, and what to do.
 */
export class ConfigError extends Error {
  /** Names the class in logs. */
  override readonly name = "ConfigError";
}
