//! A package of Fedora, Red Hat, SUSE and their like: a lead, a header with digests, a header that says
//! what the package is, and a compressed cpio with its files. It is not signed.

use std::collections::BTreeMap;

use super::archive::{Listed, cpio, gzip, sha256};
use super::scripts::{Conditions, Scripts};
use super::{CONFIGURATION, Contents, Family, installed};

/// What rpm tells scripts: how many versions of the package there are afterwards.
const CONDITIONS: Conditions = Conditions {
    installed: "true",
    upgrade: "[ \"$1\" -gt 1 ]",
    removal: "[ \"$1\" -eq 0 ]",
    purge: "[ \"$1\" -eq 0 ]",
};

const RELEASE: &str = "1";
const SHELL: &str = "/bin/sh";
const SUMMARY: &str = "Durable workflows that watch systems and ring";
const DESCRIPTION: &str = "\
One server that runs workflows durably, checks systems, and notifies people when
something is wrong: monitors, incidents, routes, on-call rotations, schedules.";

/// Flags of files: configuration that an upgrade leaves as its owner has changed it, and others.
const CONFIG_NOREPLACE: u32 = 1 | 1 << 4;
const DOC: u32 = 1 << 1;
const LICENSE: u32 = 1 << 7;
/// Flags of what a package needs and provides.
const EQUAL: u32 = 1 << 3;
const AT_MOST: u32 = 1 << 1 | EQUAL;
const OF_RPM: u32 = 1 << 24;

/// Tags, by the names that rpm has for them.
mod tag {
    pub(super) const HEADERSIGNATURES: u32 = 62;
    pub(super) const HEADERIMMUTABLE: u32 = 63;
    pub(super) const HEADERI18NTABLE: u32 = 100;
    pub(super) const SHA256HEADER: u32 = 273;
    pub(super) const NAME: u32 = 1000;
    pub(super) const VERSION: u32 = 1001;
    pub(super) const RELEASE: u32 = 1002;
    pub(super) const SUMMARY: u32 = 1004;
    pub(super) const DESCRIPTION: u32 = 1005;
    pub(super) const BUILDTIME: u32 = 1006;
    pub(super) const SIZE: u32 = 1009;
    pub(super) const LICENSE: u32 = 1014;
    pub(super) const GROUP: u32 = 1016;
    pub(super) const OS: u32 = 1021;
    pub(super) const ARCH: u32 = 1022;
    pub(super) const POSTIN: u32 = 1024;
    pub(super) const PREUN: u32 = 1025;
    pub(super) const POSTUN: u32 = 1026;
    pub(super) const FILESIZES: u32 = 1028;
    pub(super) const FILEMODES: u32 = 1030;
    pub(super) const FILERDEVS: u32 = 1033;
    pub(super) const FILEMTIMES: u32 = 1034;
    pub(super) const FILEDIGESTS: u32 = 1035;
    pub(super) const FILELINKTOS: u32 = 1036;
    pub(super) const FILEFLAGS: u32 = 1037;
    pub(super) const FILEUSERNAME: u32 = 1039;
    pub(super) const FILEGROUPNAME: u32 = 1040;
    pub(super) const SOURCERPM: u32 = 1044;
    pub(super) const FILEVERIFYFLAGS: u32 = 1045;
    pub(super) const PROVIDENAME: u32 = 1047;
    pub(super) const REQUIREFLAGS: u32 = 1048;
    pub(super) const REQUIRENAME: u32 = 1049;
    pub(super) const REQUIREVERSION: u32 = 1050;
    pub(super) const POSTINPROG: u32 = 1086;
    pub(super) const PREUNPROG: u32 = 1087;
    pub(super) const POSTUNPROG: u32 = 1088;
    pub(super) const FILEDEVICES: u32 = 1095;
    pub(super) const FILEINODES: u32 = 1096;
    pub(super) const FILELANGS: u32 = 1097;
    pub(super) const PROVIDEFLAGS: u32 = 1112;
    pub(super) const PROVIDEVERSION: u32 = 1113;
    pub(super) const DIRINDEXES: u32 = 1116;
    pub(super) const BASENAMES: u32 = 1117;
    pub(super) const DIRNAMES: u32 = 1118;
    pub(super) const PAYLOADFORMAT: u32 = 1124;
    pub(super) const PAYLOADCOMPRESSOR: u32 = 1125;
    pub(super) const PAYLOADFLAGS: u32 = 1126;
    pub(super) const FILEDIGESTALGO: u32 = 5011;
    pub(super) const RECOMMENDNAME: u32 = 5046;
    pub(super) const RECOMMENDVERSION: u32 = 5047;
    pub(super) const RECOMMENDFLAGS: u32 = 5048;
    pub(super) const PAYLOADDIGEST: u32 = 5092;
    pub(super) const PAYLOADDIGESTALGO: u32 = 5093;
    // In the header with digests other things have these numbers.
    pub(super) const SIGNED_SIZE: u32 = 1000;
    pub(super) const SIGNED_PAYLOADSIZE: u32 = 1007;
}

