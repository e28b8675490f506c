use super::*;

use std::sync::Arc;

use postrider_model::{DeliveryId, MessageId, Reason, SiteName, StreamName, TenantName, Trouble};
use postrider_smtp::{EnhancedStatus, Reply};

use crate::shape::HoldReason;

const NOW: Timestamp = Timestamp::from_millis(1_000_000);
const LATER: Timestamp = Timestamp::from_millis(2_000_000);
const BEFORE: Timestamp = Timestamp::from_millis(900_000);

fn view(state: DeliveryState, due: Timestamp, site: Option<&str>) -> DeliveryView {
    DeliveryView {
        id: DeliveryId { message: MessageId(1), index: 0 },
        tenant: TenantName::new("t"),
        stream: StreamName::new("s"),
        host: "a.example".into(),
        site: site.map(SiteName::new),
        arrived_at: BEFORE,
        due,
        attempts: 3,
        state,
        content_octets: 0,
        held: None,
        ahead: Some(42),
    }
}

fn hold() -> Hold {
    Hold { reason: HoldReason::Connections { used: 2, max: 2, shared: None }, since: BEFORE, until: Some(LATER) }
}

fn check(facts: &Facts<'_>, reason: &str, since: Option<Timestamp>, until: Option<Timestamp>, ahead: Option<u64>) {
    assert_eq!(waiting(facts, NOW), Waiting { reason: reason.into(), since, until, ahead });
}

#[test]
fn in_the_schedule() {
    let (view, hold) = (view(DeliveryState::Lent, BEFORE, Some("a.mx,b.mx,c.mx")), hold());
    let lent = Facts { view: &view, diagnosis: None, hold: None, ahead: None };
    check(&lent, "being sent to a.mx and 2 more", None, None, None);
    check(&Facts { ahead: Some(0), ..lent }, "next in turn at a.mx and 2 more", None, None, Some(0));
    check(&Facts { ahead: Some(7), ..lent }, "waiting for its turn at a.mx and 2 more", None, None, Some(7));
    let held = Facts { ahead: Some(7), hold: Some(&hold), ..lent };
    check(&held, "a.mx and 2 more: 2 of 2 connections in use", Some(BEFORE), Some(LATER), Some(7));
    check(&Facts { hold: Some(&hold), ..lent }, "being sent to a.mx and 2 more", None, None, None);
}

#[test]
fn between_attempts() {
    let refusal = Reply::new(450, Some(EnhancedStatus::new(4, 2, 0)), "greylisted");
    let refused =
        Diagnosis { at: BEFORE, phase: Phase::Recipient, reason: Reason::Reply(refusal), remote: Some("b.mx".into()), address: None };
    let unreachable = Diagnosis {
        at: BEFORE,
        phase: Phase::Connect,
        reason: Reason::Trouble(Trouble::ConnectFailed(Arc::from("timed out"))),
        remote: None,
        address: None,
    };
    let (view, hold) = (view(DeliveryState::Waiting, LATER, Some("b.mx")), hold());
    let facts = Facts { view: &view, diagnosis: Some(&refused), hold: None, ahead: None };
    check(&facts, "attempt 3 failed at RCPT by b.mx: 450 4.2.0 greylisted", Some(BEFORE), Some(LATER), None);
    check(&Facts { hold: Some(&hold), ..facts }, "attempt 3 failed at RCPT by b.mx: 450 4.2.0 greylisted", Some(BEFORE), Some(LATER), None);
    let facts = Facts { diagnosis: Some(&unreachable), ..facts };
    check(&facts, "attempt 3 failed: connection failed: timed out", Some(BEFORE), Some(LATER), None);
    check(&Facts { diagnosis: None, ..facts }, "waiting for its next attempt after 3 attempts", None, Some(LATER), None);
    let fresh = DeliveryView { attempts: 0, ..view.clone() };
    check(
        &Facts { view: &fresh, diagnosis: None, hold: None, ahead: None },
        "not due yet: its sender wished it later, or an allowance was used up",
        None,
        Some(LATER),
        None,
    );
}

#[test]
fn due_in_the_spool() {
    let hold = hold();
    let known = view(DeliveryState::Waiting, BEFORE, Some("b.mx"));
    let facts = Facts { view: &known, diagnosis: None, hold: None, ahead: None };
    check(&facts, "due, and waiting in the spool for room in the schedule of b.mx", Some(BEFORE), None, Some(42));
    check(&Facts { hold: Some(&hold), ..facts }, "b.mx: 2 of 2 connections in use", Some(BEFORE), Some(LATER), Some(42));
    let just = view(DeliveryState::Waiting, NOW, Some("b.mx"));
    check(&Facts { view: &just, ..facts }, "due, and waiting in the spool for room in the schedule of b.mx", Some(NOW), None, Some(42));
    let unknown = view(DeliveryState::Waiting, BEFORE, None);
    check(&Facts { view: &unknown, ..facts }, "the mail hosts of a.example are being looked up", Some(BEFORE), None, Some(42));
}

#[test]
fn a_site() {
    let expected = Waiting { reason: "2 of 2 connections in use".into(), since: Some(BEFORE), until: Some(LATER), ahead: None };
    assert_eq!(held_site(&hold()), expected);
}

#[test]
fn sent_back_by_a_long_hold() {
    let waits = |attempts, due| DeliveryView { attempts, ..view(DeliveryState::Waiting, due, Some("a.mx")) };
    let (hold, sent_back, tried) = (hold(), waits(0, LATER), waits(3, LATER));
    let facts = Facts { view: &sent_back, diagnosis: None, hold: Some(&hold), ahead: None };
    check(&facts, "a.mx: 2 of 2 connections in use", Some(BEFORE), Some(LATER), Some(42));
    check(&Facts { view: &tried, ..facts }, "waiting for its next attempt after 3 attempts", None, Some(LATER), None);
    let later = waits(0, LATER.after(std::time::Duration::from_secs(1)));
    assert_eq!(
        waiting(&Facts { view: &later, ..facts }, NOW).reason,
        "not due yet: its sender wished it later, or an allowance was used up"
    );
}

#[test]
fn what_a_person_holds_or_suspended_says_so_before_all_else() {
    let held = |reason: &str| DeliveryView {
        held: Some(OnHold { since: BEFORE, reason: reason.into() }),
        ..view(DeliveryState::Held, LATER, Some("a.mx"))
    };
    let hold = hold();
    let (named, bare) = (held("spam?"), held(""));
    check(&Facts { view: &named, diagnosis: None, hold: Some(&hold), ahead: None }, "held: spam?", Some(BEFORE), None, None);
    check(&Facts { view: &bare, diagnosis: None, hold: None, ahead: None }, "held", Some(BEFORE), None, None);
    let what = postrider_model::doors::Suspended::Tenant(TenantName::new("t"));
    let hold = Hold { reason: HoldReason::Suspended { what, why: "late bill".into() }, since: BEFORE, until: None };
    let later = view(DeliveryState::Waiting, LATER, Some("a.mx"));
    let suspended = Facts { view: &later, diagnosis: None, hold: Some(&hold), ahead: None };
    check(&suspended, "tenant t is suspended by hand: late bill", Some(BEFORE), None, None);
}
