//! The queue in a person's hands, over the socket.

use std::sync::Arc;

use postrider_model::doors::Suspended;
use postrider_model::{Diagnosis, Event, EventKind, MessageId, Outcome, Phase, Reason, Timestamp, Trouble};

use super::played::{MESSAGE, NOW, Played};
use super::{Socket, played};
use crate::wire;

async fn changed(socket: &Socket, change: &wire::Change) -> Result<wire::Changed, String> {
    let (status, body) = socket.ask("POST", "/v1/queue/change", &serde_json::to_vec(change).unwrap()).await;
    match status {
        200 => Ok(serde_json::from_slice(&body).unwrap()),
        _ => Err(serde_json::from_slice::<wire::Refused>(&body).unwrap().error),
    }
}

fn change(action: &str) -> wire::Change {
    wire::Change { action: action.to_owned(), reason: Some("why".to_owned()), ..wire::Change::default() }
}

#[tokio::test]
async fn a_hold_is_one_change_and_takes_back_what_waits_for_its_turn() {
    let played = played(3);
    let socket = Socket::open(&played);
    let which = wire::Which { stream: Some("news".to_owned()), older_than_s: Some(60), ..wire::Which::default() };
    let held = changed(&socket, &wire::Change { which, ..change("hold") }).await.unwrap();
    assert_eq!((held.deliveries, held.next), (7, None));
    let asked = played.asked();
    assert!(asked[0].contains("Hold(OnHold { since: 2026-11-23T20:37:00.000Z, reason: \"why\" })"), "{asked:?}");
    assert!(asked[0].contains("arrived_to: Some(2026-11-23T20:36:00.000Z)") && asked[1] == "recall", "{asked:?}");
}

#[tokio::test]
async fn a_sender_is_looked_for_page_by_page_and_changed_by_message() {
    let played = played(1_500);
    let socket = Socket::open(&played);
    let which = wire::Which { sender: Some("a@shop.example".to_owned()), ..wire::Which::default() };
    let first = changed(&socket, &wire::Change { which: which.clone(), ..change("release") }).await.unwrap();
    assert_eq!((first.deliveries, first.next), (7, Some(1_000)));
    let asked = played.asked();
    assert!(asked[1].contains(&format!("messages: [{MESSAGE:?}]")) && asked[1].contains("sender: None"), "{asked:?}");
    let second = changed(&socket, &wire::Change { which, after: first.next, ..change("release") }).await.unwrap();
    assert_eq!(second.next, None);
}

