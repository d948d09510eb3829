//! Who had a port, and when, in every namespace.

use serde_json::json;

use portmaster_testkit::Stage;

#[tokio::test]
async fn a_port_and_a_name_have_a_history_in_every_namespace() {
    let api = Stage::new().await;
    // A deployment keeps the history of the tests before this one, so the port and the name are this test's alone.
    api.put("/v1/namespaces/team-a", json!({})).await.expect(201);
    for (below, owner) in [("/v1", "me"), ("/v1/namespaces/team-a", "them")] {
        api.put(&format!("{below}/services/told"), json!({ "start": 46100, "end": 46101 })).await.expect(201);
        let port = format!("{below}/services/told/ports/told-01");
        api.put(&port, json!({ "owner": owner })).await.expect(201);
        api.delete(&format!("{port}?owner={owner}")).await.expect(204);
    }
    api.history_settles().await;
    for (below, owner) in [("/v1", "me"), ("/v1/namespaces/team-a", "them")] {
        let of_port = api.get(&format!("{below}/ports/46100/history")).await.expect(200).body;
        let of_name = api.get(&format!("{below}/services/told/history?name=told-01")).await.expect(200).body;
        assert_eq!((&of_port, of_port.as_array().unwrap().len()), (&of_name, 1));
        assert_eq!(json!([of_port[0]["owner"], of_port[0]["end"]]), json!([owner, "released"]), "{of_port}");
    }
}