/// The number that rpm has for SHA-256.
const SHA256: u32 = 8;
/// The type of a region, and the bytes of an entry of an index.
const BYTES: u32 = 7;
const ENTRY: u32 = 16;

/// What a tag says.
#[derive(Debug)]
enum Value {
    Shorts(Vec<u16>),
    Words(Vec<u32>),
    Text(String),
    Texts(Vec<String>),
    /// In each language of the package: one.
    Translated(String),
}

impl Value {
    fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    fn texts(texts: &[&str]) -> Self {
        Self::Texts(texts.iter().map(|it| (*it).to_owned()).collect())
    }

    /// Its type, what its place is a multiple of, how many there are, and their bytes.
    fn stored(&self) -> (u32, usize, usize, Vec<u8>) {
        let ended = |text: &String| [text.as_bytes(), &[0]].concat();
        match self {
            Self::Shorts(all) => {
                (3, 2, all.len(), all.iter().flat_map(|it| it.to_be_bytes()).collect())
            }
            Self::Words(all) => {
                (4, 4, all.len(), all.iter().flat_map(|it| it.to_be_bytes()).collect())
            }
            Self::Text(text) => (6, 1, 1, ended(text)),
            Self::Texts(all) => (8, 1, all.len(), all.iter().flat_map(ended).collect()),
            Self::Translated(text) => (9, 1, 1, ended(text)),
        }
    }
}

/// Values by tag.
#[derive(Debug, Default)]
struct Header(BTreeMap<u32, Value>);

impl Header {
    fn put(&mut self, tag: u32, value: Value) {
        self.0.insert(tag, value);
    }

    /// As bytes: an index, and the values that it points to. A region with this tag is around all of it:
    /// what a digest or a signature is of.
    fn bytes(&self, region: u32) -> anyhow::Result<Vec<u8>> {
        let entry = |parts: [u32; 4]| parts.map(u32::to_be_bytes).concat();
        let (mut index, mut store) = (Vec::new(), Vec::new());
        for (tag, value) in &self.0 {
            let (kind, multiple, count, bytes) = value.stored();
            store.resize(store.len().next_multiple_of(multiple), 0);
            index.extend(entry([*tag, kind, u32::try_from(store.len())?, u32::try_from(count)?]));
            store.extend(bytes);
        }
        let entries = u32::try_from(self.0.len() + 1)?;
        let end = u32::try_from(store.len())?;
        // The end of the region says how far back its index begins.
        store.extend(entry([region, BYTES, (entries * ENTRY).wrapping_neg(), ENTRY]));
        let size = u32::try_from(store.len())?;
        Ok([
            entry([0x8ead_e801, 0, entries, size]),
            entry([region, BYTES, end, ENTRY]),
            index,
            store,
        ]
        .concat())
    }
}

