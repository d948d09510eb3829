//! Who had a port, and when, in every namespace.

use serde_json::json;

use portmaster_testkit::Stage;

#[tokio::test]
async fn a_port_and_a_name_have_a_history_in_every_namespace() {
    let api = Stage::new().await;
    api.put("/v1/namespaces/team-a", json!({})).await.expect(201);
    for (below, owner) in [("/v1", "me"), ("/v1/namespaces/team-a", "them")] {
        api.put(&format!("{below}/services/django"), json!({ "start": 5000, "end": 5001 })).await.expect(201);
        let port = format!("{below}/services/django/ports/web-01");
        api.put(&port, json!({ "owner": owner })).await.expect(201);
        api.delete(&format!("{port}?owner={owner}")).await.expect(204);
    }
    api.history_settles().await;
    for (below, owner) in [("/v1", "me"), ("/v1/namespaces/team-a", "them")] {
        let of_port = api.get(&format!("{below}/ports/5000/history")).await.expect(200).body;
        let of_name = api.get(&format!("{below}/services/django/history?name=web-01")).await.expect(200).body;
        assert_eq!((&of_port, of_port.as_array().unwrap().len()), (&of_name, 1));
        assert_eq!(json!([of_port[0]["owner"], of_port[0]["end"]]), json!([owner, "released"]), "{of_port}");
    }
}
