//! Names that a certificate is asked for, and the authority that is asked.

use super::value::{Given, Value};

/// Longest name, in bytes (RFC 1035).
const NAME_MAX: usize = 253;
/// Longest part of a name between dots, in bytes.
const LABEL_MAX: usize = 63;

/// Names of this server in DNS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Domains(pub(crate) Vec<String>);

impl Value for Domains {
    const MANY: bool = true;
    const NAME: &'static str = "DOMAIN";
    const HINT: &'static str = "write names of this server, such as bell.example.com";

    fn read(given: &Given) -> Result<Self, String> {
        let Given::Many(texts) = given else {
            return Err("expected a list".to_owned());
        };
        let mut domains: Vec<String> = Vec::with_capacity(texts.len());
        for text in texts {
            let domain = domain(text)?;
            if !domains.contains(&domain) {
                domains.push(domain);
            }
        }
        Ok(Self(domains))
    }

    fn shown(&self) -> String {
        self.0.join(", ")
    }
}

fn domain(text: &str) -> Result<String, String> {
    if text.starts_with("*.") {
        return Err(format!(
            "`{text}`: an authority that looks at this port proves single names, and no wildcard"
        ));
    }
    if text.parse::<std::net::IpAddr>().is_ok() {
        return Err(format!("`{text}` is an address, and certificates are asked for names"));
    }
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= LABEL_MAX
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if text.len() > NAME_MAX || !text.split('.').all(is_label) {
        return Err(format!(
            "`{text}` is no name in DNS; names of other alphabets begin with xn--"
        ));
    }
    Ok(text.to_ascii_lowercase())
}

/// Where a certificate authority describes itself (RFC 8555, 7.1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Directory(pub(crate) String);

impl Value for Directory {
    const NAME: &'static str = "URL";
    const HINT: &'static str =
        "write the authority's directory, such as https://acme-v02.api.letsencrypt.org/directory";

    fn read(given: &Given) -> Result<Self, String> {
        let text = given.one()?;
        let url = reqwest::Url::parse(text).map_err(|error| format!("is no URL: {error}"))?;
        match url.scheme() {
            "https" => Ok(Self(text.to_owned())),
            other => Err(format!("`{other}` is not https")),
        }
    }

    fn shown(&self) -> String {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::domain;

    #[test]
    fn names_are_told_from_what_is_none() {
        assert_eq!(domain("Bell.Example.com"), Ok("bell.example.com".to_owned()));
        for wrong in ["*.example.com", "10.0.0.1", "::1", "a..b", "-a.b", "a_b.c", "", "bücher.de"]
        {
            assert!(domain(wrong).is_err(), "{wrong}");
        }
    }
}
