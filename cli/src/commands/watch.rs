//! `watch`.

use std::collections::BTreeMap;
use std::time::Duration;

use portmaster_client::domain::{Clock, Labels, Owner, Port as Number, ServiceName, Timestamp};
use portmaster_client::wire::{ListedOffer, Port};
use portmaster_client::{Error, Events, Filter};
use serde::Serialize;
use serde_json::Value;

use crate::args::WatchArgs;
use crate::output::Happened;
use crate::{Context, Failure};

/// How long to wait between two readings of the lists, where there are no events.
const POLL: Duration = Duration::from_secs(5);

/// How long to wait before listening again, at first and at most.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

pub(super) async fn watch(context: &Context<'_>, args: WatchArgs) -> Result<(), Failure> {
    let mut watch = Watch { context, args, seen: 0 };
    let watching = async {
        match context.client.events(None).await? {
            Some(events) => watch.listen(events).await,
            None => watch.poll().await,
        }
    };
    tokio::select! {
        outcome = watching => outcome,
        // Whoever has seen enough is not told that something failed.
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

struct Watch<'a> {
    context: &'a Context<'a>,
    args: WatchArgs,
    seen: u64,
}

impl Watch<'_> {
    /// Prints events until there have been enough. A connection that is lost is made again, from where it was.
    async fn listen(&mut self, mut events: Events) -> Result<(), Failure> {
        let (mut last, mut wait) = (None, AGAIN.0);
        loop {
            match events.next().await {
                Ok(Some(told)) => {
                    wait = AGAIN.0;
                    last = told.id.or(last);
                    if told.event == "reset" {
                        self.context
                            .voice
                            .warn("the registry has not told some events: there were too many, or it was restarted");
                    } else if self.tell(&told.event, &told.data)? {
                        return Ok(());
                    }
                    continue;
                }
                Ok(None) => self.context.voice.note("the registry has ended the stream; listening again"),
                Err(error) if error.is_temporary() => self.context.voice.note(&format!("{error}; listening again")),
                Err(error) => return Err(error.into()),
            }
            events = loop {
                tokio::time::sleep(wait).await;
                wait = AGAIN.1.min(wait * 2);
                match self.context.client.events(last.as_deref()).await {
                    Ok(Some(events)) => break events,
                    // Another version has taken its place.
                    Ok(None) => return self.poll().await,
                    Err(error) if error.is_temporary() => {}
                    Err(error) => return Err(error.into()),
                }
            };
        }
    }

    /// Prints an event, unless it is about something else. Returns whether there have been enough.
    fn tell(&mut self, event: &str, data: &str) -> Result<bool, Failure> {
        let Ok(details) = serde_json::from_str::<Value>(data) else { return Ok(false) };
        let is_of = |member: &str, wanted: &str| details.get(member).and_then(Value::as_str) == Some(wanted);
        let namespace = self.context.client.namespace();
        if !is_of("namespace", namespace.as_str()) {
            return Ok(false);
        }
        if self.args.service.as_ref().is_some_and(|service| !is_of("service", service.as_str())) {
            return Ok(false);
        }
        self.show(&Happened::new(event, details))
    }

    fn show(&mut self, happened: &Happened) -> Result<bool, Failure> {
        let is_read = self.context.voice.show_line(happened)?;
        self.seen += 1;
        Ok(!is_read || self.args.count.is_some_and(|count| self.seen >= count.get()))
    }

    /// Compares the lists, again and again.
    async fn poll(&mut self) -> Result<(), Failure> {
        self.context.voice.note(&format!(
            "this registry sends no events; its lists are compared every {} seconds, and what comes and goes in \
             between is not seen",
            POLL.as_secs()
        ));
        let mut before = self.held().await?;
        loop {
            tokio::time::sleep(POLL).await;
            let now = match self.held().await {
                Ok(now) => now,
                Err(error) if error.is_temporary() => continue,
                Err(error) => return Err(error.into()),
            };
            for (event, held) in differences(&before, &now) {
                let details = serde_json::to_value(held).map_err(|reason| Failure::Other(reason.to_string()))?;
                if self.show(&Happened::new(event, details))? {
                    return Ok(());
                }
            }
            before = now;
        }
    }

    /// What is held at this moment.
    async fn held(&self) -> Result<Held, Error> {
        let client = &self.context.client;
        let services: Vec<ServiceName> = match &self.args.service {
            Some(service) => vec![service.clone()],
            None => client.list_services().all().await?.into_iter().map(|service| service.name).collect(),
        };
        let (mut held, filter) = (Held::new(), Filter::default());
        for service in services {
            // First the offers: one that is accepted in between is then seen twice, and not lost.
            let offers = client.list_offers(&service, &filter).all().await?;
            let ports = client.list_ports(&service, &filter).all().await?;
            held.extend(offers.into_iter().map(|offer| (offer.port, Holder::from(offer))));
            held.extend(ports.into_iter().map(|port| (port.port, Holder::from(port))));
        }
        Ok(held)
    }
}

