//! The queue as `mailq` shows it: one paragraph for each message, in the form that people and scripts know from Postfix.

use postrider_http::wire;

use crate::cli::client::{Client, path_with, segment};
use crate::shown::{Clean, say};

/// Lists everything that waits, as it comes.
pub async fn list(client: &mut Client) -> anyhow::Result<()> {
    let (mut messages, mut octets): (u64, u64) = (0, 0);
    let mut after: Option<String> = None;
    let mut last = String::new();
    loop {
        let path = path_with("/v1/queue", &[("after", after.as_deref())]);
        let page: wire::QueuePage = client.get(&path).await?;
        for delivery in &page.deliveries {
            let id = delivery.id.split('/').next().unwrap_or_default();
            if id == last {
                continue;
            }
            id.clone_into(&mut last);
            // What is gone by the time it is asked for was delivered meanwhile.
            let Ok(message) = client.get::<wire::Message>(&format!("/v1/queue/{}", segment(id))).await else { continue };
            if messages == 0 {
                say(format_args!("{:<37}--Size-- ----Arrival Time---- -Sender/Recipient-------", "-Queue ID-"))?;
            }
            say(paragraph(&message))?;
            messages += 1;
            octets += message.content_octets;
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    match messages {
        0 => say("Mail queue is empty")?,
        1 => say(format_args!("-- {} Kbytes in 1 Request.", octets.div_ceil(1024)))?,
        _ => say(format_args!("-- {} Kbytes in {messages} Requests.", octets.div_ceil(1024)))?,
    }
    Ok(())
}

fn paragraph(message: &wire::Message) -> String {
    let under_way = if message.deliveries.iter().any(|one| one.delivery.state == "lent") { "*" } else { " " };
    let sender = match message.from.trim_start_matches('<').trim_end_matches('>') {
        "" => "MAILER-DAEMON",
        sender => sender,
    };
    let arrived = message.arrived_at.split('.').next().unwrap_or_default();
    let mut text = format!("{}{under_way}{:>8} {arrived:<20} {}\n", message.id, message.content_octets, Clean(sender));
    for recipient in &message.deliveries {
        if let Some(last) = &recipient.last {
            text.push_str(&format!("{:>40}({})\n", "", Clean(&last.diagnosis)));
        }
        text.push_str(&format!("{:<67}{}\n", "", Clean(&recipient.to)));
    }
    text
}
