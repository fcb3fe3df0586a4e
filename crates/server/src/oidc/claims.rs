//! What an ID token must say so that it counts, and who it then is.

use kernel::Timestamp;
use serde_json::{Map, Value};

use super::{Failed, Options};

/// Seconds by which the provider's clock may differ from ours.
const LEEWAY: i64 = 60;
/// Characters of the longest name that a provider gives a user; more is none (OpenID Connect, 2).
const SUBJECT_MAX: usize = 255;
/// Groups of one user that are looked at.
const GROUPS_MAX: usize = 10_000;

/// Somebody whom the provider has vouched for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Person {
    /// What the provider calls the user, for good.
    pub(crate) subject: String,
    /// What a user is called who is created.
    pub(crate) name: String,
    /// Whether nobody can choose that freely at the provider, as far as the token says.
    pub(crate) names_surely: bool,
    /// The groups of ours that the provider's groups of the user stand for.
    pub(crate) groups: Vec<String>,
    /// Whether a user is created who is not there yet.
    pub(crate) is_admitted: bool,
}

/// Who the claims of a signed token are about.
///
/// # Errors
/// The token is for somebody else, or another login, or too old; or who it is about is not let in.
pub(super) fn person(
    claims: &Map<String, Value>,
    options: &Options,
    nonce: &str,
    now: Timestamp,
) -> Result<Person, Failed> {
    check(claims, options, nonce, now).map_err(Failed::Token)?;
    check_domain(claims, options)?;
    // Whoever may choose an address without proof could take somebody else's name.
    let is_by_email = options.name_claim == "email";
    if is_by_email && is_verified(claims) == Some(false) {
        return Err(Failed::NotAdmitted("the e-mail address is not verified".to_owned()));
    }
    let subject = text(claims, "sub").filter(|it| it.chars().count() <= SUBJECT_MAX);
    let subject = subject.ok_or_else(|| Failed::Token("it names no subject ('sub')".to_owned()))?;
    let name = lookup(claims, &options.name_claim).and_then(Value::as_str).ok_or_else(|| {
        Failed::Token(format!(
            "it has no text '{}', which users are named after (oidc_name_claim); a scope may be missing",
            options.name_claim
        ))
    })?;
    let groups = groups(claims, options);
    // Who may come in is said by groups, where any are named.
    let is_admitted = options.groups.is_empty() || !groups.is_empty();
    let names_surely = !is_by_email || is_verified(claims) == Some(true);
    let (subject, name) = (subject.to_owned(), name.to_owned());
    Ok(Person { subject, name, names_surely, groups, is_admitted })
}

fn check(
    claims: &Map<String, Value>,
    options: &Options,
    nonce: &str,
    now: Timestamp,
) -> Result<(), String> {
    let now = now.millis() / 1000;
    let issuer = text(claims, "iss").unwrap_or_default();
    if issuer != options.issuer {
        return Err(format!("it was issued by '{}'", short(issuer)));
    }
    let ours = |it: &Value| it.as_str() == Some(options.client_id.as_str());
    let (is_for_us, is_for_others) = match claims.get("aud") {
        Some(Value::Array(all)) => (all.iter().any(ours), all.len() > 1),
        Some(one) => (ours(one), false),
        None => (false, false),
    };
    if !is_for_us {
        return Err("it is for another client ('aud')".to_owned());
    }
    let party = claims.get("azp");
    if party.is_some_and(|it| !ours(it)) || is_for_others && party.is_none() {
        return Err("it was given to another client ('azp')".to_owned());
    }
    check_times(claims, now).map_err(|untimely| untimely.why)?;
    if text(claims, "nonce") != Some(nonce) {
        return Err("it belongs to another login ('nonce')".to_owned());
    }
    Ok(())
}

/// Why a token does not count at this time.
#[derive(Debug)]
pub(super) struct Untimely {
    pub(super) has_ended: bool,
    pub(super) why: String,
}

/// Checks that a token counts at this second, give or take the difference of clocks; until when it does.
pub(super) fn check_times(claims: &Map<String, Value>, now: i64) -> Result<i64, Untimely> {
    let untimely = |has_ended, why: String| Err(Untimely { has_ended, why });
    let Some(end) = number(claims, "exp") else {
        return untimely(false, "it never ends ('exp')".to_owned());
    };
    let until = end.saturating_add(LEEWAY);
    if now >= until {
        return untimely(true, format!("it ended {} s ago ('exp')", now.saturating_sub(end)));
    }
    for name in ["iat", "nbf"] {
        let at = number(claims, name);
        if at.is_some_and(|at| at > now.saturating_add(LEEWAY)) {
            let why = format!("it is of the future ('{name}'): compare the clocks");
            return untimely(false, why);
        }
    }
    Ok(until)
}

/// Whether the provider has made sure that the e-mail address belongs to the user, if it says so.
fn is_verified(claims: &Map<String, Value>) -> Option<bool> {
    match claims.get("email_verified")? {
        Value::Bool(is_verified) => Some(*is_verified),
        Value::String(text) => Some(text == "true"),
        _ => Some(false),
    }
}

fn check_domain(claims: &Map<String, Value>, options: &Options) -> Result<(), Failed> {
    if options.email_domains.is_empty() {
        return Ok(());
    }
    let refused = |why: &str| Err(Failed::NotAdmitted(why.to_owned()));
    let Some(email) = text(claims, "email") else {
        return refused("the provider tells no mail address, and only some domains are let in");
    };
    if is_verified(claims) != Some(true) {
        return refused("the provider has not verified the mail address");
    }
    let domain = email.rsplit_once('@').map(|(_, domain)| domain).unwrap_or_default();
    if options.email_domains.iter().any(|it| it.eq_ignore_ascii_case(domain)) {
        return Ok(());
    }
    refused("the mail address is of a domain that is not let in")
}

/// The groups of ours, as the claim says them.
fn groups(claims: &Map<String, Value>, options: &Options) -> Vec<String> {
    let told: Vec<&str> = match lookup(claims, &options.groups_claim) {
        Some(Value::Array(all)) => all.iter().take(GROUPS_MAX).filter_map(Value::as_str).collect(),
        Some(Value::String(one)) => vec![one],
        _ => Vec::new(),
    };
    let ours = options.groups.iter().filter(|(value, _)| told.contains(&value.as_str()));
    let mut groups: Vec<String> = ours.map(|(_, group)| group.clone()).collect();
    groups.sort_unstable();
    groups.dedup();
    groups
}

/// A claim of this name, or else at this path (`realm_access.roles`): names may hold dots, too.
pub(super) fn lookup<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    claims.get(name).or_else(|| {
        let mut path = name.split('.');
        let first = claims.get(path.next()?)?;
        path.try_fold(first, |value, name| value.get(name))
    })
}

fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    claims.get(name).and_then(Value::as_str).filter(|it| !it.is_empty())
}

/// A number of seconds; some providers write fractions.
fn number(claims: &Map<String, Value>, name: &str) -> Option<i64> {
    let value = claims.get(name)?;
    value.as_i64().or_else(|| value.as_f64().map(|it| it as i64))
}

fn short(text: &str) -> String {
    text.chars().filter(|it| !it.is_control()).take(100).collect()
}
