//! The table itself: its required schema, and its creation where no CloudFormation creates it.

use std::time::Duration;

use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, TableStatus,
    TimeToLiveSpecification, TimeToLiveStatus,
};

use super::item::{Key, number, text};
use super::send::Metered;
use super::{StoreError, Table};
use crate::Call;
use portmaster_domain::{Expiry, Timestamp};

/// The attribute that DynamoDB's TTL reads: seconds since the Unix epoch.
const TTL_ATTRIBUTE: &str = "expires_at";

/// When TTL removes the item that a health check of a disk writes.
const HEALTH_KEPT_SECONDS: i64 = 60 * 60;

/// The item that health checks use. On AWS it does not exist.
pub(super) fn health_key() -> Key {
    Key { pk: "HEALTH".to_owned(), sk: "HEALTH".to_owned() }
}

/// Requests about the table as a whole consume no capacity.
macro_rules! free {
    ($($operation:ident :: $output:ident),* $(,)?) => {$(
        impl Metered for aws_sdk_dynamodb::operation::$operation::$output {
            fn record(&self, _: &Call) {}
        }
    )*};
}

free! {
    create_table::CreateTableOutput,
    describe_table::DescribeTableOutput,
    describe_time_to_live::DescribeTimeToLiveOutput,
    update_time_to_live::UpdateTimeToLiveOutput,
}

impl Table {
    /// Checks that the table answers: one consistent read of an item that does not exist, 1 unit.
    ///
    /// # Errors
    /// [`StoreError`], which names the reason.
    pub async fn ping(&self, call: &Call) -> Result<(), StoreError> {
        self.get(call, &health_key()).await.map(drop)
    }

    /// Checks that the table takes the writes of an offer: one write of an item that nobody reads and TTL removes,
    /// larger than everything that an offer writes.
    ///
    /// # Errors
    /// [`StoreError`], which names the reason.
    pub(crate) async fn write_for_health(&self, call: &Call, now: Timestamp) -> Result<(), StoreError> {
        let mut item = health_key().attributes();
        // The text differs each time: SQLite does not write data that is unchanged.
        item.insert("written".to_owned(), text(now.to_rfc3339().repeat(512)));
        item.insert(TTL_ATTRIBUTE.to_owned(), number(Expiry::after(now, HEALTH_KEPT_SECONDS).seconds()));
        self.put(call, &item).await
    }

    /// Creates the table, with TTL on, unless it exists.
    ///
    /// # Errors
    /// [`StoreError`] when DynamoDB refuses or does not answer.
    pub async fn create(&self, call: &Call) -> Result<(), StoreError> {
        let key = |name: &str, kind: KeyType| KeySchemaElement::builder().attribute_name(name).key_type(kind).build();
        let attribute = |name: &str| {
            AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S).build()
        };
        let (pk, sk) =
            (key("pk", KeyType::Hash).map_err(StoreError::from)?, key("sk", KeyType::Range).map_err(StoreError::from)?);
        let (pk_type, sk_type) =
            (attribute("pk").map_err(StoreError::from)?, attribute("sk").map_err(StoreError::from)?);
        let created = super::send::send(call, &self.name, || {
            self.client
                .create_table()
                .table_name(&self.name)
                .billing_mode(BillingMode::PayPerRequest)
                .key_schema(pk.clone())
                .key_schema(sk.clone())
                .attribute_definitions(pk_type.clone())
                .attribute_definitions(sk_type.clone())
                .send()
        })
        .await?;
        match created.0 {
            Ok(_) | Err(CreateTableError::ResourceInUseException(_)) => {}
            Err(other) => return Err(StoreError::Refused { reason: other.to_string() }),
        }
        self.ready(call).await
    }

    /// Waits until the table can be used, and turns TTL on.
    pub(super) async fn ready(&self, call: &Call) -> Result<(), StoreError> {
        while !self.is_active(call).await? {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.enable_ttl(call).await
    }

    async fn is_active(&self, call: &Call) -> Result<bool, StoreError> {
        let (result, _) =
            super::send::send(call, &self.name, || self.client.describe_table().table_name(&self.name).send()).await?;
        let output = result.map_err(|error| StoreError::Refused { reason: error.to_string() })?;
        Ok(output.table.and_then(|table| table.table_status) == Some(TableStatus::Active))
    }

    /// DynamoDB on AWS refuses to enable TTL twice, so it is asked first.
    async fn enable_ttl(&self, call: &Call) -> Result<(), StoreError> {
        let (described, _) =
            super::send::send(call, &self.name, || self.client.describe_time_to_live().table_name(&self.name).send())
                .await?;
        let status = described
            .map_err(|error| StoreError::Refused { reason: error.to_string() })?
            .time_to_live_description
            .and_then(|description| description.time_to_live_status);
        if matches!(status, Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)) {
            return Ok(());
        }
        let specification = TimeToLiveSpecification::builder()
            .enabled(true)
            .attribute_name(TTL_ATTRIBUTE)
            .build()
            .map_err(StoreError::from)?;
        let (result, _) = super::send::send(call, &self.name, || {
            self.client
                .update_time_to_live()
                .table_name(&self.name)
                .time_to_live_specification(specification.clone())
                .send()
        })
        .await?;
        result.map(drop).map_err(|error| StoreError::Refused { reason: error.to_string() })
    }
}
