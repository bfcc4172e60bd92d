/**
 * What the transactions on a client's hold are given, and what comes of them.
 * Types only.
 *
 * @module
 */

import type { Clock } from "./clock.ts";
import type { Written } from "./group_writer.ts";
import type { Group } from "./identity.ts";
import type { PodLeft } from "./node_keeper.ts";
import type { Refused } from "./outcomes.ts";
import type { Deferral } from "./policy.ts";
import type { GroupState, HeldNode, Holder } from "./semaphore.ts";

/** Is told of the slots that change hands. Its methods must not throw. */
export interface HoldsObserver {
  /** A request of this process took a slot. The drain, if there is one, comes next. */
  granted?(group: Group, holder: Holder): void;
  /** A request of this process gave a slot back. */
  released?(group: Group, holder: Holder): void;
  /** This process took the slot of a host that had no yes, so that others come first. */
  yielded?(group: Group, holder: Holder, cause: YieldCause["kind"], deferral: Deferral | undefined): void;
  /** This process freed the slot of a host whose Node is gone. */
  releasedGone?(group: Group, holder: Holder): void;
}

/** Why a hold yields its slot. */
export type YieldCause =
  /** The drain of its node has timed out, with these pods left. */
  | { readonly kind: "timed_out"; readonly pods: readonly PodLeft[] }
  /** Somebody paused the group, drains included. */
  | { readonly kind: "paused" };

/** The outcome of {@link "./holds.ts".Holds.yield}. */
export type Yielding =
  /** The slot is free. Where the drain had timed out, `deferral` is noted. */
  | { readonly kind: "yielded"; readonly deferral?: Deferral }
  /** The hold stays: it may have had a yes, or is about another node by now, or the cause is gone. */
  | { readonly kind: "stays" }
  /** The hold has ended already, in this state. */
  | { readonly kind: "not_held"; readonly state: GroupState };

/** The outcome of {@link "./holds.ts".Holds.releaseGone}. */
export type GoneRelease =
  /** The slot is free. */
  | { readonly kind: "released" }
  /** The hold stays: it is at another stage by now, or may no longer be freed. */
  | { readonly kind: "stays" }
  /** The hold has ended already. */
  | { readonly kind: "not_held" };

/** Says what speaks against a grant on a state; undefined where nothing does. */
export type Gate = (state: GroupState) => Refused | undefined;

/** That a slot may be granted, as far as it is known before the write. */
export interface Permit {
  /** How many holders the group may have with the new one, at most. */
  readonly slots: number;
  /** The client's node, noted with the grant. */
  readonly node?: HeldNode;
  /**
   * Asked for each state that the grant is to be written on: how many holders it may have by now, which the grant
   * notes.
   */
  readonly slotsOn: (state: GroupState) => number | Refused;
}

/** What {@link "./holds.ts".Holds} works with. */
export interface HoldsOptions {
  /** How many clients of a group may hold a slot. */
  readonly slotsOf: (group: Group) => number;
  /** Gives the time of grants and writes. */
  readonly clock: Clock;
  /** Is told of grants and releases. */
  readonly observer: HoldsObserver;
}

/** Whether a client holds a slot. */
export type Held =
  /** It does, as `holder` says. */
  | { readonly kind: "held"; readonly holder: Holder }
  /** It does not. */
  | { readonly kind: "not_held" };

/** A hold that this request has written, and what the store returned for the write. */
export interface Proven {
  /** Whether this request took the slot, or the client held it before. */
  readonly kind: "granted" | "renewed";
  /** The hold as it was written. */
  readonly holder: Holder;
  /** What the store returned. */
  readonly written: Written;
}

/** The outcome of {@link "./holds.ts".Holds.renew}. */
export type Renewal =
  /** The client holds a slot, proven by a write. */
  | Proven
  /** The client holds no slot, and at least one seemed free in this state. */
  | { readonly kind: "free"; readonly state: GroupState }
  | Refused;
