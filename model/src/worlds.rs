//! The worlds: each small and about a few conditions; together they are about all of them.

mod leases;
mod namespaces;

use crate::table::{Name, Port, Ports, Secret, ServiceId, Tick};
use crate::world::{By, Claim, Of, Script, World};

const A: Ports = 0b001;
const B: Ports = 0b010;
const C: Ports = 0b100;
const AB: Ports = 0b011;

const TRUE: &[Tick] = &[0];
const SLOW: &[Tick] = &[-1, 0];
const FAST: &[Tick] = &[0, 1];

fn offer(name: Name) -> Script {
    Script::Offer { service: 0, name, key: false }
}

fn keyed(name: Name) -> Script {
    Script::Offer { service: 0, name, key: true }
}

fn accept(call: usize) -> Script {
    Script::Accept { of: Of::Call(call), service: 0, lease: None }
}

fn reject(call: usize) -> Script {
    Script::Reject { of: Of::Call(call), service: 0 }
}

fn held(port: Port, name: Name, secret: Secret, expires: Option<Tick>) -> Claim {
    Claim { port, service: 0, name, secret, expires, lease: None, owner: None, key: false }
}

fn release_name(name: Name) -> Script {
    Script::ReleaseName { service: 0, name, by: By::Owner(None) }
}

fn release_port(port: Port) -> Script {
    Script::ReleasePort { service: 0, port, by: By::Owner(None) }
}

fn accept_old() -> Script {
    Script::Accept { of: Of::Claim(0), service: 0, lease: None }
}

fn accept_of(of: Of, service: ServiceId) -> Script {
    Script::Accept { of, service, lease: None }
}

fn reject_of(of: Of, service: ServiceId) -> Script {
    Script::Reject { of, service }
}

fn delete() -> Script {
    Script::Delete { service: 0 }
}

fn change(service: ServiceId, to: Ports) -> Script {
    Script::Change { service, to }
}

fn create(service: ServiceId, range: Ports) -> Script {
    Script::Create { service, range }
}

/// The worlds that the tests explore.
#[must_use]
pub fn worlds() -> Vec<World> {
    let mut worlds = claims_and_services();
    worlds.extend(leases::worlds());
    worlds.extend(namespaces::worlds());
    worlds
}