/// Each port that is held, and what holds it.
type Held = BTreeMap<Number, Holder>;

/// What holds a port, as a poll sees it.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Holder {
    /// When it was seen.
    time: String,
    service: String,
    name: String,
    port: Number,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<Owner>,
    #[serde(skip_serializing_if = "Labels::is_empty")]
    labels: Labels,
    /// That this is a difference between two lists, and no event.
    polled: bool,
    #[serde(skip)]
    is_offer: bool,
    #[serde(skip)]
    created: Timestamp,
}

impl From<Port> for Holder {
    fn from(port: Port) -> Self {
        Self {
            time: String::new(),
            service: port.service.to_string(),
            name: port.name.to_string(),
            port: port.port,
            owner: port.owner,
            labels: port.labels,
            polled: true,
            is_offer: false,
            created: port.created,
        }
    }
}

impl From<ListedOffer> for Holder {
    fn from(offer: ListedOffer) -> Self {
        Self {
            time: String::new(),
            service: offer.service.to_string(),
            name: offer.name.to_string(),
            port: offer.port,
            owner: offer.owner,
            labels: offer.labels,
            polled: true,
            is_offer: true,
            created: offer.created,
        }
    }
}

/// What has begun and what has ended between two readings.
fn differences(before: &Held, now: &Held) -> Vec<(&'static str, Holder)> {
    let time = Clock::System.now().to_rfc3339();
    let seen = |holder: &Holder| Holder { time: time.clone(), ..holder.clone() };
    let is_same = |one: &Holder, other: &Holder| (&one.service, &one.name) == (&other.service, &other.name);
    let ended = before.iter().filter(|(port, holder)| now.get(port).is_none_or(|next| !is_same(holder, next)));
    let ended = ended.map(|(_, holder)| (if holder.is_offer { "offer-ended" } else { "port-ended" }, seen(holder)));
    let began = now.iter().filter(|(port, holder)| {
        let previous = before.get(port);
        // An offer that was accepted has become a port, and a port that was given twice has another beginning.
        previous.is_none_or(|previous| {
            !is_same(previous, holder) || previous.is_offer != holder.is_offer || previous.created != holder.created
        })
    });
    let began =
        began.map(|(_, holder)| (if holder.is_offer { "port-offered" } else { "port-allocated" }, seen(holder)));
    ended.chain(began).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(holders: &[(u16, &str, bool, i64)]) -> Held {
        let holder = |(port, name, is_offer, created): &(u16, &str, bool, i64)| {
            let holder = Holder {
                time: String::new(),
                service: "web".to_owned(),
                name: (*name).to_owned(),
                port: Number::new(*port).unwrap(),
                owner: None,
                labels: Labels::default(),
                polled: true,
                is_offer: *is_offer,
                created: Timestamp::from_millis(*created),
            };
            (holder.port, holder)
        };
        holders.iter().map(holder).collect()
    }

    #[test]
    fn two_lists_differ_in_what_has_begun_and_ended() {
        let before = held(&[
            (5000, "stays", false, 1),
            (5001, "tries", true, 1),
            (5002, "goes", false, 1),
            (5003, "expires", true, 1),
            (5004, "again", false, 1),
            (5005, "one", false, 1),
        ]);
        let now = held(&[
            (5000, "stays", false, 1),
            (5001, "tries", false, 2),
            (5004, "again", false, 2),
            (5005, "other", false, 2),
            (5006, "new", true, 2),
        ]);
        let seen: Vec<_> =
            differences(&before, &now).into_iter().map(|(event, held)| (event, held.port.get())).collect();
        let expected = [
            ("port-ended", 5002),
            ("offer-ended", 5003),
            ("port-ended", 5005),
            ("port-allocated", 5001),
            ("port-allocated", 5004),
            ("port-allocated", 5005),
            ("port-offered", 5006),
        ];
        assert_eq!(seen, expected);
        assert_eq!(differences(&now, &now), []);
    }
}
