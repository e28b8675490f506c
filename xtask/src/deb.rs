//! The Debian package: `cargo xtask deb`, with dpkg-deb and nothing else.
//!
//! **Promises.** What stands in `packaging/` goes into the package as it is; the version is the workspace's, the C library the oldest that the program
//! can run with.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::steps::{cargo, output, program, root, step, target_dir};

/// The files of the package: where they come from, where they go, and their mode.
const FILES: &[(&str, &str, u32)] = &[
    ("packaging/debian/postrider.toml", "etc/postrider/postrider.toml", 0o644),
    ("packaging/systemd/postrider.service", "usr/lib/systemd/system/postrider.service", 0o644),
    ("packaging/systemd/postrider-relay.socket", "usr/lib/systemd/system/postrider-relay.socket", 0o644),
    ("packaging/systemd/postrider-submission.socket", "usr/lib/systemd/system/postrider-submission.socket", 0o644),
    ("packaging/systemd/postrider-submissions.socket", "usr/lib/systemd/system/postrider-submissions.socket", 0o644),
    ("packaging/grafana/postrider.json", "usr/share/postrider/grafana.json", 0o644),
    ("packaging/debian/copyright", "usr/share/doc/postrider/copyright", 0o644),
];

/// Pages that a postmaster reads.
const PAGES: &[&str] = &["production.md", "operating.md", "routing.md", "configuration.md", "from-postfix.md", "rfc.md", "security.md"];

/// Names under which old software knows the program.
const LINKS: &[(&str, &str)] = &[
    ("usr/sbin/sendmail", "../bin/postrider"),
    ("usr/lib/sendmail", "../bin/postrider"),
    ("usr/bin/mailq", "postrider"),
    ("usr/bin/newaliases", "postrider"),
];

/// `deb [--binary FILE] [--out DIR]`
pub fn run(arguments: &[String]) -> Result<()> {
    let (mut binary, mut out) = (None, target_dir().join("deb"));
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match (word.as_str(), words.next()) {
            ("--binary", Some(file)) => binary = Some(PathBuf::from(file)),
            ("--out", Some(folder)) => out = PathBuf::from(folder),
            _ => bail!("xtask deb [--binary FILE] [--out DIR]"),
        }
    }
    let binary = match binary {
        Some(file) => file,
        None => {
            step("build", cargo().args(["build", "--release", "--package", "postrider", "--locked"]))?;
            target_dir().join("release/postrider")
        }
    };
    println!("{}", build(&binary, &out)?.display());
    Ok(())
}

/// Builds the package from a program that is there; its path.
pub fn build(binary: &Path, out: &Path) -> Result<PathBuf> {
    let tree = out.join("tree");
    if tree.exists() {
        fs::remove_dir_all(&tree)?;
    }
    let program_file = tree.join("usr/bin/postrider");
    put(binary, &program_file, 0o755)?;
    output(program("strip").arg(&program_file)).context("strip comes with every C compiler")?;
    for (from, to, mode) in FILES {
        put(&root().join(from), &tree.join(to), *mode)?;
    }
    for page in PAGES.iter().filter(|page| root().join("docs").join(page).exists()) {
        put(&root().join("docs").join(page), &tree.join("usr/share/doc/postrider").join(page), 0o644)?;
    }
    for (link, to) in LINKS {
        let link = tree.join(link);
        fs::create_dir_all(link.parent().context("a link stands in a folder")?)?;
        symlink(to, link)?;
    }
    let architecture = output(program("dpkg").arg("--print-architecture")).context("this needs Debian's dpkg")?;
    let version = env!("CARGO_PKG_VERSION");
    let installed_kib = fs::metadata(&program_file)?.len() / 1024 + 256;
    let control = fs::read_to_string(root().join("packaging/debian/control"))?
        .replace("{version}", version)
        .replace("{architecture}", architecture.trim())
        .replace("{installed_kib}", &installed_kib.to_string())
        .replace("{glibc}", &glibc(&fs::read(&program_file)?));
    fs::create_dir_all(tree.join("DEBIAN"))?;
    fs::write(tree.join("DEBIAN/control"), control)?;
    put(&root().join("packaging/debian/conffiles"), &tree.join("DEBIAN/conffiles"), 0o644)?;
    for script in ["postinst", "prerm", "postrm"] {
        put(&root().join("packaging/debian").join(script), &tree.join("DEBIAN").join(script), 0o755)?;
    }
    let package = out.join(format!("postrider_{version}_{}.deb", architecture.trim()));
    output(program("dpkg-deb").args(["--root-owner-group", "--build"]).arg(&tree).arg(&package))?;
    fs::remove_dir_all(&tree)?;
    Ok(package)
}

fn put(from: &Path, to: &Path, mode: u32) -> Result<()> {
    let folder = to.parent().context("a file stands in a folder")?;
    fs::create_dir_all(folder)?;
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode))?;
    Ok(())
}

/// The newest version of the C library that the program names.
fn glibc(program: &[u8]) -> String {
    const MARK: &[u8] = b"GLIBC_2.";
    let minor = |at: usize| {
        let digits = program[at + MARK.len()..].iter().take_while(|octet| octet.is_ascii_digit());
        std::str::from_utf8(&digits.copied().collect::<Vec<u8>>()).ok().and_then(|digits| digits.parse::<u32>().ok())
    };
    let found = program.windows(MARK.len()).enumerate().filter(|(_, part)| *part == MARK);
    format!("2.{}", found.filter_map(|(at, _)| minor(at)).max().unwrap_or(36))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_newest_version_counts() {
        assert_eq!(super::glibc(b"\0GLIBC_2.2.5\0GLIBC_2.34\0GLIBC_2.9\0GLIBC_2."), "2.34");
        assert_eq!(super::glibc(b""), "2.36");
    }
}
