//! What a binary asks of the machine that runs it: shared libraries, and versions of their symbols.
//!
//! It is read from the tables of the file, so that it does not depend on what this machine has.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail};

/// The libraries that a binary of ours may ask for: the C library's own, and the unwinder of the
/// compiler. Every glibc system has them.
const FAMILY: [&str; 5] =
    ["ld-linux-aarch64.so.1", "ld-linux-x86-64.so.2", "libc.so.6", "libgcc_s.so.1", "libm.so.6"];
/// The newest glibc that may be asked for, 2.N: that of Ubuntu 22.04. Debian 12 has 2.36.
const NEWEST: u32 = 35;

/// Sections that list the libraries, and the versions of their symbols.
const DYNAMIC: u32 = 6;
const VERSIONS: u32 = 0x6fff_fffe;
/// The entry of the dynamic section that names a library.
const NEEDED: u64 = 1;
/// Bytes of an entry of either table.
const ENTRY: usize = 16;

/// Libraries by name, each with the versions of its symbols that are used.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Asked(pub(super) BTreeMap<String, BTreeSet<String>>);

impl Asked {
    /// Of a 64-bit binary with the low byte first; nothing, if it is static.
    ///
    /// # Errors
    /// The tables are damaged.
    pub(super) fn of(binary: &[u8]) -> anyhow::Result<Self> {
        Self::read(binary).context("the tables of the binary (ELF) cannot be read")
    }

    fn read(binary: &[u8]) -> Option<Self> {
        let mut libraries: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let first = place(binary, 0x28)?;
        let (size, count) = (usize::from(short(binary, 0x3a)?), short(binary, 0x3c)?);
        let header = |at: usize| binary.get(first.checked_add(at.checked_mul(size)?)?..);
        for at in 0..usize::from(count) {
            let section = header(at)?;
            let content = || content(binary, section);
            let names = || content_of_link(binary, section, &header);
            match word(section, 4)? {
                DYNAMIC => {
                    let (names, content) = (names()?, content()?);
                    for entry in content.chunks_exact(ENTRY) {
                        if long(entry, 0)? == NEEDED {
                            let name = text(names, place(entry, 8)?)?;
                            libraries.entry(name).or_default();
                        }
                    }
                }
                VERSIONS => {
                    for (library, version) in versions(content()?, names()?)? {
                        libraries.entry(library).or_default().insert(version);
                    }
                }
                _ => {}
            }
        }
        Some(Self(libraries))
    }

    /// The newest version of glibc that is asked for: N of 2.N.
    pub(super) fn glibc(&self) -> Option<u32> {
        let all = self.0.values().flatten();
        all.filter_map(|it| it.strip_prefix("GLIBC_2.")?.split('.').next()?.parse().ok()).max()
    }

    /// Refuses what not every glibc system has.
    ///
    /// # Errors
    /// A library is of another family, or the C library would have to be newer.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let other = self.0.keys().find(|it| !FAMILY.contains(&it.as_str()));
        if let Some(other) = other {
            bail!(
                "the binary asks for {other}, which is not everywhere: link it in statically \
                 (allowed are {})",
                FAMILY.join(", ")
            );
        }
        if let Some(newer) = self.glibc().filter(|it| *it > NEWEST) {
            bail!(
                "the binary asks for glibc 2.{newer}, and packages are for 2.{NEWEST} and later: \
                 build it on Debian 12 or Ubuntu 22.04, and look which function wants more"
            );
        }
        Ok(())
    }

    /// Each library with the newest version that is asked of it, for people.
    pub(super) fn shown(&self) -> String {
        if self.0.is_empty() {
            return "no library: it is static".to_owned();
        }
        let newest = |versions: &BTreeSet<String>| {
            versions.iter().max_by_key(|it| numbers(it)).map(|it| format!(" ({it})"))
        };
        let shown = self.0.iter().map(|(library, versions)| {
            format!("{library}{}", newest(versions).unwrap_or_default())
        });
        shown.collect::<Vec<_>>().join(", ")
    }
}

