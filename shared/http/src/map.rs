//! `/v1/services/{service}/map`.

use axum::Json;
use axum::extract::State;
use portmaster_registry::{Call, Map, MapState};
use portmaster_wire as wire;

use super::path::InService;
use super::problem::problems;
use super::{Api, Problem};

problems!(MapProblems: NotFound, ServiceNotFound);

/// Draw a map of a service: what each of its ports is, in one answer.
#[utoipa::path(
    get, path = "/v1/services/{service}/map", operation_id = "getMap", tag = "services",
    params(InService),
    responses((status = 200, description = "The map, as the range was a moment ago.", body = wire::Map), MapProblems)
)]
pub(super) async fn get(
    State(api): State<Api>,
    call: Call,
    InService(service): InService,
) -> Result<Json<wire::Map>, Problem> {
    let map = api.registry.map(&call, &service).await?;
    Ok(Json(drawn(&map)))
}

fn drawn(map: &Map) -> wire::Map {
    let run = |run: &portmaster_registry::Run| wire::Run {
        start: run.ports.start(),
        end: run.ports.end(),
        state: word(run.state),
    };
    wire::Map {
        service: map.service.name.clone(),
        start: map.range.start(),
        end: map.range.end(),
        size: map.range.size(),
        counts: map.counts.into(),
        largest_free_run: map.largest_free_run,
        next_expiry: map.next_expiry,
        runs: map.runs.iter().map(run).collect(),
        block: map.block,
    }
}

fn word(state: MapState) -> wire::MapState {
    match state {
        MapState::Free => wire::MapState::Free,
        MapState::Offered => wire::MapState::Offered,
        MapState::Allocated => wire::MapState::Allocated,
        MapState::Cooling => wire::MapState::Cooling,
        MapState::Quarantined => wire::MapState::Quarantined,
        MapState::Reserved => wire::MapState::Reserved,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_count_has_its_place() {
        use portmaster_domain::{Counts, Port, PortRange, ServiceName};
        for state in MapState::ALL {
            let mut counts = Counts::default();
            let count = match state {
                MapState::Free => &mut counts.free,
                MapState::Offered => &mut counts.offered,
                MapState::Allocated => &mut counts.allocated,
                MapState::Cooling => &mut counts.cooling,
                MapState::Quarantined => &mut counts.quarantined,
                MapState::Reserved => &mut counts.reserved,
            };
            *count = 1;
            let map = Map {
                service: ServiceName::try_from("django").unwrap().into(),
                range: PortRange::new(Port::MIN, Port::MIN).unwrap(),
                counts,
                largest_free_run: 0,
                next_expiry: None,
                runs: vec![portmaster_registry::Run { ports: PortRange::new(Port::MIN, Port::MIN).unwrap(), state }],
                block: 1,
            };
            let shown = serde_json::to_value(drawn(&map)).unwrap();
            assert_eq!(shown["counts"][state.as_str()], 1, "{shown}");
            assert_eq!(shown["runs"], serde_json::json!([{ "start": 1024, "end": 1024, "state": state.as_str() }]));
            assert_eq!((shown.get("block"), shown.get("next_expiry")), (None, None));
        }
    }
}
