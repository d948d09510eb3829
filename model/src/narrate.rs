//! A counterexample in words.

use crate::model::{Action, Protocol, State};
use crate::steps::{Pc, Step, Then};
use crate::table::{Key, Owner, Ports, Tick, members};
use crate::world::{By, Of, Script};
use crate::writes::{Kind, Part, Removal, Renewal, Resize, Rule, Why, Write};

impl Protocol {
    fn chooses_set(&self, state: &State, call: u8) -> bool {
        let call = usize::from(call);
        state.calls[call].pc == Pc::Choose && matches!(self.world.calls[call].script, Script::Set { .. })
    }

    /// Describes a step.
    pub(crate) fn describe(&self, state: &State, action: Action) -> String {
        let who = |call: u8| {
            let skew = match state.calls[usize::from(call)].skew {
                0 => String::new(),
                skew => format!(", clock {skew:+}"),
            };
            let script = script(self.world.calls[usize::from(call)].script);
            format!("{} ({script}{skew})", (b'A' + call) as char)
        };
        // A write carries the time that the clock shows when it is sent.
        let pc = |call: u8| match state.calls[usize::from(call)].pc {
            Pc::Send { write, doubt, committed: false, then } => {
                let mut state = state.clone();
                let write = Step { protocol: self, state: &mut state, call: call.into() }.sending(write);
                Pc::Send { write, doubt, committed: false, then }
            }
            pc => pc,
        };
        match action {
            Action::Go(call, choice) if self.chooses_set(state, call) => {
                let ports = self.world.ports;
                if choice >= ports * ports {
                    format!("{} finds the range full for name {}", who(call), choice - ports * ports)
                } else {
                    format!("{} chooses port {}, then {}", who(call), choice % ports, choice / ports)
                }
            }
            Action::Go(call, choice) => format!("{} {}", who(call), step(pc(call), choice, self.world.ports)),
            Action::Lose(call) => format!("{} {}; the response is lost", who(call), sent(pc(call))),
            Action::Late(call) => format!("{} {}, which stays under way", who(call), sent(pc(call))),
            Action::GiveUp(call) => format!("{} gives up", who(call)),
            Action::Stop(call) => format!("{} stops", who(call)),
            Action::Arrive(place) => {
                let (call, copy) = state.flight[usize::from(place)];
                format!("what {} sent long ago arrives: {}", who(call), write(copy))
            }
            Action::Show(key) => format!("the transaction's {} becomes visible", item(key)),
            Action::Ttl(key) => format!("TTL deletes {}", item(key)),
            Action::Tick => format!("it is {}", state.clock + 1),
        }
    }
}

fn item(key: Key) -> String {
    match key {
        Key::Port(port) => format!("port {port}"),
        Key::Name(service, name) => format!("name {name} of service {service}"),
        Key::Request => "key".to_owned(),
        Key::Service(service) => format!("service {service}"),
        Key::Ranges => "Ranges".to_owned(),
        Key::Namespace => "namespace".to_owned(),
    }
}

fn set(ports: Ports) -> String {
    let ports: Vec<_> = members(ports).map(|port| port.to_string()).collect();
    format!("{{{}}}", ports.join(","))
}

fn of(of: Of) -> String {
    match of {
        Of::Call(call) => format!("{}'s offer", (b'A' + call as u8) as char),
        Of::Claim(_) => "the old offer".to_owned(),
    }
}

fn owned(owner: Option<Owner>) -> String {
    owner.map(|owner| format!(" for owner {owner}")).unwrap_or_default()
}

fn leased(lease: Option<Tick>) -> String {
    lease.map(|lease| format!(", lease {lease}")).unwrap_or_default()
}

fn whose(by: By) -> String {
    match by {
        By::Owner(owner) => owned(owner),
        By::Anybody => " for anybody".to_owned(),
    }
}

fn script(script: Script) -> String {
    match script {
        Script::Offer { name, key: true, .. } => format!("offer for name {name}, with the key"),
        Script::Offer { name, .. } => format!("offer for name {name}"),
        Script::Accept { of: whose, lease, .. } => format!("accept {}{}", of(whose), leased(lease)),
        Script::Reject { of: whose, .. } => format!("reject {}", of(whose)),
        Script::ReleaseName { name, by, .. } => format!("release name {name}{}", whose(by)),
        Script::ReleasePort { port, by, .. } => format!("release port {port}{}", whose(by)),
        Script::Put { name, owner, lease, .. } => format!("put name {name}{}{}", owned(owner), leased(lease)),
        Script::Set { owner, lease, .. } => format!("set of names 0 and 1{}{}", owned(owner), leased(lease)),
        Script::RenewName { name, owner, lease, .. } => {
            format!("renew name {name}{}{}", owned(owner), leased(Some(lease)))
        }
        Script::RenewPort { port, owner, lease, .. } => {
            format!("renew port {port}{}{}", owned(owner), leased(Some(lease)))
        }
        Script::Create { service, range } => format!("create service {service} with {}", set(range)),
        Script::Delete { service } => format!("delete service {service}"),
        Script::CreateNamespace => "create the namespace".to_owned(),
        Script::DeleteNamespace => "delete the namespace".to_owned(),
        Script::Change { service, to } => format!("give service {service} {}", set(to)),
        Script::SweepPort { .. }
        | Script::SweepName { .. }
        | Script::SweepRequest
        | Script::SweepMark { .. }
        | Script::SweepRanges => "reconciler".to_owned(),
    }
}

fn sent(pc: Pc) -> String {
    match pc {
        Pc::Send { write: sent, .. } => write(sent),
        _ => "sends".to_owned(),
    }
}

