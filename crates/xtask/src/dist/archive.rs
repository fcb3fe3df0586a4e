//! Archives whose bytes follow from their content alone: tar (ustar), cpio, ar, gzip and checksums.
//!
//! Entries are sorted, belong to root unless they say otherwise, and bear one time; nothing of the
//! machine that writes them is in them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::{Context as _, bail, ensure};
use flate2::{Compression, GzBuilder};
use sha2::{Digest as _, Sha256};

/// Bytes of a block of a tar.
const BLOCK: usize = 512;

/// What an entry of an archive is.
#[derive(Clone, Debug)]
enum Kind {
    File(Vec<u8>),
    Folder,
}

/// An entry of an archive.
#[derive(Clone, Debug)]
struct Entry {
    kind: Kind,
    mode: u32,
    owner: u32,
}

/// An entry as it is read; a folder has no content.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listed<'a> {
    pub(super) path: &'a str,
    pub(super) mode: u32,
    pub(super) content: Option<&'a [u8]>,
}

impl Listed<'_> {
    /// The mode with the kind of the entry, as file systems have them together.
    pub(super) const fn whole_mode(&self) -> u32 {
        self.mode | if self.content.is_some() { 0o100_000 } else { 0o040_000 }
    }
}

/// The files of an archive, by path, with the folders above them.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree(BTreeMap<String, Entry>);

impl Tree {
    /// Adds a file of root's; the path begins without a slash.
    pub(super) fn file(&mut self, path: &str, mode: u32, content: impl Into<Vec<u8>>) {
        self.above(path);
        let entry = Entry { kind: Kind::File(content.into()), mode, owner: 0 };
        self.0.insert(path.to_owned(), entry);
    }

    /// Adds a folder, with its owner.
    pub(super) fn folder(&mut self, path: &str, mode: u32, owner: u32) {
        self.above(path);
        self.0.insert(path.to_owned(), Entry { kind: Kind::Folder, mode, owner });
    }

    fn above(&mut self, path: &str) {
        for (at, _) in path.match_indices('/') {
            let folder = Entry { kind: Kind::Folder, mode: 0o755, owner: 0 };
            self.0.entry(path[..at].to_owned()).or_insert(folder);
        }
    }

    /// Adds files of root's below a folder, by their paths in it.
    pub(super) fn files(&mut self, folder: &str, files: &[(String, Vec<u8>)]) {
        for (path, content) in files {
            self.file(&format!("{folder}/{path}"), 0o644, content.clone());
        }
    }

    /// All entries, in the order of their paths.
    pub(super) fn entries(&self) -> impl Iterator<Item = Listed<'_>> {
        self.0.iter().map(|(path, entry)| {
            let content = match &entry.kind {
                Kind::File(content) => Some(content.as_slice()),
                Kind::Folder => None,
            };
            Listed { path, mode: entry.mode, content }
        })
    }

    /// Bytes of all files.
    pub(super) fn size(&self) -> usize {
        let size = |entry: &Entry| match &entry.kind {
            Kind::File(content) => content.len(),
            Kind::Folder => 0,
        };
        self.0.values().map(size).sum()
    }

    /// As a tar; `before` stands before each path, such as `./`.
    ///
    /// # Errors
    /// A path is too long.
    pub(super) fn tar(&self, before: &str, time: u64) -> anyhow::Result<Vec<u8>> {
        let mut out = Vec::new();
        // A folder sorts before what is in it, as its name is the beginning of theirs.
        for (path, entry) in &self.0 {
            let (content, kind, end) = match &entry.kind {
                Kind::File(content) => (&content[..], b'0', ""),
                Kind::Folder => (&[][..], b'5', "/"),
            };
            let name = format!("{before}{path}{end}");
            out.extend(header(&name, entry, content.len(), kind, time)?);
            out.extend_from_slice(content);
            out.resize(out.len().next_multiple_of(BLOCK), 0);
        }
        out.resize(out.len() + 2 * BLOCK, 0);
        Ok(out)
    }
}

