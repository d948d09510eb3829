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
    /// The name was never used, or its last claim was on this port, which [`PORT_IF_DEAD`] shows to be dead.
    NAME_FREE: "attribute_not_exists(#pk) OR #port = :port";
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
    /// It is an offer. Today [`ACCEPT_LIVE`] implies it, since only offers have an expiry; an allocation with a lease
    /// will have one too.
    ACCEPT_OFFERED: "#state = :offered";
    /// It has not expired.
    ACCEPT_LIVE: "#expires_at > :now";

    // A rejection, by the holder or by the call that made the offer and withdraws it.

    /// Only the holder of the secret passes.
    REJECT_SECRET: "#secret = :secret";
    /// The offer belongs to the service in whose name it is rejected.
    REJECT_SERVICE: "#service = :service";
    /// It is still an offer; see [`ACCEPT_OFFERED`].
    REJECT_OFFERED: "#state = :offered";
    /// It has not expired.
    REJECT_LIVE: "#expires_at > :now";

    // The end of a claim, without its holder.

    /// The claim that is removed as dead is dead.
    REMOVE_STILL: "#expires_at <= :now";
    /// The allocation is the one that was meant.
    RELEASE_SECRET: "#secret = :secret";
    /// It began no later than the release was sent, or than the beginning that was read. Only allocations have an
    /// `accepted`.
    RELEASE_SENT: "#accepted <= :sent";
    /// The allocation belongs to the service.
    RELEASE_PORT_SERVICE: "#service = :service";
    /// It began no later than the release was sent.
    RELEASE_PORT_SENT: "#accepted <= :sent";

    // A service and its range.

    /// There is no service of this name.
    CREATE_ABSENT: "attribute_not_exists(#pk)";
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

    // The reconciler.

    /// The Instance is the one whose claim is gone.
    NOTE_SECRET: "#secret = :secret";
    /// The Instance still is the one whose claim is gone.
    INSTANCE_SECRET: "#secret = :secret";
    /// The key has expired.
    REQUEST_OVER: "#expires_at <= :now";
    /// The allocation's service does not exist.
    ORPHAN_SERVICE: "attribute_not_exists(#pk)";
    /// The allocation is the one that was read.
    ORPHAN_SECRET: "#secret = :secret";
    /// Nobody has written Ranges since before the services were read.
    REBUILD_VERSION: "#version = :version";
    /// The same, if there was no Ranges item.
    REBUILD_ABSENT: "attribute_not_exists(#version)";
}
