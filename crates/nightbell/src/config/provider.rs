//! Settings of the OpenID provider by which people sign in.

use std::path::PathBuf;

use super::value::{Given, Value};

/// A text of one line, as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text(pub(crate) String);

impl Value for Text {
    const NAME: &'static str = "TEXT";
    const HINT: &'static str = "write a text of one line";

    fn read(given: &Given) -> Result<Self, String> {
        match given.one()? {
            "" => Err("the text is empty".to_owned()),
            text if text.chars().any(char::is_control) => {
                Err("the text has control characters".to_owned())
            }
            text => Ok(Self(text.to_owned())),
        }
    }

    fn shown(&self) -> String {
        self.0.clone()
    }
}

/// What a provider calls itself, to the letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Issuer(pub(crate) String);

impl Value for Issuer {
    const NAME: &'static str = "URL";
    const HINT: &'static str =
        "write the provider's `issuer`, such as https://id.example.com; http only on this machine";

    fn read(given: &Given) -> Result<Self, String> {
        let text = given.one()?;
        let url = reqwest::Url::parse(text).map_err(|error| format!("is no URL: {error}"))?;
        if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
            return Err("an issuer has no user, query or fragment".to_owned());
        }
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let is_here = host == "localhost"
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        match url.scheme() {
            "https" => Ok(Self(text.to_owned())),
            "http" if is_here => Ok(Self(text.to_owned())),
            "http" => {
                Err("http:// would send the secret and the tokens for all to read".to_owned())
            }
            other => Err(format!("`{other}` is not https")),
        }
    }

    fn shown(&self) -> String {
        self.0.clone()
    }
}

/// Where a secret is; the setting never holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SecretReference {
    /// Among the secrets of this server.
    Secret(String),
    /// In a file.
    File(PathBuf),
    /// In an environment variable.
    Variable(String),
}

impl Value for SecretReference {
    const NAME: &'static str = "REFERENCE";
    const HINT: &'static str = "write file:PATH, secret:NAME (see `nightbell secret put`) or env:VARIABLE; \
                                the secret itself belongs into none of the settings";

    fn read(given: &Given) -> Result<Self, String> {
        // The text may be the secret, so it is not repeated.
        let (kind, name) =
            given.one()?.split_once(':').ok_or("does not say where the secret is")?;
        match (kind, name) {
            (_, "") => Err("does not say where the secret is".to_owned()),
            ("secret", name) => Ok(Self::Secret(name.to_owned())),
            ("file", path) => Ok(Self::File(path.into())),
            ("env", name) => Ok(Self::Variable(name.to_owned())),
            _ => Err("does not begin with file:, secret: or env:".to_owned()),
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Secret(name) => format!("secret:{name}"),
            Self::File(path) => format!("file:{}", path.display()),
            Self::Variable(name) => format!("env:{name}"),
        }
    }
}

/// Values of the claim with the groups, and the group of ours that each stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GroupMap(pub(crate) Vec<(String, String)>);

impl Value for GroupMap {
    const MANY: bool = true;
    const NAME: &'static str = "VALUE=GROUP";
    const HINT: &'static str =
        "write VALUE=GROUP: what the provider says, and the group here that it stands for";

    fn read(given: &Given) -> Result<Self, String> {
        let Given::Many(texts) = given else { return Err("expected a list".to_owned()) };
        let pairs = texts.iter().map(|text| {
            // A value may hold `=`, as names of LDAP do; a group's name may not.
            let (value, group) = text
                .rsplit_once('=')
                .ok_or_else(|| format!("`{text}` names no group after a `=`"))?;
            let group = kernel::access::check_name(group)
                .ok_or_else(|| format!("`{group}` is no name of a group"))?;
            match value.trim() {
                "" => Err(format!("`{text}` has no value before the `=`")),
                value => Ok((value.to_owned(), group)),
            }
        });
        pairs.collect::<Result<_, _>>().map(Self)
    }

    fn shown(&self) -> String {
        let pairs = self.0.iter().map(|(value, group)| format!("{value}={group}"));
        pairs.collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::super::value::{Given, Value};
    use super::{GroupMap, Issuer, SecretReference};

    fn read<T: Value>(text: &str) -> Result<T, String> {
        let texts = [text.to_owned()];
        T::read(&Given::new(&texts, T::MANY))
    }

    #[test]
    fn an_issuer_keeps_its_slash_and_is_plain_on_this_machine_alone() {
        for right in
            ["https://id.example.com/", "https://id.example.com/realms/a", "http://[::1]:5556/dex"]
        {
            assert_eq!(read::<Issuer>(right).map(|it| it.0), Ok(right.to_owned()));
        }
        for wrong in ["http://id.example.com", "id.example.com", "https://a@b", "https://a?b=c"] {
            assert!(read::<Issuer>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_secret_is_referred_to_and_never_repeated() {
        assert_eq!(read("secret:IDP"), Ok(SecretReference::Secret("IDP".to_owned())));
        assert_eq!(read("file:/run/idp"), Ok(SecretReference::File("/run/idp".into())));
        assert_eq!(read("env:IDP"), Ok(SecretReference::Variable("IDP".to_owned())));
        for wrong in ["hunter2", "hunter2:", "hunter2:x"] {
            let error = read::<SecretReference>(wrong).expect_err("it is no reference");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_group_is_named_after_the_last_equals_sign() {
        let read = read::<GroupMap>;
        let expected = vec![("cn=sre,dc=example".to_owned(), "on-call".to_owned())];
        assert_eq!(read("cn=sre,dc=example=On-Call").map(|it| it.0), Ok(expected));
        for wrong in ["sre", "=on-call", "sre=", "sre=a b"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
