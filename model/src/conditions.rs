//! Every condition of the design as a switch: the model without one is a mutant, which a world must catch.

/// Whether a condition can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needed {
    /// No: without it a property fails in this world.
    In(&'static str),
    /// Yes: no property fails without it in any world. The text says why it is kept.
    Spare(&'static str),
}

macro_rules! conditions {
    ($($(#[doc = $words:literal])+ $name:ident @ $place:literal => $needed:expr;)+) => {
        /// A condition of the design: what a write is conditional on, or a rule about what follows from what was read.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Condition {
            $($(#[doc = $words])+ #[doc = ""] #[doc = concat!("In `", $place, "`.")] $name,)+
        }

        impl Condition {
            /// All of them, by where they stand.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// What it says.
            #[must_use]
            pub fn words(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($words),+).trim_ascii(),)+
                }
            }

            /// Where it stands: the file, below `shared/registry/src`, and the function, or the rule that DynamoDB evaluates.
            #[must_use]
            pub fn place(self) -> &'static str {
                match self {
                    $(Self::$name => $place,)+
                }
            }

            /// Whether it can be left out.
            #[must_use]
            pub fn needed(self) -> Needed {
                use Needed::{In, Spare};
                match self {
                    $(Self::$name => $needed,)+
                }
            }
        }
    };
}

