/**
 * What an operator can say about a group, with every default filled in. The
 * configuration file is checked against it; the rules read it. It holds data only.
 *
 * @module
 */

/** A number of nodes, or a share of the group's nodes. */
export type Amount =
  | { readonly kind: "number"; readonly value: number }
  /** From 0 to 100. */
  | { readonly kind: "percent"; readonly value: number };

/** A weekday, Monday is 1. */
export type Weekday = 1 | 2 | 3 | 4 | 5 | 6 | 7;

/** Days on which a window opens. */
export type WindowDay =
  /** Every such weekday. */
  | { readonly kind: "weekly"; readonly weekday: Weekday }
  /** The first to fifth such weekday of a month, or the last. */
  | { readonly kind: "monthly"; readonly weekday: Weekday; readonly nth: 1 | 2 | 3 | 4 | 5 | "last" };

/** A window in which slots are granted. */
export interface AllowWindow {
  /** The days on which it opens; empty for every day. */
  readonly days: readonly WindowDay[];
  /** The local time at which it opens. */
  readonly at: { readonly hour: number; readonly minute: number };
  /** How long it stays open, in milliseconds of elapsed time. */
  readonly forMs: number;
  /** How long before its end the last slot is granted, in milliseconds; undefined for the time limit of a drain. */
  readonly cutoffMs?: number;
}

/** A time in which no slots are granted, whatever a window says. */
export interface Freeze {
  /** When it begins: a local date (`2026-12-20`, from its first moment) or date and time (`2026-12-20T18:00`). */
  readonly from: string;
  /** When it ends: a local date (to its last moment) or date and time. */
  readonly to: string;
  /** Why, for the replies. */
  readonly reason?: string;
}

/** Where a group's Prometheus is, and what to ask it. */
export interface PrometheusHealth {
  /** The base URL. */
  readonly url: string;
  /** Queries whose non-empty result blocks. */
  readonly queries: readonly { readonly name: string; readonly expr: string }[];
  /** What to do where it does not answer. */
  readonly onError: "refuse" | "allow";
  /** A file with a bearer token. */
  readonly tokenFile?: string;
  /** A file with the CAs of its certificate, in PEM. */
  readonly caFile?: string;
}

/** Where a group's Alertmanager is, and which alerts block. */
export interface AlertmanagerHealth {
  /** The base URL. */
  readonly url: string;
  /**
   * A regular expression (RE2) that matches the whole names of alerts. Those that are active, neither silenced nor
   * inhibited, block.
   */
  readonly alerts: string;
  /** What to do where it does not answer. */
  readonly onError: "refuse" | "allow";
  /** A file with a bearer token. */
  readonly tokenFile?: string;
  /** A file with the CAs of its certificate, in PEM. */
  readonly caFile?: string;
}

/** What must be healthy before a slot is granted. */
export interface HealthOptions {
  /** How many of the group's nodes may be NotReady, besides those that are left out of the count. */
  readonly notReady?: Amount;
  /** A label selector: a running pod on the asking node that matches blocks. */
  readonly blockingPods?: string;
  /** Whether a dry-run eviction must find no budget that allows none. */
  readonly budgets?: "refuse";
  /** Queries of a Prometheus. */
  readonly prometheus?: PrometheusHealth;
  /** Alerts of an Alertmanager. */
  readonly alertmanager?: AlertmanagerHealth;
}