fn step(pc: Pc, choice: u8, ports: u8) -> String {
    match pc {
        Pc::Idle => "begins".to_owned(),
        Pc::Done => "is over".to_owned(),
        Pc::Send { committed: true, .. } => "learns that it was done".to_owned(),
        Pc::Send { write: sent, then: Then::Withdraw { .. }, .. } => format!("{}, to withdraw", write(sent)),
        Pc::Send { write: sent, .. } => write(sent),
        Pc::Choose if choice == ports => "finds the range full".to_owned(),
        Pc::Choose if choice > ports => format!("chooses port {}, to come back to it", choice - ports - 1),
        Pc::Choose => format!("chooses port {choice}"),
        Pc::NameUsed(instance, _) if choice == 0 => format!("will try the name's old port {}", instance.port),
        Pc::NameUsed(..) => "will not try the name's old port".to_owned(),
        Pc::JudgeKey(request, _) => format!("checks whether the key's claim on port {} is live", request.port),
        Pc::JudgeOwn(instance, _) => format!("checks whether its own claim on port {} stands", instance.port),
        Pc::JudgeOld(instance, _) => format!("checks what the name's claim on port {} is", instance.port),
        Pc::ReadKey(_) => "reads the key".to_owned(),
        Pc::Release(_) => "receives its response".to_owned(),
        Pc::ReadInstance => "reads where the name points to".to_owned(),
        Pc::Look { port, .. } if choice == 1 => format!("reads the service as it was, before it returns port {port}"),
        Pc::Look { port, .. } => format!("reads the service, before it returns port {port}"),
        Pc::LookSet => "reads the service, before it returns the set".to_owned(),
        Pc::ReadService => "reads the service".to_owned(),
        Pc::Query(_) if choice == 1 => "queries the claims on a port, as it was".to_owned(),
        Pc::Query(_) => "queries the claims on a port".to_owned(),
        Pc::ReadRanges(_) => "reads Ranges".to_owned(),
        Pc::LookForService(..) => "looks for the allocation's service".to_owned(),
        Pc::SweepJudge(instance) => format!("checks whether the name's claim on port {} is gone", instance.port),
        Pc::SweepAgain => "comes again".to_owned(),
        Pc::Compare(_) => "reads on to compare".to_owned(),
        Pc::Search(_) => "reads on to find services".to_owned(),
    }
}

fn write(write: Write) -> String {
    match write {
        Write::Claim { part, second, common, .. } => {
            let what = match common.kind {
                Kind::Lease(lease) => format!(" until {}", common.now + lease),
                _ => String::new(),
            };
            let terms = if common.cools { ", which cools down" } else { "" };
            let more = second.map(|second| format!(" and {}", claimed(second))).unwrap_or_default();
            format!("claims {}{more}{what}{terms}", claimed(part))
        }
        Write::Accept { port, now, lease, .. } => {
            let until = lease.map(|lease| format!(" until {}", now + lease)).unwrap_or_default();
            format!("accepts port {port}{until}, at {now} by its clock")
        }
        Write::AcceptSet { offers, now, .. } => {
            format!("accepts ports {} and {}, at {now} by its clock", offers[0].0, offers[1].0)
        }
        Write::Renew(Renewal { port, secret, lease, at_least, now, .. }) => {
            let by = if secret.is_some() { " by its secret" } else { "" };
            format!("renews port {port}{by} until {}, at {now} by its clock", (now + lease).max(at_least))
        }
        Write::Lapse { port, now, .. } => format!("makes the lease on port {port} gone, at {now} by its clock"),
        Write::Withdraw { port, .. } => format!("withdraws its allocation of port {port}"),
        Write::Reject { port, why: Removal::Rejected, .. } => format!("rejects port {port}"),
        Write::Reject { port, .. } => format!("removes its offer of port {port}"),
        Write::RemoveDead { port, now, .. } => format!("removes the dead claim on port {port}, at {now} by its clock"),
        Write::ReleaseClaim { port, .. } => format!("releases port {port} by its secret"),
        Write::ReleasePort { port, .. } => format!("releases port {port}"),
        Write::Rewrite { why: Why::Mark, .. } => "sets its mark".to_owned(),
        Write::Rewrite { why: Why::Unmark, .. } => "takes the mark off".to_owned(),
        Write::Rewrite { why: Why::Content, .. } => "writes the service's description".to_owned(),
        Write::Resize { resize: Resize::Create(_), .. } => "creates the service".to_owned(),
        Write::Resize { resize: Resize::Change { new, .. }, .. } => format!("makes the range {}", set(new.range)),
        Write::Resize { resize: Resize::Delete { .. }, .. } => "deletes the service".to_owned(),
        Write::NoteGone { .. } => "notes that the name's claim is gone".to_owned(),
        Write::RemoveInstance { .. } => "removes the name".to_owned(),
        Write::RemoveRequest { .. } => "removes the key".to_owned(),
        Write::NoteOrphan { port, .. } => format!("notes that the orphan on port {port} is to go"),
        Write::RemoveOrphan { port, .. } => format!("removes the orphan on port {port}"),
        Write::CreateNamespace { .. } => "creates the namespace".to_owned(),
        Write::DeleteNamespace { .. } => "deletes the namespace".to_owned(),
        Write::Rebuild { ranges } => format!("rebuilds Ranges: {}", set(ranges.bits)),
    }
}

fn claimed(Part { port, rule, .. }: Part) -> String {
    let rule = match rule {
        Rule::Free => "Free".to_owned(),
        Rule::Gone(_) => "Gone".to_owned(),
        Rule::Dead(at, _) => format!("Dead at {at}"),
    };
    format!("port {port} ({rule})")
}
