//! Counts on the wire, independently of the registry's own meter.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::config::interceptors::{
    AfterDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_smithy_types::config_bag::{Storable, StoreReplace};
use serde_json::Value;

/// The requests that were sent, and the capacity that they consumed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// Requests by operation.
    pub requests: BTreeMap<String, u32>,
    /// Items in transactions.
    pub transacted: usize,
    /// Of the reads, how many were consistent.
    pub consistent: u32,
    /// The read units that were consumed.
    pub read_units: f64,
    /// The write units that were consumed.
    pub write_units: f64,
}

/// The request that a response belongs to.
#[derive(Clone, Copy, Debug)]
struct Sent {
    is_read: bool,
}

impl Storable for Sent {
    type Storer = StoreReplace<Self>;
}

/// Counts the traffic of an SDK client.
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<Mutex<Counts>>);

impl Meter {
    /// Returns what was counted since the last call.
    pub fn take(&self) -> Counts {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Intercept for Meter {
    fn name(&self) -> &'static str {
        "Meter"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request();
        let operation = request.headers().get("x-amz-target").unwrap().split('.').next_back().unwrap().to_owned();
        let body: Value = serde_json::from_slice(request.body().bytes().unwrap())?;
        assert_eq!(body["ReturnConsumedCapacity"], "TOTAL", "{operation} does not ask what it consumes");
        let is_read = ["GetItem", "BatchGetItem", "TransactGetItems", "Query", "Scan"].contains(&operation.as_str());
        cfg.interceptor_state().store_put(Sent { is_read });
        let mut counts = self.0.lock().unwrap();
        counts.transacted += body["TransactItems"].as_array().map_or(0, Vec::len);
        counts.consistent += u32::from(body["ConsistentRead"] == true);
        *counts.requests.entry(operation).or_default() += 1;
        Ok(())
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(body) = context.response().body().bytes() else { return Ok(()) };
        let body: Value = serde_json::from_slice(body)?;
        let units = |of: &Value| of["CapacityUnits"].as_f64().unwrap_or_default();
        let consumed = &body["ConsumedCapacity"];
        let units: f64 = consumed.as_array().map_or_else(|| units(consumed), |list| list.iter().map(units).sum());
        let Some(Sent { is_read }) = cfg.load::<Sent>().copied() else { return Ok(()) };
        let mut counts = self.0.lock().unwrap();
        if is_read {
            counts.read_units += units;
        } else {
            counts.write_units += units;
        }
        Ok(())
    }
}
