//! A PostgreSQL of the test's own, from the programs that Debian's package brings: on a unix socket in a directory of its own.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Folder;

/// A server, until the test ends.
pub struct Server {
    folder: Folder,
    programs: PathBuf,
}

impl Server {
    /// Starts one; `None` where PostgreSQL is not installed. With POSTRIDER_PEERS_DEMANDED set that is a failure.
    pub fn start() -> Option<Self> {
        let options = |server: &Self| format!("-c listen_addresses='' -c unix_socket_directories='{}'", server.folder.0.display());
        Self::start_with("trust", &[], options)
    }

    /// Starts one on loopback that is spoken to under TLS alone, with this certificate and this key.
    pub fn start_secured(port: u16, certificate: &str, key: &str) -> Option<Self> {
        let options = |server: &Self| {
            let folder = server.folder.0.display();
            format!(
                "-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories='{folder}' -c ssl=on -c ssl_cert_file='{folder}/data/cert.pem' \
                 -c ssl_key_file='{folder}/data/key.pem' -c hba_file='{folder}/data/hba'"
            )
        };
        let hba = "local all all trust\nhostssl all all 127.0.0.1/32 trust\n";
        Self::start_with("trust", &[("cert.pem", certificate), ("key.pem", key), ("hba", hba)], options)
    }

    fn start_with(auth: &str, files: &[(&str, &str)], options: impl FnOnce(&Self) -> String) -> Option<Self> {
        let Some(programs) = programs() else {
            assert!(std::env::var_os("POSTRIDER_PEERS_DEMANDED").is_none(), "PostgreSQL is not installed, and it is demanded");
            eprintln!("PostgreSQL is not installed: not tested on it");
            return None;
        };
        let server = Self { folder: Folder::new(), programs };
        let folder = &server.folder.0;
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(folder));
        }
        let data = folder.join("data");
        run(server
            .command("initdb")
            .args([&format!("--auth={auth}"), "--username=postrider", "--encoding=UTF8", "--no-sync", "-D"])
            .arg(&data));
        files.iter().for_each(|(name, text)| server.put(&data.join(name), text));
        let options = format!("{} -c fsync=off", options(&server));
        let log = folder.join("log");
        run(server.command("pg_ctl").args(["-w", "-D"]).arg(&data).arg("-l").arg(log).arg("-o").arg(options).arg("start"));
        Some(server)
    }

    /// How it is reached.
    pub fn url(&self) -> String {
        format!("host={} user=postrider dbname=postgres", self.folder.0.display())
    }

    /// A file for the server alone.
    fn put(&self, path: &Path, text: &str) {
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(path));
        }
    }

    /// PostgreSQL refuses to run as root.
    fn command(&self, program: &str) -> Command {
        let path = self.programs.join(program);
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(path);
            command
        } else {
            Command::new(path)
        };
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null());
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.command("pg_ctl").args(["-m", "immediate", "-D"]).arg(self.folder.0.join("data")).arg("stop").status();
    }
}

fn run(command: &mut Command) {
    let output = command.stderr(Stdio::piped()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Where Debian puts the newest version's programs.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut folders: Vec<PathBuf> =
        versions.map(|entry| entry.unwrap().path().join("bin")).filter(|folder| folder.join("initdb").exists()).collect();
    folders.sort();
    folders.pop()
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(Path::new("/proc/self")).is_ok_and(|facts| facts.uid() == 0)
}
