//! Reading dialogue files and replaying them. The form of a file stands in `dialogues/README.md`.

pub mod client;
pub mod server;

use std::fs;
use std::path::{Path, PathBuf};

/// How the input of one turn is cut.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    Whole,
    Octets,
    /// With this seed.
    Random(u64),
}

/// What one side does, and what is expected to come of it.
#[derive(Debug, Default)]
pub struct Turn {
    pub line: usize,
    pub does: Vec<Doing>,
    pub says: Vec<String>,
    pub notes: Vec<String>,
}

#[derive(Debug)]
pub enum Doing {
    Octets(Vec<u8>),
    Action(String),
}

#[derive(Debug, Default)]
pub struct Dialogue {
    pub options: Vec<(String, String)>,
    /// How the input is cut matters for what happens.
    pub whole_only: bool,
    pub turns: Vec<Turn>,
}

/// What a replay gave in one turn.
#[derive(Debug, Default)]
pub struct Heard {
    pub octets: Vec<u8>,
    pub notes: Vec<String>,
}

impl Dialogue {
    /// `input` and `output` are the marks of the two sides, `C` and `S`.
    pub fn parse(text: &str, input: char, output: char) -> Dialogue {
        let mut dialogue = Dialogue::default();
        let mut turn = Turn::default();
        for (nth, line) in text.lines().enumerate() {
            let Some((mark, rest)) = line.split_at_checked(2).filter(|(mark, _)| !mark.starts_with('#')) else { continue };
            let rest = rest.strip_prefix(' ').unwrap_or(rest);
            let answered = !turn.says.is_empty() || !turn.notes.is_empty();
            let doing = mark.starts_with(input) || mark == "> ";
            if doing && answered {
                dialogue.turns.push(std::mem::take(&mut turn));
            }
            if turn.line == 0 {
                turn.line = nth + 1;
            }
            match mark {
                "! " if rest == "whole" => dialogue.whole_only = true,
                "! " => {
                    let (name, value) = rest.split_once(' ').unwrap_or((rest, "true"));
                    dialogue.options.push((name.into(), value.into()));
                }
                "= " => turn.notes.push(rest.into()),
                "> " => turn.does.push(Doing::Action(rest.into())),
                _ if mark == format!("{input}:") => turn.does.push(Doing::Octets([unescape(rest), b"\r\n".to_vec()].concat())),
                _ if mark == format!("{input}~") => turn.does.push(Doing::Octets(unescape(rest))),
                _ if mark == format!("{output}:") => turn.says.push(rest.into()),
                _ => panic!("line {}: {line:?} is not of a dialogue", nth + 1),
            }
        }
        dialogue.turns.push(turn);
        dialogue
    }
}

/// `\r \n \0 \t \\`, `\x1b`, and `\(3000*x)` for repetition.
pub fn unescape(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        octets.extend_from_slice(&rest.as_bytes()[..at]);
        let (letter, behind) = rest[at + 1..].split_at(1);
        rest = behind;
        match letter {
            "r" => octets.push(b'\r'),
            "n" => octets.push(b'\n'),
            "0" => octets.push(0),
            "t" => octets.push(b'\t'),
            "\\" => octets.push(b'\\'),
            "x" => {
                octets.push(u8::from_str_radix(&rest[..2], 16).expect("two hexadecimal digits"));
                rest = &rest[2..];
            }
            "(" => {
                let (times, what) = rest.split_once('*').expect("(times*what)");
                let (what, behind) = what.split_once(')').expect("(times*what)");
                octets.extend(unescape(what).repeat(times.parse().expect("a number")));
                rest = behind;
            }
            other => panic!("unknown escape {other:?}"),
        }
    }
    octets.extend_from_slice(rest.as_bytes());
    octets
}

/// Cuts octets into the pieces they arrive in.
pub fn pieces(octets: &[u8], cut: Cut) -> Vec<&[u8]> {
    match cut {
        Cut::Whole => vec![octets],
        Cut::Octets => octets.chunks(1).collect(),
        Cut::Random(seed) => {
            let (mut rest, mut pieces, mut state) = (octets, Vec::new(), seed);
            while !rest.is_empty() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let (piece, behind) = rest.split_at(((state >> 33) as usize % 40 + 1).min(rest.len()));
                pieces.push(piece);
                rest = behind;
            }
            pieces
        }
    }
}

/// All dialogue files of a folder, sorted.
pub fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("dialogues").join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).expect("the folder is there").map(|entry| entry.expect("readable").path()).collect();
    files.sort();
    files
}

/// Replays a file in every way of cutting; `play` makes a player for the dialogue's options.
pub fn replay<P>(path: &Path, marks: (char, char), play: impl Fn(&Dialogue) -> P, turn: impl Fn(&mut P, &Turn, Cut) -> Heard) {
    let text = fs::read_to_string(path).expect("a readable dialogue");
    let dialogue = Dialogue::parse(&text, marks.0, marks.1);
    let cuts = [Cut::Whole, Cut::Octets].into_iter().chain((1..40).map(Cut::Random));
    for cut in cuts.take(if dialogue.whole_only { 1 } else { 41 }) {
        let mut player = play(&dialogue);
        for expected in &dialogue.turns {
            let heard = turn(&mut player, expected, cut);
            let text = String::from_utf8_lossy(&heard.octets).into_owned();
            let says: Vec<String> = text.split_terminator("\r\n").map(str::to_owned).collect();
            let name = format!("{} line {}, cut {cut:?}", path.display(), expected.line);
            assert_eq!(says, expected.says, "what is said: {name}; notes {:?}", heard.notes);
            assert_eq!(heard.notes, expected.notes, "what happens: {name}");
        }
    }
}