/// The package.
///
/// # Errors
/// Something is too large, or cannot be compressed.
pub(super) fn package(contents: &Contents) -> anyhow::Result<Vec<u8>> {
    let tree = installed(contents, Family::Rpm)?;
    // Folders that all packages share are of none.
    let is_own = |it: &Listed<'_>| {
        it.content.is_some() || it.path.split('/').any(|part| part == "nightbell")
    };
    let entries: Vec<Listed<'_>> = tree.entries().filter(is_own).collect();
    let plain = cpio(&entries, contents.time)?;
    let payload = gzip(&plain)?;
    let mut header = Header::default();
    describe(&mut header, contents, tree.size())?;
    relate(&mut header, contents);
    list(&mut header, &entries, contents.time)?;
    header.put(tag::PAYLOADDIGEST, Value::Texts(vec![sha256(&payload)]));
    header.put(tag::PAYLOADDIGESTALGO, Value::Words(vec![SHA256]));
    let header = header.bytes(tag::HEADERIMMUTABLE)?;

    let mut digests = Header::default();
    digests.put(tag::SHA256HEADER, Value::Text(sha256(&header)));
    let size = u32::try_from(header.len() + payload.len())?;
    digests.put(tag::SIGNED_SIZE, Value::Words(vec![size]));
    digests.put(tag::SIGNED_PAYLOADSIZE, Value::Words(vec![u32::try_from(plain.len())?]));
    let mut digests = digests.bytes(tag::HEADERSIGNATURES)?;
    digests.resize(digests.len().next_multiple_of(8), 0);
    Ok([lead(contents), digests, header, payload].concat())
}

/// What tools know a package by before they read its headers: 96 bytes.
fn lead(contents: &Contents) -> Vec<u8> {
    // Format 3.0, a package to be installed, for a processor of the family x86 or ARM.
    let processor = contents.machine.rpm_number();
    let mut lead = vec![0xed, 0xab, 0xee, 0xdb, 3, 0, 0, 0, 0, processor];
    let name = format!("nightbell-{}-{RELEASE}", contents.sorted_version());
    lead.extend(name.bytes().take(65));
    lead.resize(76, 0);
    // For Linux, with a header of digests.
    lead.extend([0, 1, 0, 5]);
    lead.resize(96, 0);
    lead
}

fn describe(header: &mut Header, contents: &Contents, size: usize) -> anyhow::Result<()> {
    let version = contents.sorted_version();
    let scripts = Scripts::new(&CONDITIONS);
    let texts: [(u32, &str); 16] = [
        (tag::NAME, "nightbell"),
        (tag::VERSION, &version),
        (tag::RELEASE, RELEASE),
        (tag::LICENSE, "Apache-2.0"),
        (tag::OS, "linux"),
        (tag::ARCH, contents.machine.name()),
        (tag::SOURCERPM, &format!("nightbell-{version}-{RELEASE}.src.rpm")),
        (tag::POSTIN, &scripts.unpacked),
        (tag::PREUN, &scripts.going),
        (tag::POSTUN, &scripts.gone),
        (tag::POSTINPROG, SHELL),
        (tag::PREUNPROG, SHELL),
        (tag::POSTUNPROG, SHELL),
        (tag::PAYLOADFORMAT, "cpio"),
        (tag::PAYLOADCOMPRESSOR, "gzip"),
        (tag::PAYLOADFLAGS, "9"),
    ];
    for (tag, text) in texts {
        header.put(tag, Value::text(text));
    }
    header.put(tag::HEADERI18NTABLE, Value::texts(&["C"]));
    let translated =
        [(tag::SUMMARY, SUMMARY), (tag::DESCRIPTION, DESCRIPTION), (tag::GROUP, "Unspecified")];
    for (tag, text) in translated {
        header.put(tag, Value::Translated(text.to_owned()));
    }
    header.put(tag::BUILDTIME, Value::Words(vec![u32::try_from(contents.time)?]));
    header.put(tag::SIZE, Value::Words(vec![u32::try_from(size)?]));
    Ok(())
}

/// What the package provides, needs, and does better with.
fn relate(header: &mut Header, contents: &Contents) {
    let version = format!("{}-{RELEASE}", contents.sorted_version());
    let other = format!("nightbell({})", contents.machine.rpm_isa());
    let provided = [("nightbell".to_owned(), EQUAL, version.clone()), (other, EQUAL, version)];
    related(header, [tag::PROVIDENAME, tag::PROVIDEFLAGS, tag::PROVIDEVERSION], provided);

    let mut needed = vec![(SHELL.to_owned(), 0, String::new())];
    for (library, versions) in &contents.asked.0 {
        // The loader comes with the C library, and each version of a symbol is something provided.
        if library.starts_with("ld-") {
            continue;
        }
        for version in versions.iter().map(String::as_str).chain([""]) {
            needed.push((format!("{library}({version})(64bit)"), 0, String::new()));
        }
    }
    // What of rpm itself is used: one name for each file, names below `./`, digests other than MD5.
    for (what, since) in [
        ("CompressedFileNames", "3.0.4-1"),
        ("FileDigests", "4.6.0-1"),
        ("PayloadFilesHavePrefix", "4.0-1"),
    ] {
        needed.push((format!("rpmlib({what})"), AT_MOST | OF_RPM, since.to_owned()));
    }
    related(header, [tag::REQUIRENAME, tag::REQUIREFLAGS, tag::REQUIREVERSION], needed);

    let better = [("ca-certificates".to_owned(), 0, String::new())];
    related(header, [tag::RECOMMENDNAME, tag::RECOMMENDFLAGS, tag::RECOMMENDVERSION], better);
}

