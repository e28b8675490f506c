//! Golden sessions: each file of `dialogues/` is replayed whole, octet by octet, and in random pieces.

mod support;

use support::{client, files, replay, server};

#[test]
fn what_the_server_says() {
    let files = files("server");
    assert!(files.len() >= 20, "the dialogues are there");
    for file in files {
        replay(&file, ('C', 'S'), server::Player::new, server::Player::turn);
    }
}

#[test]
fn what_the_client_says() {
    let files = files("client");
    assert!(files.len() >= 20, "the dialogues are there");
    for file in files {
        replay(&file, ('S', 'C'), client::Player::new, client::Player::turn);
    }
}

#[test]
#[should_panic(expected = "what is said")]
fn a_wrong_dialogue_fails() {
    let folder = std::env::temp_dir().join(format!("postrider-smtp-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for the control");
    let path = folder.join("wrong.txt");
    std::fs::write(&path, "S: 220 mx.example ESMTP Postrider\nC: NOOP\nS: 250 2.0.0 Never\n").expect("written");
    replay(&path, ('C', 'S'), server::Player::new, server::Player::turn);
}