conditions! {
    /// A Port item is put only where there is none or a dead one.
    PortIfDead @ "store/rules.rs: PORT_IF_DEAD" => In("names");
    /// Or it is the same name of the same service that comes back to its port.
    ReturnName @ "store/rules.rs: RETURN_NAME" => In("terms");
    /// The name comes back at once only to a port that was released, not to one whose lease was made gone early.
    ReturnCooled @ "store/rules.rs: RETURN_COOLED" => In("early lapse");
    /// It comes back once the lease is over by the claimer's clock only to the same owner.
    ReturnOwner @ "store/rules.rs: RETURN_OWNER, RETURN_UNOWNED" => In("early lapse");
    /// And only with a lease: an offer may end before the margin after the lease is over.
    ReturnLeased @ "store/claim.rs: port_is_to_be_had" => In("a lease comes back as an offer");
    /// Another owner of the name waits for the margin after the lease.
    ReturnLapsed @ "store/rules.rs: RETURN_LAPSED" => In("early lapse");
    /// A stranger waits for the margin after the lease.
    Margin @ "store/holders.rs: lease" => In("strangers");
    /// An allocation that is claimed begins when the claim is sent, and not when it is decided.
    StampAtSend @ "store/claim.rs: claim" => In("late release of a lease");
    /// *Free*: the Instance is absent, or points to the port being claimed.
    NameFree @ "store/rules.rs: NAME_FREE" => In("names");
    /// *Free*, for a lease: the Instance does not carry the very secret that is to be put. It would have been put by an earlier send, and have been released since.
    NameNew @ "store/rules.rs: NAME_NEW" => In("replies to a PUT");
    /// *Gone* and *Dead*: the Instance still carries the secret that was judged.
    NameAsJudged @ "store/rules.rs: NAME_AS_JUDGED" => In("names");
    /// *Dead*: the same transaction removes the dead claim that is in the way.
    DeadIsRemoved @ "store/claim.rs: claim_parts" => In("names");
    /// *Dead*: the claim that is removed is still dead.
    DeadStill @ "store/rules.rs: DEAD_STILL" => In("names");
    /// A Request is put only where there is none or one whose time is over.
    KeyNew @ "store/rules.rs: KEY_NEW" => In("keys");
    /// A Request is replaced only while it carries the secret whose claim was judged dead.
    KeyAsJudged @ "store/rules.rs: KEY_AS_JUDGED" => In("keys");
    /// A Port item with the very secret that was to be put is this call's own: the claim stands.
    OwnClaim @ "store/claim.rs: claim" => Spare("*OwnAnswered* recognizes it later. Kept: it saves a candidate and the requests that would discover it.");
    /// A transaction that is retried keeps its token.
    StableToken @ "store/transact.rs: transact" => In("copies");
    /// An offer has an expiry.
    OfferExpires @ "operations/scene.rs: new_claim" => In("names");
    /// A claim that is dead and not gone is judged *Dead*, not *Gone*.
    DeadIsNotGone @ "operations/offer/earlier.rs: judge_old_claim" => In("names");
    /// The Instance's claim is on its port only if the Port item has the Instance's secret.
    JudgeSecret @ "operations/offer/earlier.rs: judge_old_claim" => In("replies");
    /// The Port item to which an Instance points is read settled.
    JudgeSettled @ "operations/offer/earlier.rs: judge_old_claim" => In("halves");
    /// A port that is cooling because its lease was made gone early still has the name for the margin, for another owner.
    CoolingHoldsName @ "operations/offer/earlier.rs: gone" => In("early lapse");
    /// Only a claim with a lease moves a name to another port before the margin after its lease is over, even for the same owner.
    OnlyLeasedMoves @ "operations/scene.rs: early" => In("a lease moves as an offer");
    /// A claim that follows a lease of its owner's, made gone by a faster clock, is made as if it were the end of that lease.
    NotBefore @ "operations/scene.rs: now" => In("a lease moves and is withdrawn");
    /// What a call claims early follows a lease that may still run, and so does what is left of it if it is withdrawn.
    EarlyFollows @ "operations/scene.rs: claim_early" => In("a lease moves and is withdrawn");
    /// An Instance with the secret of a claim of this very call is the call's own claim, arrived late.
    OwnByInstance @ "operations/offer/losses.rs: of" => Spare("*OwnAnswered* recognizes it later. Kept: it saves a transaction.");
    /// The call's own late claim is the answer only if its Port item stands.
    OwnStands @ "operations/offer/earlier.rs: judge_own_claim" => In("replies with a key");
    /// `name-taken` is not answered about a claim of this very call.
    OwnAnswered @ "operations/offer/earlier.rs: name_taken" => In("releases");
    /// A key's claim is on its port only if the Port item has the key's secret.
    KeySecret @ "operations/offer/earlier.rs: judge_replay" => In("keys");
    /// A key returns its claim again only while the claim is live.
    KeyLive @ "operations/offer/earlier.rs: judge_replay" => In("keys");
    /// A key can be used again only once its claim is dead.
    KeyDead @ "operations/offer/earlier.rs: judge_replay" => In("keys");
    /// A key with another body is refused.
    KeyBody @ "operations/offer/earlier.rs: judge_replay" => In("keys");
    /// The Port item to which a Request points is read settled.
    KeySettled @ "operations/offer/earlier.rs: judge_replay" => In("halves with a key");
    /// The Service is read before an offer is returned.
    LookExists @ "operations/offer.rs: next" => In("shrinking");
    /// The Service is read after the claim, not alongside it.
    LookAfter @ "operations/offer.rs: next" => In("shrinking");
    /// The Service is read consistently.
    LookConsistent @ "store/services.rs: service" => In("shrinking");
    /// A port that is being given up is not returned, although it is in the range.
    LookAtMark @ "operations/offer/confirm.rs: confirm" => In("shrinking");
    /// A port outside the range is not returned.
    LookAtRange @ "operations/offer/confirm.rs: confirm" => In("shrinking");
    /// A replay is confirmed like a claim.
    LookAtReplay @ "operations/offer/confirm.rs: confirm" => In("keyed deletion");
    /// A claim is told only with the terms that the look shows; otherwise it is withdrawn, and made again.
    LookAtTerms @ "operations/offer/confirm.rs: confirm" => In("terms of a PUT");
    /// A PUT without a lease claims an offer, and accepts it once it has looked.
    PutOffers @ "operations/scene.rs: new_claim" => In("retries without a lease");
    /// A PUT looks at the service before it tells a claim that it adopts.
    AdoptLook @ "operations/offer.rs: next" => In("retries without a lease");
    /// A PUT adopts only its own owner's claim.
    AdoptOwner @ "operations/scene.rs: may_adopt" => In("retries without a lease");
    /// A PUT adopts an offer only if a PUT made it.
    AdoptPut @ "operations/scene.rs: may_adopt" => In("a PUT and a POST");
    /// The write by which a PUT or a renewal confirms a claim gives it the terms that the look showed.
    AdoptTerms @ "operations/scene.rs: extend" => In("terms of a PUT");
    /// A lease that is longer already is answered as it stands only if it is confirmed; otherwise it is confirmed first.
    ConfirmLonger @ "operations/lease.rs: renew" => In("retries");
    /// A PUT's claim is not withdrawn because its confirmation failed.
    PutStays @ "operations/offer/confirm.rs: confirm" => Spare("an adopter confirms the claim before it tells it, and what is confirmed is not withdrawn (*WithdrawUnconfirmed*, *RejectOffered*). Kept: the owner's retry gets the same port, and a claim costs less than a withdrawal and another claim.");
    /// A claim made with a key is not withdrawn because its confirmation failed.
    KeyedStays @ "operations/offer/confirm.rs: confirm" => In("keyed deletion");
    /// A request that was only shown a claim by a replay does not withdraw it.
    ReplayStays @ "operations/offer/confirm.rs: confirm" => In("flapping");
    /// A claim that could not be withdrawn because it was accepted is not gone.
    WithdrawnIsGone @ "operations/offer/confirm.rs: withdraw" => In("flapping");
    /// Accept, reject, release and renewal read the clock at each send, and not when the call begins.
    ClockAtSend @ "store/holders.rs: accept, reject, release_claim, release_port, renew" => In("releases");
    /// Accept: the secret matches.
    AcceptSecret @ "store/rules.rs: ACCEPT_SECRET" => In("holders");
    /// Accept: the service matches.
    AcceptService @ "store/rules.rs: ACCEPT_SERVICE" => In("wrong service");
    /// Accept: the state is *offered*.
    AcceptOffered @ "store/rules.rs: ACCEPT_OFFERED" => In("accepts with a lease");
    /// Accept: `expires_at > :now`.
    AcceptLive @ "store/rules.rs: ACCEPT_LIVE" => In("holders");
    /// Accept: the terms are what they were taken for.
    AcceptTerms @ "store/rules.rs: ACCEPT_TERMS, ACCEPT_NO_TERMS" => In("terms of an offer");
    /// An accept that finds its own allocation returns it.
    AcceptAgain @ "store/holders.rs: accept" => In("holders");
    /// Reject and withdrawal: the secret matches.
    RejectSecret @ "store/rules.rs: REJECT_SECRET" => In("holders");
    /// Reject: the service matches.
    RejectService @ "store/rules.rs: REJECT_SERVICE" => In("wrong service");
    /// Reject and withdrawal: the state is *offered*.
    RejectOffered @ "store/rules.rs: REJECT_OFFERED" => In("accepts with a lease");
    /// Reject and withdrawal: `expires_at > :now`.
    RejectLive @ "store/rules.rs: REJECT_LIVE" => In("holders");
    /// A reject that finds its offer accepted answers so, even in doubt.
    RejectTold @ "operations/holder.rs: reject" => In("holders");
    /// Release by name, and release of an allocation that was seen: the secret matches.
    ReleaseSecret @ "store/rules.rs: RELEASE_SECRET" => In("fast accept");
    /// Release by name: `accepted <= :sent`; release of an allocation that was seen: `accepted` is no later than seen.
    ReleaseSent @ "store/rules.rs: RELEASE_SENT" => In("releases");
    /// Release by name: the owner is the one that is named, or there is none.
    ReleaseOwner @ "store/rules.rs: RELEASE_OWNER, RELEASE_UNOWNED" => In("other owners");
    /// Release by name: the terms are what they were taken for.
    ReleaseTerms @ "store/rules.rs: RELEASE_TERMS, RELEASE_NO_TERMS" => In("terms of an offer");
    /// Release by port: the service matches.
    ReleasePortService @ "store/rules.rs: RELEASE_PORT_SERVICE" => In("late release");
    /// Release by port: `accepted <= :sent`.
    ReleasePortSent @ "store/rules.rs: RELEASE_PORT_SENT" => In("releases");
    /// Release by port: the owner is the one that is named, or there is none.
    ReleasePortOwner @ "store/rules.rs: RELEASE_PORT_OWNER, RELEASE_PORT_UNOWNED" => In("wrong holders");
    /// Release by port: the terms are what they were taken for.
    ReleasePortTerms @ "store/rules.rs: RELEASE_PORT_TERMS, RELEASE_PORT_NO_TERMS" => In("terms");
    /// Release by port is sent once.
    ReleasePortOnce @ "store/holders.rs: release_port" => In("releases");
    /// A release with a cool-down takes state, secret and lease off the item; it does not only make the lease end.
    ReleaseStrips @ "store/holders.rs: release_claim, release_port" => In("gone for good");
    /// Renewal by name, by a PUT, or as it was seen: the secret matches.
    RenewSecret @ "store/rules.rs: RENEW_SECRET" => In("other names");
    /// Renewal by port: the service matches.
    RenewService @ "store/rules.rs: RENEW_SERVICE" => In("wrong holders");
    /// Renewal by port: `accepted <= :sent`.
    RenewSent @ "store/rules.rs: RENEW_SENT" => In("other names");
    /// Renewal: the state is *allocated*.
    RenewAllocated @ "store/rules.rs: RENEW_ALLOCATED" => Spare("only an allocation has a secret and a `lease_until`, or an `accepted`: a release and a lapse take the secret and `accepted` off (*ReleaseStrips*). Kept: an item is not to become an allocation by a mistake elsewhere.");
    /// Renewal: the owner is the one that is named, or there is none.
    RenewOwner @ "store/rules.rs: RENEW_OWNER, RENEW_UNOWNED" => In("wrong holders");
    /// Renewal: `lease_until > :now`.
    RenewLive @ "store/rules.rs: RENEW_LIVE" => Spare("whoever takes over a lease that is over takes its secret off first, or puts another in its place; so a renewal that still finds it harms nobody. Kept: its holder hears that the lease was over (410).");
    /// Renewal: the lease does not become shorter.
    RenewLonger @ "store/rules.rs: RENEW_LONGER" => In("strangers");
    /// Renewal: the claim is confirmed, or the service was looked at.
    RenewConfirmed @ "store/rules.rs: RENEW_CONFIRMED" => In("early renewal");
    /// Renewal: the terms are what they were taken for.
    RenewTerms @ "store/rules.rs: RENEW_TERMS, RENEW_NO_TERMS" => In("terms");
    /// A lease that is found over is made gone before the answer says that it is lost.
    LapseFirst @ "operations/lease.rs: renew" => In("strangers");
    /// A lease is made gone only under the secret that was seen.
    LapseSecret @ "store/rules.rs: LAPSE_SECRET" => In("strangers");
    /// For its own holder, a lease is made gone only once it is over.
    LapseOwn @ "store/rules.rs: LAPSE_OWN" => In("accepts with a lease");
    /// For anybody else, a lease is made gone only once it has been over for the margin.
    LapseOver @ "store/rules.rs: LAPSE_OVER" => In("lapsed deletion");
    /// A maker withdraws an allocation that it told nobody of only under its secret.
    WithdrawSecret @ "store/rules.rs: WITHDRAW_SECRET" => In("terms of a PUT");
    /// And only while nobody else has confirmed it.
    WithdrawUnconfirmed @ "store/rules.rs: WITHDRAW_UNCONFIRMED" => In("retries");
    /// An allocation that its maker withdraws leaves the port cooling, as after a lease that was over when the claim was made, if it may follow a lease that still runs.
    WithdrawCools @ "store/holders.rs: withdraw" => In("a lease comes back and is withdrawn");
    /// A cool-down or quarantine is lifted only from a port that nobody has.
    Lift @ "store/rules.rs: LIFT" => Spare("not modelled: an operator's call, which ends a cool-down on purpose.");
    /// A service is created only if there is none of its name.
    CreateAbsent @ "store/rules.rs: CREATE_ABSENT" => In("creation");
    /// A service is created only in a namespace that exists.
    CreateNamespace @ "store/rules.rs: CREATE_NAMESPACE" => In("namespaces");
    /// Ranges is put only with the version that was read.
    RangesVersion @ "store/rules.rs: RANGES_VERSION, RANGES_ABSENT" => In("creation");
    /// The ports that a service is to get are free, by Ranges as it was read.
    RangesFree @ "operations/services.rs: create_service, is_free" => In("creation");
    /// The content of a service is changed only if the service is as it was read.
    ContentAsRead @ "store/rules.rs: CONTENT_AS_READ" => In("moves");
    /// A mark is set only if the service is as it was read.
    MarkAsRead @ "store/rules.rs: MARK_AS_READ" => In("marks");
    /// A mark is taken off, by its setter or the reconciler, only while it is the same mark.
    UnmarkAsRead @ "store/rules.rs: UNMARK_AS_READ" => In("marks");
    /// A range is changed only while the service is as it was read or marked.
    ResizeAsRead @ "store/rules.rs: RESIZE_AS_READ" => In("moves");
    /// A service is deleted only under the very mark that was set.
    DeleteAsRead @ "store/rules.rs: DELETE_AS_READ" => In("marks");
    /// Setting a mark is a new revision.
    MarkRevises @ "operations/services.rs: marked" => In("overtaking");
    /// Taking a mark off is a new revision.
    UnmarkRevises @ "operations/services.rs: unmark" => In("marks");
    /// A revision is random: none occurs twice, not even in a later service of the same name.
    RevisionRandom @ "operations/services.rs: marked, create_service" => In("re-creation");
    /// The mark is set before live claims are queried.
    MarkFirst @ "operations/services.rs: delete_service, shrink" => In("shrinking");
    /// The query for live claims is consistent.
    QueryConsistent @ "store/ports.rs: holdings" => In("shrinking");
    /// A live claim causes a refusal.
    LiveRefuses @ "operations/services.rs: clear" => Spare("a live claim cannot be removed as dead, so *RevivedRefuses* causes a refusal as well. Kept: without it a refused deletion would have removed items, at a write for each claim.");
    /// Dead claims are removed before the service or the part of its range is given up.
    DeadFirst @ "operations/services.rs: clear" => In("deletion");
    /// A dead claim that was accepted before it could be removed causes a refusal.
    RevivedRefuses @ "operations/services.rs: clear" => In("deletion");
    /// A namespace is created only if there is none of its name.
    NamespaceNew @ "store/rules.rs: NAMESPACE_NEW" => In("new namespaces");
    /// A namespace exactly as it was to be created is the call's own: it was created.
    OwnNamespace @ "store/namespaces.rs: create_namespace" => In("new namespaces");
    /// A namespace whose description changes is the one that was read.
    NamespaceAsRead @ "store/rules.rs: NAMESPACE_AS_READ" => Spare("not modelled: no decision rests on a description.");
    /// A namespace is deleted only if it exists.
    NamespaceExists @ "store/rules.rs: NAMESPACE_EXISTS" => In("new namespaces");
    /// A namespace is deleted only while Ranges has the version that was read.
    NamespaceRanges @ "store/rules.rs: NAMESPACE_RANGES, NAMESPACE_RANGES_ABSENT" => In("namespaces");
    /// A namespace is deleted only if no service has a port, by Ranges as it was read.
    RangesEmpty @ "operations/namespaces.rs: delete_namespace" => In("halves and namespaces");
    /// A service that is found in a namespace refuses its deletion.
    ServiceRefuses @ "operations/namespaces.rs: delete_namespace" => In("damage and namespaces");
    /// Ranges is read before the services that the deletion of a namespace looks for.
    ReadRangesFirst @ "operations/namespaces.rs: delete_namespace" => Spare("the ports and the version of Ranges are of one moment (*RangesEmpty*), whenever that is. Kept: it costs nothing, and does not rest on the ports in Ranges, which may be damaged.");
    /// A deletion that finds no namespace after an earlier send of it may have deleted it has deleted it.
    AbsentInDoubt @ "store/namespaces.rs: delete_namespace" => In("replies about a namespace");
    /// The names of a set that have no port yet are claimed in one transaction.
    SetAtOnce @ "operations/sets.rs: put_set" => In("sets");
    /// A set that is refused withdraws what it has claimed.
    SetWithdraws @ "operations/sets.rs: put_set" => In("sets without a lease");
    /// Leases that are over are made gone before the service or the part of its range is given up.
    LapsedFirst @ "operations/services.rs: clear" => In("lapsed deletion");
    /// A lease that was renewed before it could be made gone causes a refusal.
    RenewedRefuses @ "operations/services.rs: clear" => In("lapsed deletion");
    /// A dead claim is removed only if it is still dead.
    RemoveStill @ "store/rules.rs: REMOVE_STILL" => In("deletion");
    /// A mark exactly as it was to be set is the attempt's own: it stands.
    OwnMark @ "store/services.rs: rewrite_service" => Spare("an attempt that does not know its own mark waits, and overtakes it. Kept: it saves a second.");
    /// A service exactly as it was to be created is the call's own: it was created.
    OwnService @ "store/services.rs: with_ranges" => In("creation");
    /// An Instance is removed only if its claim is gone, not if it is merely dead.
    SweepGone @ "operations/reconcile.rs: judge" => In("sweeps");
    /// The reconciler, too, reads the Port item to which an Instance points settled.
    SweepSettled @ "operations/reconcile.rs: judge" => In("halves and sweeps");
    /// An Instance is removed only a week after its claim was first seen to be gone.
    SweepGrace @ "operations/reconcile.rs: examine" => In("early lapse and a sweep");
    /// The reconciler, a deletion and another owner make a lease gone only once it has been over for the margin.
    GoneByMargin @ "operations/reconcile.rs: judge" => Spare("*LapseOver* ensures it. Kept: it saves a write that fails.");
    /// That a claim is gone is noted only on the Instance that was seen.
    NoteSecret @ "store/rules.rs: NOTE_SECRET" => In("two sweeps");
    /// An Instance is removed only while it carries the secret of the claim that is gone.
    InstanceSecret @ "store/rules.rs: INSTANCE_SECRET" => In("halves and sweeps");
    /// A Request is removed only if its time is over.
    RequestOver @ "store/rules.rs: REQUEST_OVER" => In("old keys");
    /// That an orphan is about to be removed is noted only on the allocation that was seen.
    OrphanNote @ "store/rules.rs: ORPHAN_NOTE" => In("damage released");
    /// An orphan is removed only in a transaction that checks that its service is absent.
    OrphanService @ "store/rules.rs: ORPHAN_SERVICE" => In("damage");
    /// An orphan is removed only under the secret that was seen.
    OrphanSecret @ "store/rules.rs: ORPHAN_SECRET" => In("damage released");
    /// Ranges is rebuilt only with the version that was read.
    RebuildVersion @ "store/rules.rs: REBUILD_VERSION, REBUILD_ABSENT" => In("ranges");
    /// Ranges is read before the services that it is compared with.
    RebuildOrder @ "operations/reconcile/services.rs: compare" => Spare("the second comparison has the same version of Ranges before the services are read, in either order (*RebuildTwice*). Kept: it costs nothing.");
    /// Ranges is rebuilt only after two comparisons, the second when a transaction that was partly visible has become visible as a whole.
    RebuildTwice @ "operations/reconcile/services.rs: ranges" => In("halves and ranges");
}