/// The numbers of a version, by which it is compared: 2.9 is older than 2.34.
fn numbers(version: &str) -> Vec<u32> {
    version.split(['_', '.']).filter_map(|it| it.parse().ok()).collect()
}

/// The libraries with versions, each as often as it has any.
fn versions(table: &[u8], names: &[u8]) -> Option<Vec<(String, String)>> {
    let (mut found, mut at) = (Vec::new(), 0_usize);
    loop {
        let needed = table.get(at..)?;
        let library = text(names, word(needed, 4)? as usize)?;
        let mut one = word(needed, 8)? as usize;
        for _ in 0..short(needed, 2)? {
            let version = needed.get(one..)?;
            found.push((library.clone(), text(names, word(version, 8)? as usize)?));
            one = one.checked_add(word(version, 12)? as usize)?;
        }
        match word(needed, 12)? as usize {
            0 => return Some(found),
            next => at = at.checked_add(next)?,
        }
    }
}

fn content<'a>(binary: &'a [u8], section: &[u8]) -> Option<&'a [u8]> {
    let (at, size) = (place(section, 0x18)?, place(section, 0x20)?);
    binary.get(at..at.checked_add(size)?)
}

/// The names that a section speaks of: those of the one that it is linked with.
fn content_of_link<'a>(
    binary: &'a [u8],
    section: &[u8],
    header: &impl Fn(usize) -> Option<&'a [u8]>,
) -> Option<&'a [u8]> {
    content(binary, header(word(section, 0x28)? as usize)?)
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|it| u16::from_le_bytes(*it))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|it| u32::from_le_bytes(*it))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|it| u64::from_le_bytes(*it))
}

fn place(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(long(bytes, at)?).ok()
}

fn text(names: &[u8], at: usize) -> Option<String> {
    let name = names.get(at..)?.split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(name).into_owned())
}

#[cfg(test)]
mod tests {
    use super::{Asked, numbers};

    fn asked(libraries: &[(&str, &[&str])]) -> Asked {
        let all = libraries.iter().map(|(library, versions)| {
            ((*library).to_owned(), versions.iter().map(|it| (*it).to_owned()).collect())
        });
        Asked(all.collect())
    }

    #[test]
    fn the_tables_of_a_real_binary_are_read() {
        let path = std::env::current_exe().expect("this test is a binary");
        let mut binary = std::fs::read(path).expect("it can be read");
        let asked = Asked::of(&binary).expect("it is whole");
        assert!(asked.0.contains_key("libc.so.6"), "{asked:?}");
        assert!(asked.glibc().is_some_and(|it| it >= 17), "{asked:?}");
        assert!(asked.shown().contains("libc.so.6 (GLIBC_2."), "{}", asked.shown());
        // The section headers come last.
        binary.truncate(binary.len() - 100);
        assert!(Asked::of(&binary).is_err());
    }

    #[test]
    fn what_not_every_system_has_is_refused() {
        let good = asked(&[("libc.so.6", &["GLIBC_2.9", "GLIBC_2.34"]), ("libgcc_s.so.1", &[])]);
        assert_eq!(good.glibc(), Some(34));
        assert_eq!(good.shown(), "libc.so.6 (GLIBC_2.34), libgcc_s.so.1");
        good.check().expect("it is everywhere");
        let other = asked(&[("libssl.so.3", &[])]).check().expect_err("not everywhere");
        assert!(other.to_string().contains("libssl.so.3"), "{other}");
        let newer = asked(&[("libc.so.6", &["GLIBC_2.39"])]).check().expect_err("too new");
        assert!(newer.to_string().contains("glibc 2.39"), "{newer}");
        assert_eq!(Asked::default().shown(), "no library: it is static");
        assert!(numbers("GLIBC_2.9") < numbers("GLIBC_2.34"));
    }
}
