//! The metrics, in CloudWatch's embedded format: a line on standard output after a request that raised any.

use metrics_cloudwatch_embedded::{Builder, Collector};
use portmaster_registry::metrics;

/// The namespace in which CloudWatch lists them.
const NAMESPACE: &str = "Portmaster";

/// Where the metrics go; none are written if the deployment has no name.
#[derive(Clone, Copy)]
pub(crate) struct Metrics(Option<&'static Collector>);

impl Metrics {
    /// Begins to collect. The only dimension of nearly all of them is the deployment's name: it is fixed for a process, so
    /// their number cannot explode. The reconciler has one metric for services that settings name or count.
    pub(crate) fn start(stack: Option<String>) -> Self {
        let Some(stack) = stack else { return Self(None) };
        match Builder::new().cloudwatch_namespace(NAMESPACE).with_dimension("Stack", stack).init() {
            Ok(collector) => {
                metrics::describe();
                metrics::cold_start();
                Self(Some(collector))
            }
            Err(error) => {
                tracing::warn!(target: "portmaster::start", %error, "no metrics will be written");
                Self(None)
            }
        }
    }

    /// Writes what was counted since the last time. Call it before a response is returned, since Lambda freezes the
    /// process between two requests.
    pub(crate) fn flush(self) {
        let Some(collector) = self.0 else { return };
        if let Err(error) = collector.flush(std::io::stdout().lock()) {
            tracing::warn!(target: "portmaster::metrics", %error, "metrics were lost");
        }
    }
}
