//! The worlds of leases and owners.

use super::{A, AB, B, FAST, accept, change, delete, held, offer, release_name};
use crate::table::{Name, Owner, Port, Tick};
use crate::world::{By, Claim, Of, Script, World};

/// A clock that is slow, and nothing else.
const LATE: &[Tick] = &[-1];

fn leased(port: Port, name: Name, until: Tick, owner: Option<Owner>) -> Claim {
    Claim { lease: Some(until), owner, ..held(port, name, 0, None) }
}

fn put(name: Name, owner: Option<Owner>, lease: Tick) -> Script {
    Script::Put { service: 0, name, owner, lease: Some(lease) }
}

fn put_unleased(name: Name, owner: Option<Owner>) -> Script {
    Script::Put { service: 0, name, owner, lease: None }
}

fn renew_name(name: Name, owner: Option<Owner>, lease: Tick) -> Script {
    Script::RenewName { service: 0, name, owner, lease }
}

fn renew_port(port: Port, owner: Option<Owner>, lease: Tick) -> Script {
    Script::RenewPort { service: 0, port, owner, lease }
}

fn accept_leased(of: Of, lease: Tick) -> Script {
    Script::Accept { of, service: 0, lease: Some(lease) }
}

fn set(owner: Option<Owner>, lease: Option<Tick>) -> Script {
    Script::Set { service: 0, owner, lease }
}