/** Everything that an operator can say about a group. */
export interface GroupOptions {
  /** A label selector of the group's nodes, which percentages count; undefined for all nodes. */
  readonly nodes?: string;
  /** How many clients may hold a slot. A percentage is rounded down, and is from 1 to {@link MAX_LEASE_SLOTS}. */
  readonly slots: Amount;
  /** Whether nodes of the group that are NotReady, or cordoned by others, take a slot. */
  readonly unavailable: "ignore" | "count";
  /** Windows in which slots are granted; empty for always. */
  readonly allow: readonly AllowWindow[];
  /** Times in which no slots are granted. */
  readonly freeze: readonly Freeze[];
  /** How long to wait after a holder came back from a reboot, in milliseconds; 0 for not at all. */
  readonly settleMs: number;
  /** Whether the group's rules refuse, or only log what they would refuse. */
  readonly mode: "enforce" | "warn";
  /** How a drain of the group's nodes differs from what the flags say. */
  readonly drain: {
    /** The time limit of a drain, in milliseconds. */
    readonly timeoutMs?: number;
    /** What to do when a drain times out. */
    readonly onTimeout?: "refuse" | "proceed" | "delete" | "yield";
  };
  /** What becomes of a hold whose Node is gone. */
  readonly onNodeGone: {
    /** Whether the hold stays until somebody frees it, or is freed after a while. */
    readonly action: "keep" | "release";
    /** How long the Node must be gone, in milliseconds, {@link LEAST_GONE_MS} at least. */
    readonly afterMs: number;
  };
  /** What must be healthy. */
  readonly health: HealthOptions;
}

/** How long a hold may stay in each stage before it counts as stuck, in milliseconds. */
export interface StuckOptions {
  /** Pods are evicted; undefined for five minutes more than the time limit of the group's drains. */
  readonly "draining"?: number;
  /** The drain has failed, or budgets hold back every pod that is left. */
  readonly "blocked": number;
  /** The host may reboot and has not. */
  readonly "granted-not-rebooting": number;
  /** The node is not ready after the yes. */
  readonly "rebooting": number;
  /** The node is back, and its host has not reported. */
  readonly "back-not-reporting": number;
  /** The node does not exist. */
  readonly "node-gone": number;
}

/** The policies of all groups. */
export interface PolicyOptions {
  /** The IANA name of the time zone of all windows. */
  readonly timeZone: string;
  /** Whether groups that are not named get slots. */
  readonly allowUnknownGroups: boolean;
  /** When a hold counts as stuck. */
  readonly stuck: StuckOptions;
  /** What applies to a group that is not named. */
  readonly defaults: GroupOptions;
  /** What applies to a named group: the defaults with what the group says. */
  readonly groups: ReadonlyMap<string, GroupOptions>;
}

/**
 * The shortest time after which a hold whose Node is gone may be freed, in milliseconds. Zincati postpones a reboot
 * that it may make for as long as 10 minutes, and says nothing while the host reboots.
 */
export const LEAST_GONE_MS = 10 * 60_000;

/**
 * How long the Node of a hold must be gone where nothing is said, in milliseconds. A server whose firmware tests its
 * memory, or that checks large file systems, may take half an hour to boot.
 */
const GONE_MS = 3_600_000;

/**
 * How many hosts of a group may hold a slot where locks are Leases. The record of so many holders and all that is noted
 * with them is certain to fit in the 262,144 bytes that the annotations of an object may have.
 */
export const MAX_LEASE_SLOTS = 128;

/** The options of a group for which nothing is said. */
export const DEFAULT_GROUP: GroupOptions = Object.freeze<GroupOptions>({
  slots: { kind: "number", value: 1 },
  unavailable: "ignore",
  allow: [],
  freeze: [],
  settleMs: 0,
  mode: "enforce",
  drain: {},
  onNodeGone: { action: "keep", afterMs: GONE_MS },
  health: {},
});

/** How much longer than its time limit a drain may last before its hold counts as stuck, in milliseconds. */
export const DRAIN_GRACE_MS = 5 * 60_000;

/**
 * When a hold counts as stuck where nothing is said. Zincati postpones a reboot for 10 minutes while people are logged
 * in, and asks again every 5 minutes.
 */
export const DEFAULT_STUCK: StuckOptions = Object.freeze<StuckOptions>({
  "blocked": 10 * 60_000,
  "granted-not-rebooting": 20 * 60_000,
  "rebooting": 15 * 60_000,
  "back-not-reporting": 10 * 60_000,
  "node-gone": 10 * 60_000,
});

/** The policies where there is no configuration file. */
export const NO_POLICIES: PolicyOptions = Object.freeze<PolicyOptions>({
  timeZone: "UTC",
  allowUnknownGroups: true,
  stuck: DEFAULT_STUCK,
  defaults: DEFAULT_GROUP,
  groups: new Map(),
});
