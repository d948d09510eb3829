//! Every rule that DynamoDB evaluates when it writes: one constant each.
//!
//! A constant has the name that the model has for it (`model/src/conditions.rs`), in capitals. A test of the model
//! compares the two lists, and `docs/model.md` says which world breaks without which rule. Rules of the same text have
//! a constant each, so that one can be removed without the other. `#x` always stands for the attribute `x`: hundreds of
//! plain words, `name` and `state` among them, are reserved in DynamoDB.

/// A rule, as a condition expression.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule(pub(super) &'static str);

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident: $text:literal;)+) => {
        $($(#[$doc])* pub(crate) const $name: Rule = Rule($text);)+

        /// Every rule.
        #[cfg(test)]
        pub(super) const ALL: &[Rule] = &[$($name),+];
    };
}

rules! {
    // A claim. An absent attribute is neither smaller nor greater than anything, so an item without an expiry is never
    // dead.

    /// Nobody holds the port: there is no item, or a dead one.
    PORT_IF_DEAD: "attribute_not_exists(#pk) OR #expires_at <= :now";
    /// A claim may also come back to a port that is not dead, if it is of the same name of the same service, and one of
    /// the three rules after this holds.
    RETURN_NAME: "#service = :service AND #name = :name";
    /// The port was released, so nobody uses it.
    RETURN_COOLED: "#state = :cooling AND attribute_not_exists(#lease_until)";
    /// The lease is over, and the owner is the same: it is the same holder.
    RETURN_OWNER: "#lease_until <= :now AND #owner = :owner";
    /// The same, for a claim without an owner.
    RETURN_UNOWNED: "#lease_until <= :now AND attribute_not_exists(#owner)";
    /// The lease is over by more than clocks differ: even its holder knows.
    RETURN_LAPSED: "#lease_until <= :past";
    /// The name was never used, or its last claim was on this port, which [`PORT_IF_DEAD`] shows to be dead.
    NAME_FREE: "attribute_not_exists(#pk) OR #port = :port";
    /// The name's last claim is not this very one. A claim with a lease may have been released since an earlier copy of
    /// this request made it; where the table knows no tokens, it must not come back.
    NAME_NEW: "attribute_not_exists(#secret) OR #secret <> :secret";
    /// The name's last claim is the one that was judged.
    NAME_AS_JUDGED: "attribute_not_exists(#pk) OR #secret = :was";
    /// The claim that is removed to make way is still dead.
    DEAD_STILL: "#expires_at <= :now";
    /// The key is not in use.
    KEY_NEW: "attribute_not_exists(#pk) OR #expires_at <= :now";
    /// The key is not in use, or only by the claim that was judged dead.
    KEY_AS_JUDGED: "attribute_not_exists(#pk) OR #expires_at <= :now OR #secret = :was";

    // An accept.

    /// Only the holder of the secret passes, and nobody else ever has that secret.
    ACCEPT_SECRET: "#secret = :secret";
    /// The offer belongs to the service in whose name it is accepted.
    ACCEPT_SERVICE: "#service = :service";
    /// It is an offer, and not an allocation with a lease: a second accept would set the lease back.
    ACCEPT_OFFERED: "#state = :offered";
    /// It has not expired.
    ACCEPT_LIVE: "#expires_at > :now";
    /// It was made under the terms by which its lease was computed.
    ACCEPT_TERMS: "#terms = :terms";
    /// The same, for the terms that every service has by default.
    ACCEPT_NO_TERMS: "attribute_not_exists(#terms)";

    // A rejection, by the holder or by the call that made the offer and withdraws it.

    /// Only the holder of the secret passes.
    REJECT_SECRET: "#secret = :secret";
    /// The offer belongs to the service in whose name it is rejected.
    REJECT_SERVICE: "#service = :service";
    /// It is still an offer: an allocation with a lease has an expiry as well.
    REJECT_OFFERED: "#state = :offered";
    /// It has not expired.
    REJECT_LIVE: "#expires_at > :now";

    // The withdrawal of an allocation that a PUT made and that no caller was told of.

    /// The claim is the one that the call made.
    WITHDRAW_SECRET: "#secret = :secret";
    /// Nobody has looked at its service and told a caller of it since.
    WITHDRAW_UNCONFIRMED: "attribute_not_exists(#confirmed)";

    // A renewal.

    /// The allocation is the one that was meant.
    RENEW_SECRET: "#secret = :secret";
    /// By number: the allocation belongs to the service.
    RENEW_SERVICE: "#service = :service";
    /// By number: it began no later than the renewal was sent.
    RENEW_SENT: "#accepted <= :sent";
    /// It is an allocation, and not a port that is cooling.
    RENEW_ALLOCATED: "#state = :allocated";
    /// It is its holder's.
    RENEW_OWNER: "#owner = :owner";
    /// The same, for an allocation without an owner.
    RENEW_UNOWNED: "attribute_not_exists(#owner)";
    /// The lease is not over; or there is none.
    RENEW_LIVE: "attribute_not_exists(#lease_until) OR #lease_until > :now";
    /// The new lease is no shorter than the old one.
    RENEW_LONGER: "#lease_until <= :until";
    /// The service was seen to offer the port after the claim was made.
    RENEW_CONFIRMED: "attribute_exists(#confirmed)";
    /// It was made under the terms by which its lease was computed.
    RENEW_TERMS: "#terms = :terms";
    /// The same, for the terms that every service has by default.
    RENEW_NO_TERMS: "attribute_not_exists(#terms)";

    // The end of a claim.

    /// The claim that is removed as dead is dead.
    REMOVE_STILL: "#expires_at <= :now";
    /// The allocation is the one that was meant.
    RELEASE_SECRET: "#secret = :secret";
    /// It began no later than the release was sent, or than the beginning that was read. Only allocations have an
    /// `accepted`.
    RELEASE_SENT: "#accepted <= :sent";
    /// It is its holder's who releases it.
    RELEASE_OWNER: "#owner = :owner";
    /// The same, for an allocation without an owner.
    RELEASE_UNOWNED: "attribute_not_exists(#owner)";
    /// It was made under the terms whose cool-down begins.
    RELEASE_TERMS: "#terms = :terms";
    /// The same, for the terms that every service has by default.
    RELEASE_NO_TERMS: "attribute_not_exists(#terms)";
    /// The allocation belongs to the service.
    RELEASE_PORT_SERVICE: "#service = :service";
    /// It began no later than the release was sent.
    RELEASE_PORT_SENT: "#accepted <= :sent";
    /// It is its holder's who releases it.
    RELEASE_PORT_OWNER: "#owner = :owner";
    /// The same, for an allocation without an owner.
    RELEASE_PORT_UNOWNED: "attribute_not_exists(#owner)";
    /// It was made under the terms whose cool-down begins.
    RELEASE_PORT_TERMS: "#terms = :terms";
    /// The same, for the terms that every service has by default.
    RELEASE_PORT_NO_TERMS: "attribute_not_exists(#terms)";
    /// The lapsed allocation is the one that was judged.
    LAPSE_SECRET: "#secret = :secret";
    /// Its lease is over: for its own holder.
    LAPSE_OWN: "#lease_until <= :now";
    /// Its lease is over by more than clocks differ: for everybody else.
    LAPSE_OVER: "#lease_until <= :past";
    /// An operator ends a quarantine, or a cool-down: one after a release, or one after a lease that is over by more than
    /// clocks differ.
    LIFT: "#state = :quarantined OR (#state = :cooling AND attribute_not_exists(#lease_until)) OR #lease_until <= :past";

    // A service and its range.

    /// There is no service of this name.
    CREATE_ABSENT: "attribute_not_exists(#pk)";
    /// The namespace of a new service exists.
    CREATE_NAMESPACE: "attribute_exists(#pk)";
    /// A new content: the service is as it was read.
    CONTENT_AS_READ: "#revision = :revision";
    /// A mark: the service is as it was read.
    MARK_AS_READ: "#revision = :revision";
    /// A mark is taken off: it is still the same mark.
    UNMARK_AS_READ: "#revision = :revision";
    /// A new range: the service is as it was read or marked.
    RESIZE_AS_READ: "#revision = :revision";
    /// A deletion: the mark is the one that was set.
    DELETE_AS_READ: "#revision = :revision";
    /// Nobody has written Ranges since it was read.
    RANGES_VERSION: "#version = :version";
    /// The same, if there was no Ranges item.
    RANGES_ABSENT: "attribute_not_exists(#version)";

    // A namespace.

    /// There is no namespace of this name.
    NAMESPACE_NEW: "attribute_not_exists(#pk)";
    /// The namespace whose description changes is the one that was read.
    NAMESPACE_AS_READ: "#version = :version";
    /// The namespace that is deleted exists.
    NAMESPACE_EXISTS: "attribute_exists(#pk)";
    /// No service was created in it since Ranges was read.
    NAMESPACE_RANGES: "#version = :version";
    /// The same, if there was no Ranges item.
    NAMESPACE_RANGES_ABSENT: "attribute_not_exists(#version)";

    // The reconciler.

    /// The Instance is the one whose claim is gone.
    NOTE_SECRET: "#secret = :secret";
    /// The Instance still is the one whose claim is gone.
    INSTANCE_SECRET: "#secret = :secret";
    /// The key has expired.
    REQUEST_OVER: "#expires_at <= :now";
    /// The allocation that is about to be removed is the one that was read.
    ORPHAN_NOTE: "#secret = :secret";
    /// The allocation's service does not exist.
    ORPHAN_SERVICE: "attribute_not_exists(#pk)";
    /// The allocation is the one that was read.
    ORPHAN_SECRET: "#secret = :secret";
    /// Nobody has written Ranges since before the services were read.
    REBUILD_VERSION: "#version = :version";
    /// The same, if there was no Ranges item.
    REBUILD_ABSENT: "attribute_not_exists(#version)";
}
