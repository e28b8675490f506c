//! The words of the command line, read as Postfix's sendmail reads them: options first, then recipients.

use std::path::PathBuf;

/// Options that take an argument, in the same word or in the next one.
const WITH_ARGUMENT: &str = "ABCFLNORVXbefhopqr";

/// Options that stand alone. Several may share a word.
const ALONE: &str = "GIUcimntvx";

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Take a message from standard input.
    Deliver,
    /// SMTP on standard input and output (`-bs`).
    Session,
    /// List the queue (`-bp`, `mailq`).
    Queue,
    /// Make mail due now (`-q`).
    Flush,
    /// A host's mail (`-qR`).
    FlushHost(String),
    /// One message (`-qI`).
    FlushMessage(String),
    /// There is no database of aliases to build, or nothing at all to do (`-bi`, `newaliases`, `-bh`, `-q30m`).
    Nothing,
}

/// What was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// What is to be done.
    pub mode: Mode,
    /// `--data`
    pub data: Option<PathBuf>,
    /// Recipients are in the header, too (`-t`).
    pub from_header: bool,
    /// A line with a dot alone ends the message (not with `-i`).
    pub dot_ends: bool,
    /// The reverse-path (`-f`, `-r`).
    pub sender: Option<String>,
    /// The sender's full name (`-F`).
    pub full_name: Option<String>,
    /// When the sender wants to hear of it (`-N`), as NOTIFY says it.
    pub notify: Option<String>,
    /// How much comes back with a failure (`-R`), as RET says it.
    pub ret: Option<String>,
    /// The sender's name for the envelope (`-V`).
    pub envid: Option<String>,
    /// What stands behind the options.
    pub recipients: Vec<String>,
}

/// Reads the words behind the program's name, which decides what is done unless an option does.
pub fn parse(name: &str, words: Vec<String>) -> Result<Options, String> {
    let mode = match name {
        "mailq" => Mode::Queue,
        "newaliases" => Mode::Nothing,
        _ => Mode::Deliver,
    };
    let mut options = Options {
        mode,
        data: None,
        from_header: false,
        dot_ends: true,
        sender: None,
        full_name: None,
        notify: None,
        ret: None,
        envid: None,
        recipients: Vec::new(),
    };
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        if word == "--" {
            options.recipients.extend(words);
            break;
        }
        if let Some(rest) = word.strip_prefix("--data") {
            let directory = rest.strip_prefix('=').map(str::to_owned).or_else(|| words.next());
            options.data = Some(PathBuf::from(directory.ok_or("--data needs a directory")?));
            continue;
        }
        match word.strip_prefix('-') {
            Some("q") => options.mode = Mode::Flush,
            Some(letters) if !letters.is_empty() => one_word(&mut options, letters, &mut words)?,
            _ => {
                options.recipients.push(word);
                options.recipients.extend(words);
                break;
            }
        }
    }
    agree(&options)?;
    Ok(options)
}

/// One word of letters: some that stand alone, perhaps one with an argument at the end.
fn one_word(options: &mut Options, letters: &str, words: &mut impl Iterator<Item = String>) -> Result<(), String> {
    let mut rest = letters.chars();
    while let Some(letter) = rest.next() {
        if ALONE.contains(letter) {
            alone(options, letter)?;
            continue;
        }
        if !WITH_ARGUMENT.contains(letter) {
            return Err(format!("unknown option -{letter}"));
        }
        let here = rest.as_str();
        let argument = if here.is_empty() { words.next() } else { Some(here.to_owned()) };
        let argument = argument.ok_or_else(|| format!("option -{letter} needs an argument"))?;
        return with_argument(options, letter, argument);
    }
    Ok(())
}

fn alone(options: &mut Options, letter: char) -> Result<(), String> {
    match letter {
        'i' => options.dot_ends = false,
        't' => options.from_header = true,
        'I' => options.mode = Mode::Nothing,
        'n' => return Err("option -n is not supported".to_owned()),
        // -G -U -c -m -v -x have no meaning here, and harm nothing.
        _ => {}
    }
    Ok(())
}

fn with_argument(options: &mut Options, letter: char, argument: String) -> Result<(), String> {
    match letter {
        'f' | 'r' => options.sender = Some(argument),
        'F' => options.full_name = Some(argument),
        'o' if argument == "i" => options.dot_ends = false,
        'N' => options.notify = Some(notify(&argument)?),
        'R' => {
            options.ret = Some(match argument.to_ascii_lowercase().as_str() {
                "full" => "FULL".to_owned(),
                "hdrs" => "HDRS".to_owned(),
                _ => return Err("option -R needs full or hdrs".to_owned()),
            });
        }
        'V' => options.envid = Some(argument),
        'B' if !matches!(argument.to_ascii_uppercase().as_str(), "8BITMIME" | "7BIT") => {
            return Err("option -B needs 8BITMIME or 7BIT".to_owned());
        }
        'b' => options.mode = mode(&argument)?,
        'q' => {
            options.mode = match argument.split_at_checked(1) {
                Some(("R", host)) if !host.is_empty() => Mode::FlushHost(host.to_owned()),
                Some(("I", message)) if !message.is_empty() => Mode::FlushMessage(message.to_owned()),
                Some((digit, _)) if digit.starts_with(|c: char| c.is_ascii_digit()) => Mode::Nothing,
                _ => return Err(format!("-q{argument} is not supported: -q, -qRHOST and -qIID are")),
            };
        }
        // What the message is, the relay sees itself; old tunings and tags are taken and not looked at.
        _ => {}
    }
    Ok(())
}