fn header(
    name: &str,
    entry: &Entry,
    size: usize,
    kind: u8,
    time: u64,
) -> anyhow::Result<[u8; BLOCK]> {
    let mut block = [0_u8; BLOCK];
    let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
    let (prefix, name) = split(name)?;
    put(0, name.as_bytes());
    put(100, octal(u64::from(entry.mode), 7)?.as_bytes());
    put(108, octal(u64::from(entry.owner), 7)?.as_bytes());
    put(116, octal(u64::from(entry.owner), 7)?.as_bytes());
    put(124, octal(size as u64, 11)?.as_bytes());
    put(136, octal(time, 11)?.as_bytes());
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    let owner = if entry.owner == 0 { "root" } else { "nightbell" };
    put(265, owner.as_bytes());
    put(297, owner.as_bytes());
    put(345, prefix.as_bytes());
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{}\0 ", octal(sum, 6)?).as_bytes());
    Ok(block)
}

/// A path as prefix and name, each as long as there is room for.
fn split(path: &str) -> anyhow::Result<(&str, &str)> {
    if path.len() <= 100 {
        return Ok(("", path));
    }
    let fits = |at: &usize| *at <= 155 && path.len() - at - 1 <= 100;
    let at = path.match_indices('/').map(|(at, _)| at).find(fits);
    let at = at.with_context(|| format!("{path} is too long for an archive"))?;
    Ok((&path[..at], &path[at + 1..]))
}

fn octal(number: u64, digits: usize) -> anyhow::Result<String> {
    let text = format!("{number:0digits$o}");
    if text.len() > digits {
        bail!("{number} is too large for an archive");
    }
    Ok(text)
}

/// Entries as a cpio (the one with long numbers, "newc"), all of them root's.
///
/// # Errors
/// A number is too large.
pub(super) fn cpio(entries: &[Listed<'_>], time: u64) -> anyhow::Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut add = |fields: [u64; 4], name: &str, content: &[u8]| -> anyhow::Result<()> {
        let [inode, mode, links, time] = fields;
        out.extend_from_slice(b"070701");
        let (size, length) = (content.len() as u64, name.len() as u64 + 1);
        for number in [inode, mode, 0, 0, links, time, size, 0, 0, 0, 0, length, 0] {
            out.extend_from_slice(format!("{:08x}", u32::try_from(number)?).as_bytes());
        }
        out.extend_from_slice(name.as_bytes());
        out.push(0);
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend_from_slice(content);
        out.resize(out.len().next_multiple_of(4), 0);
        Ok(())
    };
    for (entry, inode) in entries.iter().zip(1..) {
        let links = if entry.content.is_some() { 1 } else { 2 };
        let fields = [inode, u64::from(entry.whole_mode()), links, time];
        add(fields, &format!("./{}", entry.path), entry.content.unwrap_or_default())?;
    }
    add([0, 0, 1, 0], "TRAILER!!!", &[])?;
    Ok(out)
}

/// Compresses without a name and a time.
///
/// # Errors
/// It cannot be compressed.
pub(super) fn gzip(content: &[u8]) -> anyhow::Result<Vec<u8>> {
    // 255: no particular operating system.
    let builder = GzBuilder::new().mtime(0).operating_system(255);
    let mut writer = builder.write(Vec::new(), Compression::best());
    writer.write_all(content)?;
    Ok(writer.finish()?)
}

/// Members as an ar archive, in their order.
///
/// # Errors
/// A name is too long.
pub(super) fn ar(members: &[(&str, Vec<u8>)], time: u64) -> anyhow::Result<Vec<u8>> {
    let mut out = b"!<arch>\n".to_vec();
    for (name, content) in members {
        ensure!(name.len() <= 16, "{name} is too long for an ar archive");
        writeln!(out, "{name:<16}{time:<12}{:<6}{:<6}{:<8}{:<10}`", 0, 0, "100644", content.len())?;
        out.extend_from_slice(content);
        if content.len() % 2 == 1 {
            out.push(b'\n');
        }
    }
    Ok(out)
}

/// The SHA-256 of bytes, in hexadecimal.
pub(super) fn sha256(content: &[u8]) -> String {
    Sha256::digest(content).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
