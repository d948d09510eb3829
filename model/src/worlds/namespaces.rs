//! Worlds in which the namespace is created and deleted.

use super::{A, B, create, delete};
use crate::world::{Script, World};

pub(super) fn worlds() -> Vec<World> {
    vec![
        World {
            lost: 1,
            late: 1,
            ..World::new(
                "namespaces",
                "a namespace is deleted and created again while a service in it is created and deleted",
                [None, None],
            )
        }
        .with(create(0, A))
        .with(Script::DeleteNamespace)
        .with(Script::DeleteNamespace)
        .with(Script::CreateNamespace)
        .with(delete()),
        World {
            namespace: false,
            lost: 1,
            late: 1,
            ..World::new(
                "new namespaces",
                "a namespace is created twice and deleted twice, and a service in it is created",
                [None, None],
            )
        }
        .with(Script::CreateNamespace)
        .with(Script::CreateNamespace)
        .with(Script::DeleteNamespace)
        .with(Script::DeleteNamespace)
        .with(create(0, A)),
        World {
            tokens: false,
            lost: 2,
            ..World::new(
                "replies about a namespace",
                "responses are lost where the table knows no tokens, and a namespace comes and goes",
                [None, None],
            )
        }
        .with(Script::DeleteNamespace)
        .with(Script::CreateNamespace)
        .with(create(0, A))
        .with(delete()),
        World {
            halves: true,
            ..World::new(
                "halves and namespaces",
                "a namespace is deleted while services in it are created and deleted, partly visible",
                [None, None],
            )
        }
        .with(Script::DeleteNamespace)
        .with(create(0, A))
        .with(delete())
        .with(create(1, B)),
        World {
            damaged: true,
            bits: Some(0),
            ..World::new(
                "damage and namespaces",
                "Ranges lacks a service's port while its namespace is deleted",
                [Some(A), None],
            )
        }
        .with(Script::DeleteNamespace)
        .with(Script::SweepRanges)
        .with(create(1, B))
        .with(delete()),
    ]
}