/// `never`, or some of `success`, `failure` and `delay` (RFC 3461 §4.1).
fn notify(argument: &str) -> Result<String, String> {
    let words = argument.to_ascii_uppercase();
    let known = words == "NEVER" || words.split(',').all(|word| matches!(word, "SUCCESS" | "FAILURE" | "DELAY"));
    if known { Ok(words) } else { Err("option -N needs never, or some of success,failure,delay".to_owned()) }
}

fn mode(argument: &str) -> Result<Mode, String> {
    match argument {
        "m" => Ok(Mode::Deliver),
        "s" => Ok(Mode::Session),
        "p" => Ok(Mode::Queue),
        "i" | "h" | "H" => Ok(Mode::Nothing),
        "d" | "D" | "l" => Err("the relay is not started this way: `postrider serve` starts it (or systemctl start postrider)".to_owned()),
        other => Err(format!("-b{other} is not supported: -bm, -bs, -bp and -bi are")),
    }
}

fn agree(options: &Options) -> Result<(), String> {
    let delivers = options.mode == Mode::Deliver;
    if options.from_header && !delivers {
        return Err("-t can be used only to hand a message over".to_owned());
    }
    // `newaliases` and -bh take whatever stands behind them.
    if !delivers && options.mode != Mode::Nothing && !options.recipients.is_empty() {
        return Err("this mode takes no recipients".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, words: &str) -> Result<Options, String> {
        parse(name, words.split_whitespace().map(str::to_owned).collect())
    }

    #[test]
    fn the_words_of_old_software_are_understood() {
        let base = read("sendmail", "").unwrap();
        let recipients = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        for (words, expected) in [
            ("-t -i", Options { from_header: true, dot_ends: false, ..base.clone() }),
            ("-ti", Options { from_header: true, dot_ends: false, ..base.clone() }),
            ("-oi -fa@b c@d", Options { dot_ends: false, sender: Some("a@b".into()), recipients: recipients(&["c@d"]), ..base.clone() }),
            (
                "-i -f a@b -- -c@d",
                Options { dot_ends: false, sender: Some("a@b".into()), recipients: recipients(&["-c@d"]), ..base.clone() },
            ),
            (
                "-FCronDaemon -i -B8BITMIME -oem root",
                Options { full_name: Some("CronDaemon".into()), dot_ends: false, recipients: recipients(&["root"]), ..base.clone() },
            ),
            (
                "-em -odi -o8 -oQ/x -v -U -G -h 5 -L tag -N never -R hdrs -V id -O x=y -p p a",
                Options {
                    notify: Some("NEVER".into()),
                    ret: Some("HDRS".into()),
                    envid: Some("id".into()),
                    recipients: recipients(&["a"]),
                    ..base.clone()
                },
            ),
            ("-Nsuccess,DELAY a", Options { notify: Some("SUCCESS,DELAY".into()), recipients: recipients(&["a"]), ..base.clone() }),
            ("a -t", Options { recipients: recipients(&["a", "-t"]), ..base.clone() }),
            ("--data /x -bp", Options { data: Some("/x".into()), mode: Mode::Queue, ..base.clone() }),
            ("--data=/x -bs", Options { data: Some("/x".into()), mode: Mode::Session, ..base.clone() }),
            ("-q", Options { mode: Mode::Flush, ..base.clone() }),
            ("-qRb.example", Options { mode: Mode::FlushHost("b.example".into()), ..base.clone() }),
            ("-q30m", Options { mode: Mode::Nothing, ..base.clone() }),
            ("-bi", Options { mode: Mode::Nothing, ..base.clone() }),
            ("-bm a", Options { recipients: recipients(&["a"]), ..base.clone() }),
        ] {
            assert_eq!(read("sendmail", words), Ok(expected), "{words}");
        }
        assert_eq!(read("mailq", "").unwrap().mode, Mode::Queue);
        assert_eq!(read("newaliases", "x").unwrap().mode, Mode::Nothing);
        assert_eq!(read("newaliases", "-bp").unwrap().mode, Mode::Queue);
    }

    #[test]
    fn what_is_not_understood_is_told() {
        for (words, part) in [
            ("-f", "-f needs an argument"),
            ("-n a", "-n is not supported"),
            ("-Z", "unknown option -Z"),
            ("-bd", "postrider serve"),
            ("-bz", "-bz is not supported"),
            ("-qx", "-qx is not supported"),
            ("-Bx", "-B needs 8BITMIME or 7BIT"),
            ("-N sometimes a", "-N needs never"),
            ("-N never,success a", "-N needs never"),
            ("-Rall a", "-R needs full or hdrs"),
            ("-t -bp", "-t can be used only"),
            ("-bp a", "takes no recipients"),
            ("--data", "--data needs a directory"),
        ] {
            assert!(read("sendmail", words).is_err_and(|said| said.contains(part)), "{words}");
        }
    }
}