/// The worlds of leases.
pub(super) fn worlds() -> Vec<World> {
    vec![
        World {
            ticks: 2,
            claims: vec![leased(0, 0, 1, Some(0))],
            ..World::new("lapse", "a lease ends under its holder, and others want the name", [Some(AB), None])
        }
        .with_clocks(renew_name(0, Some(0), 1), LATE)
        .with(put(0, Some(0), 1))
        .with(put(0, Some(1), 1)),
        World {
            ports: 1,
            ticks: 3,
            ttl: true,
            claims: vec![leased(0, 0, 1, Some(0))],
            ..World::new(
                "strangers",
                "a lease ends under its holder, and its port goes to another name",
                [Some(A), None],
            )
        }
        .with_clocks(renew_port(0, Some(0), 1), LATE)
        .with(put(1, Some(1), 1))
        .with(renew_name(0, Some(0), 2)),
        World {
            ticks: 2,
            lost: 1,
            claims: vec![leased(0, 0, 1, Some(0))],
            ..World::new(
                "early lapse",
                "a lease is made gone for its own holder, and another owner wants the name",
                [Some(AB), None],
            )
        }
        .with_clocks(renew_name(0, Some(0), 1), LATE)
        .with(renew_name(0, Some(0), 2))
        .with(put(0, Some(1), 1)),
        World {
            stops: 1,
            ..World::new("retries", "a job's PUT is retried, and the range is shrunk", [Some(AB), None])
        }
        .with(put(0, Some(0), 2))
        .with(put(0, Some(0), 1))
        .with(change(0, A))
        .with(change(0, AB)),
        World {
            stops: 1,
            ..World::new(
                "retries without a lease",
                "a job's PUT without a lease is retried, and the service is deleted",
                [Some(AB), None],
            )
        }
        .with(put_unleased(0, Some(0)))
        .with(put_unleased(0, Some(0)))
        .with(put_unleased(0, Some(1)))
        .with(delete()),
        World::new("a PUT and a POST", "a PUT finds its name offered to somebody else", [Some(A), None])
            .with(offer(0))
            .with(put_unleased(0, None))
            .with(accept(0)),
        World::new(
            "early renewal",
            "a lease is renewed before it was told, and the service is deleted",
            [Some(A), None],
        )
        .with(put(0, Some(0), 2))
        .with(renew_port(0, Some(0), 2))
        .with(renew_name(0, Some(0), 1))
        .with(delete()),
        World {
            ticks: 1,
            lost: 1,
            late: 1,
            claims: vec![held(0, 0, 0, Some(2))],
            ..World::new(
                "accepts with a lease",
                "an offer is accepted with a lease and renewed, while others accept and reject it",
                [Some(A), None],
            )
        }
        .with(accept_leased(Of::Claim(0), 1))
        .with(renew_name(0, None, 3))
        .with(Script::Reject { of: Of::Claim(0), service: 0 }),
        World {
            ports: 1,
            ticks: 3,
            cools: [true, false],
            claims: vec![leased(0, 0, 1, Some(0))],
            ..World::new("terms", "a port cools down, and calls guess whether it does", [Some(A), None])
        }
        .with(renew_port(0, Some(0), 1))
        .with(Script::ReleasePort { service: 0, port: 0, by: By::Anybody })
        .with(put(1, Some(1), 1)),
        World {
            ports: 1,
            ticks: 2,
            cools: [true, false],
            claims: vec![held(0, 0, 0, Some(2))],
            ..World::new("terms of an offer", "the same, with an offer that is accepted", [Some(A), None])
        }
        .with(accept_leased(Of::Claim(0), 1))
        .with(Script::ReleaseName { service: 0, name: 0, by: By::Owner(None) })
        .with(offer(1)),
        World {
            ports: 1,
            tries: 1,
            cools: [true, false],
            ..World::new("terms of a PUT", "the same, with a claim that is adopted", [Some(A), None])
        }
        .with(put(0, Some(0), 1))
        .with(put(0, Some(0), 1))
        .with(Script::ReleasePort { service: 0, port: 0, by: By::Owner(Some(0)) })
        .with(offer(1)),
        World {
            ports: 1,
            ticks: 1,
            late: 1,
            cools: [true, false],
            claims: vec![leased(0, 0, 2, Some(0))],
            ..World::new(
                "gone for good",
                "a late copy of a renewal arrives after a release with a cool-down",
                [Some(A), None],
            )
        }
        .with(renew_name(0, Some(0), 2))
        .with(Script::ReleaseName { service: 0, name: 0, by: By::Owner(Some(0)) })
        .with(put(1, Some(1), 1)),
        World {
            ports: 1,
            ticks: 1,
            late: 1,
            claims: vec![leased(0, 0, 3, None)],
            ..World::new("other names", "late renewals and releases find another name's lease", [Some(A), None])
        }
        .with(renew_port(0, None, 2))
        .with(renew_name(0, None, 2))
        .with(Script::ReleasePort { service: 0, port: 0, by: By::Owner(None) })
        .with(offer(1))
        .with(accept_leased(Of::Call(3), 2)),
        World {
            ports: 1,
            late: 1,
            claims: vec![held(0, 0, 0, None)],
            ..World::new(
                "late release of a lease",
                "a release is late, and its port is leased to the next",
                [Some(A), None],
            )
        }
        .with(Script::ReleasePort { service: 0, port: 0, by: By::Owner(None) })
        .with(release_name(0))
        .with(put(1, None, 2)),
        World {
            ports: 1,
            claims: vec![leased(0, 0, 3, Some(0))],
            ..World::new("wrong holders", "a lease is renewed and released by others", [Some(A), Some(B)])
        }
        .with(renew_port(0, Some(1), 4))
        .with(Script::RenewPort { service: 1, port: 0, owner: Some(0), lease: 4 })
        .with(Script::ReleasePort { service: 0, port: 0, by: By::Owner(Some(1)) })
        .with(Script::ReleasePort { service: 0, port: 0, by: By::Anybody }),
        World {
            halves: true,
            ticks: 1,
            ..World::new(
                "halves of a PUT",
                "a PUT's claim is partly visible while its owner retries it and renews",
                [Some(AB), None],
            )
        }
        .with(put(0, Some(0), 1))
        .with(put(0, Some(0), 2))
        .with(renew_name(0, Some(0), 1)),
        World {
            tokens: false,
            lost: 1,
            ..World::new(
                "replies to a PUT",
                "a response is lost where the table knows no tokens, and the name is released",
                [Some(AB), None],
            )
        }
        .with(put(0, Some(0), 1))
        .with(put(0, Some(0), 2))
        .with(Script::ReleaseName { service: 0, name: 0, by: By::Owner(Some(0)) }),
        World {
            ports: 1,
            ticks: 1,
            late: 1,
            claims: vec![leased(0, 0, 3, Some(0))],
            ..World::new("other owners", "late renewals and releases find another owner's lease", [Some(A), None])
        }
        .with(renew_port(0, Some(0), 2))
        .with(Script::ReleasePort { service: 0, port: 0, by: By::Owner(Some(0)) })
        .with(Script::ReleaseName { service: 0, name: 0, by: By::Owner(Some(0)) })
        .with(put(0, Some(1), 2)),
        World {
            ticks: 3,
            late: 1,
            ttl: true,
            cools: [true, false],
            claims: vec![leased(0, 0, 1, Some(0))],
            ..World::new("lapsed deletion", "a service is deleted while a lease ends", [Some(A), None])
        }
        .with_clocks(renew_name(0, Some(0), 3), LATE)
        .with(delete())
        .with(Script::SweepPort { port: 0 }),
        World { stops: 1, ..World::new("sets", "two sets want the same names and ports", [Some(AB), None]) }
            .with(set(Some(0), Some(1)))
            .with(set(Some(1), Some(1))),
        World { tries: 1, ..World::new("sets of one owner", "two sets of one owner, and a release", [Some(AB), None]) }
            .with(set(Some(0), Some(1)))
            .with(set(Some(0), Some(2)))
            .with(Script::ReleaseName { service: 0, name: 1, by: By::Anybody }),
        World {
            ..World::new(
                "sets without a lease",
                "a set without a lease, a PUT for one of its names, and a deletion",
                [Some(AB), None],
            )
        }
        .with(set(Some(0), None))
        .with(put_unleased(1, Some(0)))
        .with(delete()),
        World {
            ticks: 1,
            claims: vec![leased(1, 1, 1, Some(0))],
            ..World::new("sets and a held name", "a set has a port for one name, and loses it", [Some(AB), None])
        }
        .with(set(Some(0), Some(1)))
        .with(put(1, Some(1), 1))
        .with(renew_name(1, Some(0), 1)),
        World {
            ticks: 1,
            claims: vec![held(0, 0, 0, Some(1)), Claim { secret: 1, ..held(1, 1, 0, Some(1)) }],
            ..World::new(
                "sets and dead names",
                "a set takes the ports of its names' dead offers, crosswise",
                [Some(AB), None],
            )
        }
        .with(set(None, Some(1)))
        .with_clocks(Script::Accept { of: Of::Claim(1), service: 0, lease: None }, LATE)
        .with(offer(0)),
        World {
            ports: 1,
            ..World::new("fast PUT", "a lease seems to begin after it is renewed and released", [Some(A), None])
        }
        .with_clocks(put(0, Some(0), 2), FAST)
        .with(renew_port(0, Some(0), 2))
        .with(Script::ReleasePort { service: 0, port: 0, by: By::Owner(Some(0)) })
        .with(put(1, Some(0), 2)),
        World {
            ports: 1,
            ticks: 3,
            ttl: true,
            cools: [true, false],
            claims: vec![leased(0, 0, 1, Some(0))],
            ..World::new("cool-down", "a lease ends and cools down, and a clock is slow", [Some(A), None])
        }
        .with_clocks(renew_name(0, Some(0), 1), LATE)
        .with(Script::ReleaseName { service: 0, name: 0, by: By::Owner(Some(0)) })
        .with(put(1, Some(1), 1)),
        World {
            ticks: 2,
            lost: 1,
            claims: vec![leased(0, 0, 1, Some(0))],
            ..World::new(
                "early lapse and a sweep",
                "the reconciler comes to a name whose lease was made gone",
                [Some(AB), None],
            )
        }
        .with(renew_name(0, Some(0), 1))
        .with_clocks(Script::SweepName { service: 0, name: 0 }, LATE)
        .with(put(0, Some(1), 1)),
        World {
            ticks: 1,
            lost: 1,
            claims: vec![leased(0, 0, 1, Some(0))],
            ..World::new(
                "slow retry",
                "a lease is made gone for its own holder, whose PUT has a slow clock",
                [Some(AB), None],
            )
        }
        .with(renew_name(0, Some(0), 1))
        .with_clocks(put(0, Some(0), 1), LATE),
        World {
            late: 1,
            ..World::new(
                "copies of a PUT",
                "a second copy of a PUT's request arrives at any time later",
                [Some(AB), None],
            )
        }
        .with(put(0, Some(0), 1))
        .with(Script::ReleaseName { service: 0, name: 0, by: By::Anybody })
        .with(put(0, Some(1), 1)),
        World {
            ports: 1,
            ticks: 1,
            claims: vec![leased(0, 0, 1, None)],
            ..World::new(
                "a lease comes back as an offer",
                "a name whose lease ends is offered and rejected, and another name wants the port",
                [Some(A), None],
            )
        }
        .with_clocks(renew_name(0, None, 1), LATE)
        .with(offer(0))
        .with(Script::Reject { of: Of::Call(1), service: 0 })
        .with(put(1, Some(1), 1)),
        World {
            ports: 1,
            ticks: 1,
            cools: [false, true],
            claims: vec![leased(0, 0, 1, Some(0))],
            ..World::new(
                "a lease comes back and is withdrawn",
                "a PUT comes back to its port under wrong terms, and another name wants the port",
                [Some(A), None],
            )
        }
        .with_clocks(renew_name(0, Some(0), 1), LATE)
        .with(put(0, Some(0), 1))
        .with(put(1, Some(1), 1)),
        World {
            ticks: 1,
            lost: 1,
            claims: vec![leased(0, 0, 1, None)],
            ..World::new(
                "a lease moves as an offer",
                "a name whose lease ends is offered another port and rejects it, and another owner wants the name",
                [Some(AB), None],
            )
        }
        .with(renew_name(0, None, 1))
        .with(offer(0))
        .with(Script::Reject { of: Of::Call(1), service: 0 })
        .with_clocks(put(0, Some(1), 1), LATE),
        World {
            ticks: 1,
            lost: 1,
            cools: [false, true],
            claims: vec![leased(0, 0, 1, Some(0))],
            ..World::new(
                "a lease moves and is withdrawn",
                "a PUT with a slow clock claims another port under wrong terms, and another owner wants the name",
                [Some(AB), None],
            )
        }
        .with(renew_name(0, Some(0), 1))
        .with_clocks(put(0, Some(0), 1), LATE)
        .with(put(0, Some(1), 1)),
        World {
            ticks: 1,
            ..World::new(
                "mixed retries",
                "a PUT with a lease retries one without, and the service is deleted",
                [Some(A), None],
            )
        }
        .with(put_unleased(0, Some(0)))
        .with(put(0, Some(0), 1))
        .with(delete()),
    ]
}
