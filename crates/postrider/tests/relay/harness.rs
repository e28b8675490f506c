//! A relay in a directory of its own, a next hop, and a client. Nothing sleeps: everything waits for a line.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

pub use crate::hop::Hop;

/// How long anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// SHA-256 of "secret".
pub const SECRET_SHA256: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

/// A directory that goes with its test.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("postrider-test-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    /// Puts a configuration where `serve` looks for it.
    pub fn configure(&self, text: &str) {
        fs::create_dir_all(self.data()).unwrap();
        fs::write(self.data().join("postrider.toml"), text).unwrap();
    }

    /// Runs a command of the program on this directory.
    pub fn cli(&self, words: &[&str]) -> Output {
        program().arg("--data").arg(self.data()).args(words).stdin(Stdio::null()).output().unwrap()
    }

    /// Runs a command that has to succeed; what it printed.
    pub fn said(&self, words: &[&str]) -> String {
        let output = self.cli(words);
        let (out, err) = (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{words:?}: {}\n{out}{err}", output.status);
        out
    }

    /// Runs a command that has to fail; what it complained, and its exit status.
    pub fn complained(&self, words: &[&str]) -> (String, i32) {
        let output = self.cli(words);
        let text = [output.stdout, output.stderr].concat();
        assert!(!output.status.success(), "{words:?} succeeded");
        (String::from_utf8_lossy(&text).into_owned(), output.status.code().unwrap())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_postrider"))
}

/// A configuration on free ports: submission in the clear for a test's own client, and one tenant.
pub fn config(smtp_port: u16) -> String {
    format!(
        "[relay]\nhost_name = \"relay.test\"\npostmaster = \"desk@desk.test\"\ndrain_timeout = \"5s\"\n\
         [[listener]]\nname = \"submission\"\naddress = \"127.0.0.1:0\"\nrole = \"submission\"\ntls = \"starttls\"\nauth_in_clear = true\n\
         [[listener]]\nname = \"relay\"\naddress = \"127.0.0.1:0\"\nrole = \"relay\"\n\
         [[credential]]\nuser = \"app\"\nsecret_sha256 = \"{SECRET_SHA256}\"\n\
         [spool]\nsegment_size = \"1 MiB\"\n[dns]\nservers = [\"127.0.0.1:1\"]\n[delivery]\nsmtp_port = {smtp_port}\n[log]\nformat = \"human\"\n"
    )
}

/// Lines of a pipe, as they come.
pub struct Lines {
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Lines {
    fn of(pipe: impl Read + Send + 'static) -> Self {
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { lines, seen: Vec::new() }
    }

    /// Waits for a line that holds `part`.
    pub fn wait(&mut self, part: &str) -> String {
        loop {
            let Ok(line) = self.lines.recv_timeout(PATIENCE) else {
                panic!("no line with {part:?} came; what came:\n{}", self.seen.join("\n"));
            };
            self.seen.push(line.clone());
            if line.contains(part) {
                return line;
            }
        }
    }

    /// A line with `part` among those that came already.
    pub fn seen(&self, part: &str) -> String {
        self.seen.iter().find(|line| line.contains(part)).unwrap_or_else(|| panic!("no {part:?} in:\n{}", self.seen.join("\n"))).clone()
    }

    /// Everything until the pipe's end.
    pub fn all(&mut self) -> String {
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.seen.push(line);
        }
        self.seen.join("\n")
    }
}

/// A relay that runs; killed when this is dropped.
pub struct Relay {
    child: Child,
    pub folder: Folder,
    /// What the program says.
    pub said: Lines,
    /// What it does with mail.
    pub mail: Lines,
}

impl Relay {
    /// Starts with a configuration of a test.
    pub fn start(config: &str) -> Self {
        let folder = Folder::new();
        folder.configure(config);
        Self::start_in(folder, &[])
    }

    /// Starts on what is there, and waits until it is ready.
    pub fn start_in(folder: Folder, words: &[&str]) -> Self {
        let mut command = program();
        command.arg("--data").arg(folder.data()).arg("serve").args(words).stdin(Stdio::null());
        Self::start_as(folder, command)
    }

    /// Starts by a command of a test's own, and waits until it is ready.
    pub fn start_as(folder: Folder, mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = Lines::of(child.stderr.take().unwrap());
        let mail = Lines::of(child.stdout.take().unwrap());
        said.wait("ready");
        Self { child, folder, said, mail }
    }

    /// Where the listener of this name really listens.
    pub fn address(&self, listener: &str) -> SocketAddr {
        let status = self.status();
        let found = status["listeners"].as_array().unwrap().iter().find(|view| view["name"] == listener).unwrap();
        found["address"].as_str().unwrap().parse().unwrap()
    }

    /// What `status` says.
    pub fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.folder.said(&["status", "--json"])).unwrap()
    }

    /// Deliveries in the queue.
    pub fn waiting(&self) -> u64 {
        self.status()["deliveries"].as_u64().unwrap()
    }

    /// Sockets that the process has open (files of the spool come and go by their own rules), and tasks of its runtime.
    pub fn holds(&self) -> (usize, u64) {
        let tasks = self.status()["tasks"].as_u64().unwrap();
        let open = fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap();
        let links = open.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
        (links.filter(|link| link.to_string_lossy().starts_with("socket:")).count(), tasks)
    }

    /// Asks again and again until the process holds no more than that.
    pub fn await_holding(&self, (sockets, tasks): (usize, u64)) {
        let mut seen = (usize::MAX, u64::MAX);
        for _ in 0..2_000 {
            seen = self.holds();
            if seen.0 <= sockets && seen.1 <= tasks {
                return;
            }
        }
        panic!("{seen:?} sockets and tasks are held, {sockets} and {tasks} were before");
    }

    /// The most memory the process ever had, in KiB.
    pub fn memory_peak_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse().unwrap()
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for its end; the directory stays.
    pub fn ended(mut self) -> (ExitStatus, String, Folder) {
        let said = self.said.all();
        let status = self.child.wait().unwrap();
        let folder = std::mem::replace(&mut self.folder, Folder::new());
        (status, said, folder)
    }

    pub fn kill(mut self) -> Folder {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::mem::replace(&mut self.folder, Folder::new())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One SMTP session of a client.
pub struct Session {
    stream: BufReader<TcpStream>,
}

impl Session {
    /// Connects and says EHLO.
    pub fn open(address: SocketAddr) -> Self {
        let mut session = Self::over(TcpStream::connect(address).unwrap());
        session.say("EHLO client.test");
        session
    }

    /// A session over a connection, greeted.
    pub fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut session = Self { stream: BufReader::new(stream) };
        assert!(session.reply().starts_with("220"));
        session
    }

    /// Sends octets as they stand. A relay that hung up takes no more, and that is no failure.
    pub fn write(&mut self, octets: &[u8]) {
        let _ = self.stream.get_mut().write_all(octets);
    }

    /// Everything until the relay hangs up.
    pub fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest);
        String::from_utf8_lossy(&rest).into_owned()
    }

    /// The connection, for what a session would not do.
    pub fn stream(&self) -> &TcpStream {
        self.stream.get_ref()
    }

    /// As [`Session::open`], and proves itself as `app`.
    pub fn log_in(address: SocketAddr) -> Self {
        let mut session = Self::open(address);
        let reply = session.say("AUTH PLAIN AGFwcABzZWNyZXQ=");
        assert!(reply.starts_with("235"), "{reply}");
        session
    }

    /// Says a command; the last line of the reply.
    pub fn say(&mut self, command: &str) -> String {
        self.stream.get_mut().write_all(format!("{command}\r\n").as_bytes()).unwrap();
        self.reply()
    }

    /// The last line of a reply; empty at the end.
    pub fn reply(&mut self) -> String {
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).unwrap();
            if line.as_bytes().get(3) != Some(&b'-') {
                return line;
            }
        }
    }

    /// One transaction; the reply to its end.
    pub fn send(&mut self, from: &str, to: &str, content: &str) -> String {
        for command in [format!("MAIL FROM:<{from}>"), format!("RCPT TO:<{to}>")] {
            let reply = self.say(&command);
            assert!(reply.starts_with("250"), "{command}: {reply}");
        }
        assert!(self.say("DATA").starts_with("354"));
        self.say(&format!("{content}\r\n."))
    }
}

/// The mode of a file, its last nine bits.
pub fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).unwrap().mode() & 0o777
}