/// Names with their flags and versions, as three lists.
fn related(
    header: &mut Header,
    [name, flag, version]: [u32; 3],
    all: impl IntoIterator<Item = (String, u32, String)>,
) {
    let (mut names, mut flags, mut versions) = (Vec::new(), Vec::new(), Vec::new());
    for (one, its_flags, its_version) in all {
        names.push(one);
        flags.push(its_flags);
        versions.push(its_version);
    }
    header.put(name, Value::Texts(names));
    header.put(flag, Value::Words(flags));
    header.put(version, Value::Texts(versions));
}

/// The files, as lists of the same length; a path is a folder's number and a name.
fn list(header: &mut Header, entries: &[Listed<'_>], time: u64) -> anyhow::Result<()> {
    let count = entries.len();
    let paths = entries.iter().map(|it| it.path.rsplit_once('/').unwrap_or(("", it.path)));
    let (mut folders, mut names, mut places) = (Vec::<String>::new(), Vec::new(), Vec::new());
    for (folder, name) in paths {
        let folder = if folder.is_empty() { "/".to_owned() } else { format!("/{folder}/") };
        let known = folders.iter().position(|it| *it == folder);
        places.push(u32::try_from(known.unwrap_or(folders.len()))?);
        if known.is_none() {
            folders.push(folder);
        }
        names.push(name.to_owned());
    }
    header.put(tag::DIRNAMES, Value::Texts(folders));
    header.put(tag::BASENAMES, Value::Texts(names));
    header.put(tag::DIRINDEXES, Value::Words(places));
    let size = |it: &Listed<'_>| u32::try_from(it.content.unwrap_or_default().len());
    let sizes: Result<Vec<u32>, _> = entries.iter().map(size).collect();
    header.put(tag::FILESIZES, Value::Words(sizes?));
    let modes = entries.iter().map(|it| u16::try_from(it.whole_mode()));
    header.put(tag::FILEMODES, Value::Shorts(modes.collect::<Result<Vec<u16>, _>>()?));
    let digests = entries.iter().map(|it| it.content.map(sha256).unwrap_or_default());
    header.put(tag::FILEDIGESTS, Value::Texts(digests.collect()));
    header.put(tag::FILEDIGESTALGO, Value::Words(vec![SHA256]));
    header.put(tag::FILEFLAGS, Value::Words(entries.iter().map(flags).collect()));
    header.put(tag::FILEINODES, Value::Words((1..).take(count).collect()));
    header.put(tag::FILEMTIMES, Value::Words(vec![u32::try_from(time)?; count]));
    header.put(tag::FILERDEVS, Value::Shorts(vec![0; count]));
    header.put(tag::FILEDEVICES, Value::Words(vec![1; count]));
    header.put(tag::FILEVERIFYFLAGS, Value::Words(vec![u32::MAX; count]));
    for tag in [tag::FILELINKTOS, tag::FILELANGS] {
        header.put(tag, Value::Texts(vec![String::new(); count]));
    }
    for tag in [tag::FILEUSERNAME, tag::FILEGROUPNAME] {
        header.put(tag, Value::Texts(vec!["root".to_owned(); count]));
    }
    Ok(())
}

fn flags(entry: &Listed<'_>) -> u32 {
    let path = entry.path;
    if CONFIGURATION.contains(&path) {
        CONFIG_NOREPLACE
    } else if entry.content.is_none() {
        0
    } else if path.starts_with("usr/share/licenses/") {
        LICENSE
    } else if path.starts_with("usr/share/doc/") || path.starts_with("usr/share/man/") {
        DOC
    } else {
        0
    }
}
