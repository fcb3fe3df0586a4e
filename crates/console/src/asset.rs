//! What pages load: one style sheet, two scripts and a picture, each under a name that holds its hash.

use std::sync::LazyLock;

use sha2::{Digest as _, Sha256};

/// Where assets are.
pub const PREFIX: &str = "/console/assets/";

/// One file that pages load.
#[derive(Debug)]
pub struct Asset {
    /// Its address: it changes whenever the file does, so that browsers may keep the file for ever.
    pub path: String,
    /// The type of its content.
    pub kind: &'static str,
    /// The file.
    pub bytes: &'static [u8],
    /// The file, compressed with gzip.
    pub packed: Vec<u8>,
}

impl Asset {
    fn new(name: &str, kind: &'static str, bytes: &'static [u8]) -> Self {
        let hash = crate::seal::hex(&Sha256::digest(bytes)[..6]);
        let (stem, ending) = name.rsplit_once('.').unwrap_or((name, ""));
        let path = format!("{PREFIX}{stem}.{hash}.{ending}");
        Self { path, kind, bytes, packed: crate::gzip::packed(bytes) }
    }
}

/// Every asset.
pub(crate) struct Assets {
    pub(crate) style: Asset,
    pub(crate) script: Asset,
    pub(crate) htmx: Asset,
    pub(crate) icon: Asset,
}

/// The files, hashed and compressed once.
pub(crate) static ASSETS: LazyLock<Assets> = LazyLock::new(|| Assets {
    style: Asset::new(
        "console.css",
        "text/css; charset=utf-8",
        include_bytes!("asset/console.css"),
    ),
    script: Asset::new("console.js", SCRIPT, bare(include_str!("asset/console.js")).leak()),
    htmx: Asset::new("htmx.js", SCRIPT, include_bytes!("asset/htmx.min.js")),
    icon: Asset::new("icon.svg", "image/svg+xml", include_bytes!("asset/icon.svg")),
});

/// A script without its comments and indentation, which are for whoever changes it. None of its texts goes over
/// several lines.
fn bare(script: &str) -> Vec<u8> {
    let is_read = |line: &&str| !line.is_empty() && !line.starts_with("//");
    let lines = script.lines().map(str::trim).filter(is_read);
    lines.collect::<Vec<_>>().join("\n").into_bytes()
}

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The asset at an address.
pub fn asset(path: &str) -> Option<&'static Asset> {
    let Assets { style, script, htmx, icon } = &*ASSETS;
    [style, script, htmx, icon].into_iter().find(|asset| asset.path == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file of the package `htmx.org` 4.0.1, `dist/htmx.min.js`, as its registry serves it.
    const HTMX: &str = "a0abb04f2f45a1f89d1d4844023245537e5e6014c87b144553e0607b4cc32130";

    #[test]
    fn the_vendored_script_is_the_published_one() {
        let hash = Sha256::digest(ASSETS.htmx.bytes);
        assert_eq!(crate::seal::hex(&hash), HTMX);
    }

    #[test]
    fn assets_are_small_and_found_by_their_hashed_names() {
        let ours = ASSETS.script.bytes.len();
        assert!(ours <= 6 * 1024, "our script has {ours} bytes");
        let all = [&ASSETS.style, &ASSETS.script, &ASSETS.htmx, &ASSETS.icon];
        let packed: usize = all.iter().map(|asset| asset.packed.len()).sum();
        assert!(packed <= 25 * 1024, "a first visit loads {packed} bytes of assets");
        for it in all {
            assert!(asset(&it.path).is_some_and(|found| found.bytes == it.bytes));
        }
        assert!(asset("/console/assets/console.css").is_none());
    }

    #[test]
    fn our_script_and_style_load_nothing_from_elsewhere_and_evaluate_nothing() {
        let script = std::str::from_utf8(ASSETS.script.bytes).expect("UTF-8");
        let style = std::str::from_utf8(ASSETS.style.bytes).expect("UTF-8");
        for word in ["eval(", "new Function", "innerHTML", "document.write", "://", "import("] {
            assert!(!script.contains(word), "{word}");
        }
        for word in ["://", "@import", "url("] {
            assert!(!style.contains(word), "{word}");
        }
    }
}