fn claims_and_services() -> Vec<World> {
    vec![
        // Names, and the claims in their way.
        World {
            ticks: 1,
            ttl: true,
            claims: vec![held(0, 0, 0, Some(1))],
            ..World::new("names", "a name is asked for twice while its old offer expires", [Some(AB), None])
        }
        .with_clocks(accept_old(), SLOW)
        .with_clocks(offer(0), FAST)
        .with_clocks(offer(0), TRUE)
        .with(accept(1)),
        World {
            ports: 1,
            ticks: 1,
            ttl: true,
            lost: 1,
            late: 1,
            claims: vec![held(0, 0, 0, Some(1))],
            ..World::new(
                "holders",
                "an old offer expires under its holders, and its port is offered again",
                [Some(A), None],
            )
        }
        .with_clocks(accept_of(Of::Claim(0), 0), SLOW)
        .with(accept_of(Of::Claim(0), 0))
        .with(reject_of(Of::Claim(0), 0))
        .with_clocks(offer(1), FAST),
        World {
            ports: 1,
            ticks: 1,
            claims: vec![held(0, 0, 0, Some(1))],
            ..World::new("wrong service", "an offer is accepted and rejected under another service", [Some(A), Some(C)])
        }
        .with(accept_of(Of::Claim(0), 1))
        .with(reject_of(Of::Claim(0), 1))
        .with(accept_of(Of::Claim(0), 0)),
        World {
            ports: 1,
            life: 2,
            lost: 1,
            late: 1,
            claims: vec![held(0, 0, 0, None)],
            ..World::new("releases", "an allocation is released twice, and its port goes to the next", [Some(A), None])
        }
        .with(release_port(0))
        .with(release_name(0))
        .with(offer(0))
        .with_clocks(accept(2), FAST),
        World {
            ports: 1,
            life: 2,
            late: 1,
            claims: vec![held(0, 0, 0, Some(2))],
            ..World::new(
                "fast accept",
                "an allocation seems to begin after its releases were sent, and its port goes to the next",
                [Some(A), None],
            )
        }
        .with_clocks(accept_old(), FAST)
        .with(release_port(0))
        .with(release_name(0))
        .with(offer(0))
        .with_clocks(accept(3), FAST),
        // Keys.
        World { ticks: 1, key_life: 2, ..World::new("keys", "one key for two bodies, three times", [Some(AB), None]) }
            .with(keyed(0))
            .with(keyed(0))
            .with(keyed(1))
            .with(accept(0))
            .with(reject(1)),
        World {
            ticks: 1,
            key_life: 1,
            ttl: true,
            claims: vec![Claim { key: true, ..held(0, 0, 0, Some(1)) }],
            ..World::new(
                "old keys",
                "a key's time ends while it is used, and the reconciler removes it",
                [Some(AB), None],
            )
        }
        .with(Script::SweepRequest)
        .with(keyed(0))
        .with(keyed(1))
        .with(accept_of(Of::Claim(0), 0)),
        // Services.
        World {
            ticks: 1,
            claims: vec![held(0, 0, 0, Some(1))],
            ..World::new(
                "deletion",
                "a service is deleted while an old offer expires and a new one is made",
                [Some(AB), None],
            )
        }
        .with_clocks(accept_old(), SLOW)
        .with_clocks(delete(), FAST)
        .with(offer(1)),
        World {
            ticks: 1,
            stops: 1,
            ..World::new("shrinking", "a range is shrunk while offers are made", [Some(AB), None])
        }
        .with(change(0, A))
        .with(offer(0))
        .with(offer(1))
        .with(accept(1)),
        World {
            stops: 1,
            ..World::new("keyed deletion", "a service is deleted while a key is used twice", [Some(A), None])
        }
        .with(delete())
        .with(keyed(0))
        .with(keyed(0))
        .with(accept(2)),
        World::new("flapping", "a range is shrunk and grown again while a key is used twice", [Some(AB), None])
            .with(change(0, A))
            .with(change(0, AB))
            .with(keyed(0))
            .with(keyed(0))
            .with(accept(2)),
        World {
            ports: 3,
            ..World::new("moves", "a port goes from one service to another, under a holder", [Some(AB), Some(C)])
        }
        .with(change(0, A))
        .with(change(1, B | C))
        .with(change(0, AB))
        .with(offer(0)),
        World {
            ports: 3,
            claims: vec![held(1, 0, 0, None)],
            ..World::new("late release", "a port is released by its old service", [Some(AB), Some(C)])
        }
        .with(release_port(1))
        .with(release_port(1))
        .with(change(0, A))
        .with(change(1, B | C))
        .with(Script::Offer { service: 1, name: 1, key: false })
        .with(accept_of(Of::Call(4), 1)),
        World {
            ports: 3,
            services: [None, None],
            lost: 1,
            tokens: false,
            ..World::new("creation", "services with overlapping ranges are created at the same moment", [None, None])
        }
        .with(create(0, A))
        .with(create(0, B))
        .with(create(1, B | C))
        .with(offer(0)),
        World {
            lost: 1,
            ..World::new("marks", "two deletions and the reconciler remove each other's marks", [Some(A), None])
        }
        .with(delete())
        .with(delete())
        .with(Script::SweepMark { service: 0 })
        .with(offer(0)),
        World::new(
            "overtaking",
            "a deletion is overtaken by a shrinking, which keeps a port on offer",
            [Some(AB), None],
        )
        .with(delete())
        .with(change(0, A))
        .with(offer(0)),
        World::new("re-creation", "a service is deleted and created again under another deletion", [Some(A), None])
            .with(delete())
            .with(delete())
            .with(create(0, A))
            .with(delete())
            .with(offer(0)),
        // Faults.
        World {
            tokens: false,
            lost: 2,
            ..World::new("replies", "responses are lost where the table knows no tokens", [Some(AB), None])
        }
        .with(offer(0))
        .with(offer(0))
        .with(offer(1)),
        World { tokens: false, lost: 2, ..World::new("replies with a key", "the same, with a key", [Some(AB), None]) }
            .with(keyed(0))
            .with(keyed(0))
            .with(reject(1)),
        World {
            late: 1,
            ..World::new("copies", "a second copy of a request arrives at any time later", [Some(AB), None])
        }
        .with(offer(0))
        .with(reject(0))
        .with(offer(0)),
        World {
            halves: true,
            tries: 3,
            ..World::new("halves", "transactions are partly visible while others claim the name", [Some(AB), None])
        }
        .with(offer(0))
        .with(offer(0)),
        World {
            halves: true,
            ..World::new(
                "halves with a key",
                "transactions are partly visible while others use the key",
                [Some(AB), None],
            )
        }
        .with(keyed(0))
        .with(keyed(1))
        .with(keyed(1)),
        World {
            halves: true,
            ticks: 1,
            life: 2,
            ..World::new("halves and sweeps", "the reconciler comes to a name while it is claimed", [Some(AB), None])
        }
        .with(offer(0))
        .with(offer(0))
        .with(Script::SweepName { service: 0, name: 0 }),
        // The reconciler.
        World {
            ticks: 2,
            ttl: true,
            claims: vec![held(0, 0, 0, Some(1))],
            ..World::new(
                "sweeps",
                "the reconciler comes to a name and to its port while both are used",
                [Some(AB), None],
            )
        }
        .with_clocks(accept_old(), SLOW)
        .with(Script::SweepPort { port: 0 })
        .with_clocks(Script::SweepName { service: 0, name: 0 }, FAST)
        .with(offer(0)),
        World {
            ticks: 1,
            ttl: true,
            claims: vec![held(0, 0, 0, Some(0))],
            ..World::new("two sweeps", "two reconcilers come to the same name", [Some(A), None])
        }
        .with(Script::SweepName { service: 0, name: 0 })
        .with(Script::SweepName { service: 0, name: 0 })
        .with(offer(0)),
        World {
            damaged: true,
            bits: Some(0),
            claims: vec![held(0, 0, 0, None)],
            ..World::new("damage released", "an orphan is released, and its port goes to another service", [None, None])
        }
        .with(Script::SweepPort { port: 0 })
        .with(release_port(0))
        .with(create(1, A))
        .with(Script::Offer { service: 1, name: 1, key: false })
        .with(accept_of(Of::Call(3), 1)),
        World {
            damaged: true,
            bits: Some(0),
            claims: vec![held(0, 0, 0, None)],
            ..World::new("damage", "an allocation's service does not exist, and is created again", [None, None])
        }
        .with(Script::SweepPort { port: 0 })
        .with(Script::SweepPort { port: 0 })
        .with(create(0, A))
        .with(offer(1))
        .with(accept(3)),
        World {
            damaged: true,
            ports: 3,
            bits: Some(AB),
            ..World::new(
                "ranges",
                "Ranges has a port too many, and is made anew while services change",
                [Some(A), None],
            )
        }
        .with(Script::SweepRanges)
        .with(create(1, C))
        .with(change(0, A | C)),
        World {
            halves: true,
            ports: 3,
            ..World::new("halves and ranges", "Ranges is compared while services change", [Some(A), None])
        }
        .with(Script::SweepRanges)
        .with(create(1, C))
        .with(change(0, AB)),
    ]
}

/// The same worlds with more faults: one more response lost, request late, and function stopped. For the command.
#[must_use]
pub fn larger_worlds() -> Vec<World> {
    let more = |world: World| World {
        lost: world.lost + 1,
        late: world.late + u8::from(world.tokens),
        stops: world.stops + 1,
        ..world
    };
    worlds().into_iter().map(more).collect()
}
