//! What the machines cost: nanoseconds for each message of 10 KB, without any network.
//!
//! `cargo run --release -p postrider-smtp --example cost`

// A measurement needs the real clock and speaks to a person.
#![allow(clippy::disallowed_methods, clippy::print_stdout)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use postrider_smtp::client::{self, Client, Transaction};
use postrider_smtp::data::{Decoder, Encoder, Piece};
use postrider_smtp::server::{Config, Server, Step, Verdict};
use postrider_smtp::{ForwardPath, ReversePath};

const MESSAGES: u32 = 20_000;
const CONTENT_OCTETS: usize = 10_000;

fn main() {
    let content = content();
    println!("{CONTENT_OCTETS} octets of content in lines of 76, {MESSAGES} messages");
    measure("memchr3 alone", || {
        memchr::memchr3_iter(b'\r', b'\n', 0, &content).count();
    });
    measure("copy alone", || {
        black_box(content.clone());
    });
    let mut wire = Vec::new();
    measure("encoder", || {
        wire.clear();
        let mut encoder = Encoder::new();
        encoder.encode(&content, &mut wire);
        encoder.finish(&mut wire);
    });
    measure("decoder", || {
        let mut decoder = Decoder::for_data(1000);
        let mut rest = &wire[..];
        loop {
            let (used, piece) = decoder.next(rest);
            rest = &rest[used..];
            if black_box(piece) == Piece::End {
                break;
            }
        }
    });
    server(&wire, false);
    server(&wire, true);
    client_machine(&content);
    println!("a server session takes {} octets before its buffers", size_of::<Server>());
    println!("a client session takes {} octets before its buffers", size_of::<Client>());
}

fn content() -> Vec<u8> {
    let line = b"The quick brown fox jumps over the lazy dog and then does it all again, see\r\n";
    line.iter().copied().cycle().take(CONTENT_OCTETS / line.len() * line.len()).collect()
}

/// The best of many short runs: other work on the machine only ever adds.
fn measure(name: &str, mut work: impl FnMut()) {
    let batch = 100;
    let best = (0..MESSAGES / batch)
        .map(|_| {
            let start = Instant::now();
            (0..batch).for_each(|_| work());
            start.elapsed() / batch
        })
        .min()
        .unwrap_or_default();
    println!("{name:<32}{:>8} ns a message", best.as_nanos());
}

fn server(wire: &[u8], shrinking: bool) {
    let mut server = Server::new(Arc::new(Config::new("mx.example")), false);
    serve(&mut server);
    read(&mut server, b"EHLO client.example\r\n");
    let name = if shrinking { "server, buffers given back" } else { "server" };
    measure(name, || {
        read(&mut server, b"MAIL FROM:<sender@client.example> SIZE=10000\r\nRCPT TO:<recipient@remote.example>\r\nDATA\r\n");
        read(&mut server, wire);
        if shrinking {
            server.shrink();
        }
    });
}

/// Reads as a driver does: into the machine's own room.
fn read(server: &mut Server, mut octets: &[u8]) {
    while !octets.is_empty() {
        let space = server.space();
        let some = octets.len().min(space.len());
        space[..some].copy_from_slice(&octets[..some]);
        server.filled(some);
        octets = &octets[some..];
        serve(server);
    }
}

fn serve(server: &mut Server) {
    loop {
        match server.next() {
            Step::Read => return,
            Step::Write(octets) | Step::Content(octets) => drop(black_box(octets)),
            Step::Ask(question) => {
                drop(black_box(question));
                server.answer(Verdict::Accept);
            }
            step => panic!("unexpected {step:?}"),
        }
    }
}

fn client_machine(content: &[u8]) {
    let mut client = Client::new(client::Config::new("relay.example"));
    client.feed(b"220 mx.example ESMTP\r\n");
    deliver(&mut client, content);
    client.feed(b"250-mx.example\r\n250-PIPELINING\r\n250-SIZE 1000000\r\n250 8BITMIME\r\n");
    deliver(&mut client, content);
    let reverse_path = ReversePath::parse("<sender@client.example>").expect("a path");
    let recipient = ForwardPath::parse("<recipient@remote.example>").expect("a path");
    let transaction = Transaction { size: CONTENT_OCTETS as u64, ..Transaction::new(reverse_path, vec![recipient.into()]) };
    measure("client", || {
        client.begin(transaction.clone()).expect("sendable");
        deliver(&mut client, content);
        client.feed(b"250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 End data\r\n");
        deliver(&mut client, content);
        client.feed(b"250 2.0.0 Ok: queued\r\n");
        deliver(&mut client, content);
    });
}

fn deliver(client: &mut Client, content: &[u8]) {
    loop {
        match client.next() {
            client::Step::Read | client::Step::Ready(_) => return,
            client::Step::Write(octets) => drop(black_box(octets)),
            client::Step::WantContent => {
                client.content(content);
                client.end_of_content();
            }
            client::Step::Report(report) => assert!(report.recipients[0].reply.is_positive_completion()),
            step => panic!("unexpected {step:?}"),
        }
    }
}