#[tokio::test]
async fn ends_go_page_by_page_and_a_dry_run_changes_nothing() {
    let played = played(700);
    let socket = Socket::open(&played);
    let first = changed(&socket, &change("cancel")).await.unwrap();
    assert_eq!((first.deliveries, first.left, first.next), (499, 1, Some(500)));
    let second = changed(&socket, &wire::Change { after: first.next, ..change("bounce") }).await.unwrap();
    assert_eq!((second.deliveries, second.next), (199, None));
    let dry = changed(&socket, &wire::Change { dry_run: true, ..change("cancel") }).await.unwrap();
    assert_eq!(dry.deliveries, 700);
    let ends: Vec<String> = played.asked().into_iter().filter(|asked| asked.starts_with("end")).collect();
    assert_eq!(ends, ["end 500 Cancel why", "end 200 Bounce why"]);
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_with_a_sentence() {
    let socket = Socket::open(&played(1));
    let state = wire::Which { state: Some("held".to_owned()), ..wire::Which::default() };
    let long = Some("x".repeat(201));
    for (asked, said) in [
        (change("burn"), "\"burn\" is not an action"),
        (wire::Change { which: state, ..change("release") }, "a state cannot be chosen here"),
        (wire::Change { reason: long, ..change("hold") }, "one line of at most 200 octets"),
        (wire::Change { reason: Some("a\nb".to_owned()), ..change("hold") }, "one line"),
    ] {
        let refused = changed(&socket, &asked).await.unwrap_err();
        assert!(refused.contains(said), "{refused}");
    }
    let (status, said) = socket.refused("GET", "/v1/queue/shape?by=colour", b"").await;
    assert!(status == 400 && said.contains("has no rows"), "{said}");
}

#[tokio::test]
async fn ages_are_told_by_row() {
    let socket = Socket::open(&played(1));
    let shape: wire::Shape = socket.get("/v1/queue/shape?by=host&max=5&tenant=shop").await;
    assert_eq!((shape.total.deliveries, shape.rows[0].name.as_str(), shape.minutes.len()), (7, "c.example", 9));
    assert_eq!(shape.rows[0].ages[9], 4);
}

#[tokio::test]
async fn suspensions_are_told_until_they_end() {
    let played = played(1);
    let socket = Socket::open(&played);
    let target = wire::Target { kind: "tenant".to_owned(), name: "shop".to_owned() };
    let suspend = wire::Suspend { target: target.clone(), seconds: Some(60), reason: "late bill".to_owned() };
    let (status, _) = socket.ask("POST", "/v1/suspend", &serde_json::to_vec(&suspend).unwrap()).await;
    assert_eq!(status, 200);
    let kept = played.suspensions.lock().unwrap().clone();
    assert_eq!(
        (kept[0].what.clone(), kept[0].until),
        (Suspended::Tenant("shop".into()), Some(Timestamp::from_millis(NOW.millis() + 60_000)))
    );
    let told: wire::Suspensions = socket.get("/v1/suspended").await;
    assert_eq!((told.suspended[0].kind.as_str(), told.suspended[0].reason.as_str()), ("tenant", "late bill"));
    let target = serde_json::to_vec(&target).unwrap();
    assert_eq!(socket.ask("POST", "/v1/resume", &target).await.0, 200);
    assert_eq!(socket.refused("POST", "/v1/resume", &target).await, (422, "tenant shop is not suspended".to_owned()));
    let wrong = wire::Suspend { target: wire::Target { kind: "planet".to_owned(), name: "x".to_owned() }, ..suspend };
    let (status, said) = socket.refused("POST", "/v1/suspend", &serde_json::to_vec(&wrong).unwrap()).await;
    assert!(status == 400 && said.contains("cannot be suspended"), "{said}");
}

#[tokio::test]
async fn attempts_are_found_in_the_journal() {
    let at = |sequence: u64| Timestamp::from_millis(MESSAGE.accepted_at().millis() + sequence * 10_000 - 5_000_000);
    let event = |sequence: u64| {
        let id = if sequence % 100 == 50 { MESSAGE } else { MessageId(1) };
        let delivery = postrider_model::DeliveryId { message: id, index: 0 };
        let reason = Reason::Trouble(Trouble::Silent(sequence));
        let diagnosis = Diagnosis { at: at(sequence), phase: Phase::Greeting, reason, remote: None, address: None };
        let outcome = Outcome::Deferred { due: at(sequence + 1), diagnosis, delay_told: false };
        Event { sequence, at: at(sequence), kind: EventKind::Settled { delivery, attempt: None, outcome } }
    };
    for (first, found, kept_from) in [(1, 5, false), (700, 3, true)] {
        let journal = (first, (first..1_000).map(event).collect());
        let socket = Socket::open(&Arc::new(Played { deliveries: 1, journal, ..Played::default() }));
        let attempts: wire::Attempts = socket.get(&format!("/v1/queue/{MESSAGE}%2F0/attempts")).await;
        assert_eq!((attempts.attempts.len(), attempts.complete, attempts.kept_from.is_some()), (found, true, kept_from), "{first}");
        assert!(attempts.attempts[0].said.starts_with("no reply within"), "{:?}", attempts.attempts[0]);
    }
}

#[tokio::test]
async fn mail_is_sent_another_way_by_what_is_known_of_it() {
    let played = played(1);
    let socket = Socket::open(&played);
    let which = wire::Which { tenant: Some("shop".to_owned()), site: Some("mx.c.example".to_owned()), ..wire::Which::default() };
    let asked = wire::Reroute { to: "away".to_owned(), which, seconds: Some(60), reason: "blocked".to_owned(), new_too: false };
    let (status, _) = socket.ask("POST", "/v1/reroute", &serde_json::to_vec(&asked).unwrap()).await;
    assert_eq!(status, 200);
    let kept = played.reroutes.lock().unwrap()[0].clone();
    assert_eq!(kept.hosts, [postrider_smtp::Host::parse("c.example").unwrap()], "the Site stands for the hosts with mail for it");
    assert_eq!((kept.accepted_to, kept.until), (Some(NOW), Some(Timestamp::from_millis(NOW.millis() + 60_000))));
    let told: wire::Reroutes = socket.get("/v1/rerouted").await;
    assert_eq!((told.rerouted[0].to.as_str(), told.rerouted[0].reason.as_str()), ("away", "blocked"));
    let nowhere = wire::Reroute { to: "nowhere".to_owned(), ..asked.clone() };
    assert_eq!(socket.refused("POST", "/v1/reroute", &serde_json::to_vec(&nowhere).unwrap()).await.0, 422);
    for (wrong, said) in [
        (wire::Reroute { new_too: true, ..asked.clone() }, "new mail has no id"),
        (wire::Reroute { seconds: Some(0), ..asked.clone() }, "for no time"),
        (
            wire::Reroute { which: wire::Which { state: Some("held".to_owned()), ..wire::Which::default() }, ..asked.clone() },
            "not by its state",
        ),
        (
            wire::Reroute { which: wire::Which { messages: vec![format!("{MESSAGE}/0")], ..wire::Which::default() }, ..asked },
            "without the index",
        ),
    ] {
        let (status, refused) = socket.refused("POST", "/v1/reroute", &serde_json::to_vec(&wrong).unwrap()).await;
        assert!(status == 400 && refused.contains(said), "{refused}");
    }
    let end = serde_json::to_vec(&wire::EndReroute { number: 1 }).unwrap();
    assert_eq!(socket.ask("POST", "/v1/reroute/end", &end).await.0, 200);
    assert!(socket.get::<wire::Reroutes>("/v1/rerouted").await.rerouted.is_empty());
}
