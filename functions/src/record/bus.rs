//! Events on an event bus of Amazon EventBridge.

use std::time::Duration;

use aws_sdk_eventbridge::config::retry::RetryConfig;
use aws_sdk_eventbridge::config::timeout::TimeoutConfig;
use aws_sdk_eventbridge::config::{
    BehaviorVersion, Builder, Region, SharedCredentialsProvider, StalledStreamProtectionConfig,
};
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use aws_sdk_eventbridge::{Client, primitives::DateTime};
use portmaster_registry::history::Event;
use portmaster_registry::{credentials_within_lambda, endpoint_within_lambda, http_within_lambda};

/// The source of every event.
const SOURCE: &str = "portmaster";

/// How long one request may take.
const ATTEMPT: Duration = Duration::from_secs(3);

/// An event bus.
pub(super) struct Bus {
    client: Client,
    name: String,
}

impl Bus {
    /// How many events one request has at most (*Amazon EventBridge API Reference*, `PutEvents`). With everything at its
    /// longest, ten of them have some 20 KB, of 1 MB.
    pub(super) const AT_ONCE: usize = 10;

    /// The bus of this name. Nothing is sent yet.
    pub(super) fn new(name: String) -> Self {
        let region = std::env::var("AWS_REGION").ok().map(Region::new);
        let url = endpoint_within_lambda("EVENTBRIDGE");
        let mut config = Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .region(region)
            .http_client(http_within_lambda(url.as_deref()))
            .timeout_config(TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT).build())
            // Its standard retries do here: a request that is sent twice is two events with one id.
            .retry_config(RetryConfig::standard())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        config.set_credentials_provider(credentials_within_lambda().map(SharedCredentialsProvider::new));
        if let Some(url) = url {
            config = config.endpoint_url(url);
        }
        Self { client: Client::from_conf(config.build()), name }
    }

    /// Sends events, each with the place of its record. If some were not taken, returns the first of these, and why.
    pub(super) async fn send(&self, events: &[(usize, Event)]) -> Result<(), (usize, String)> {
        let Some((first, _)) = events.first() else { return Ok(()) };
        let mut entries = Vec::with_capacity(events.len());
        for (place, event) in events {
            let detail = serde_json::to_string(&portmaster_http::told(event));
            let detail = detail.map_err(|error| (*place, error.to_string()))?;
            let entry = PutEventsRequestEntry::builder()
                .source(SOURCE)
                .detail_type(event.kind.title())
                .detail(detail)
                .event_bus_name(&self.name)
                .time(DateTime::from_millis(event.at.millis()));
            entries.push(entry.build());
        }
        let sent = self.client.put_events().set_entries(Some(entries)).send().await;
        let answer = sent.map_err(|error| (*first, format!("EventBridge: {}", error.into_service_error())))?;
        let refused = events.iter().zip(answer.entries()).find_map(|((place, _), entry)| {
            let code = entry.error_code()?;
            Some((*place, format!("EventBridge: {code}: {}", entry.error_message().unwrap_or_default())))
        });
        refused.map_or(Ok(()), Err)
    }
}
