//! One certificate: the account, the order, the proof for each name, and what is kept of it.

use std::fmt::Display;
use std::fs;
use std::io;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeType, Error, ExternalAccountKey,
    Identifier, NewAccount, NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use server::{Pair, Tls};
use tasks::http::{self, Client};
use zeroize::Zeroizing;

use super::asked::{Asked, self_signed};
use super::calls::Caller;
use crate::{exposed, secret_key};

/// How long the authority may take to look at the proofs, and then to sign.
const PATIENCE: RetryPolicy = RetryPolicy::new().timeout(Duration::from_mins(2));
/// Bytes of the largest answer.
const ANSWER_MAX: usize = 1 << 20;
/// What an authority answers that does not know the account any more.
const NO_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

/// Obtains a certificate and keeps it, or says why not.
pub(super) async fn obtain(asked: &Asked, tls: &Tls, calls: &http::Settings) -> Result<(), String> {
    let mut calls = calls.clone();
    calls.body_max = ANSWER_MAX;
    calls.error_body_max = ANSWER_MAX;
    let client = Client::new(calls).map_err(said)?;
    let account = account(asked, &client).await?;
    let names: Vec<_> = asked.domains.iter().cloned().map(Identifier::Dns).collect();
    let mut order = match account.new_order(&NewOrder::new(&names)).await {
        Ok(order) => order,
        Err(Error::Api(problem)) if problem.r#type.as_deref() == Some(NO_ACCOUNT) => {
            // The next try makes a new one.
            let file = asked.account_file();
            fs::remove_file(&file).map_err(|error| in_file(&file, &error))?;
            return Err(format!(
                "the account is unknown there by now, a new one is made: {problem}"
            ));
        }
        Err(error) => return Err(said(error)),
    };
    prove(&mut order, tls).await?;
    let key = KeyPair::generate().map_err(said)?;
    let mut params = CertificateParams::new(asked.domains.clone()).map_err(said)?;
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key).map_err(said)?;
    order.finalize_csr(request.der()).await.map_err(said)?;
    let chain = order.poll_certificate(&PATIENCE).await.map_err(said)?;
    // Before it takes the place of the former one, which may still be good for weeks.
    let given = Pair { cert: chain.clone(), key: Zeroizing::new(key.serialize_pem()) };
    tls.check(&given).map_err(said)?;
    let text = Zeroizing::new(format!("{}\n{}", chain.trim_end(), key.serialize_pem().trim_end()));
    let file = asked.certificate_file();
    secret_key::write(&file, &text).map_err(|error| in_file(&file, &error))
}

/// The account: that of the folder, or a new one.
async fn account(asked: &Asked, client: &Client) -> Result<Account, String> {
    let file = asked.account_file();
    let builder = Account::builder_with_http(Box::new(Caller(client.clone())));
    match fs::read_to_string(&file) {
        Ok(text) => {
            let kept = serde_json::from_str::<AccountCredentials>(&Zeroizing::new(text));
            let kept = kept.map_err(|error| in_file(&file, &error))?;
            builder.from_credentials(kept).await.map_err(said)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let contacts: Vec<_> = asked.contacts.iter().map(|it| format!("mailto:{it}")).collect();
            let contacts: Vec<_> = contacts.iter().map(String::as_str).collect();
            let wanted = NewAccount {
                contact: &contacts,
                terms_of_service_agreed: true,
                only_return_existing: false,
            };
            let external = external(asked)?;
            let made = builder.create(&wanted, asked.directory.clone(), external.as_ref()).await;
            let (account, credentials) = made.map_err(said)?;
            let text = Zeroizing::new(serde_json::to_string(&credentials).map_err(said)?);
            secret_key::write(&file, &text).map_err(|error| in_file(&file, &error))?;
            Ok(account)
        }
        Err(error) => Err(in_file(&file, &error)),
    }
}

/// The account elsewhere that a new one is bound to.
fn external(asked: &Asked) -> Result<Option<ExternalAccountKey>, String> {
    let Some((id, file)) = &asked.external else { return Ok(None) };
    exposed::tell_of_file(file, "the key of the account at the certificate authority");
    let text = Zeroizing::new(fs::read_to_string(file).map_err(|error| in_file(file, &error))?);
    // Authorities write it in either alphabet. What is wrong with it is nothing to repeat.
    let text =
        Zeroizing::new(text.trim().trim_end_matches('=').replace('+', "-").replace('/', "_"));
    let key = URL_SAFE_NO_PAD.decode(&*text);
    let key = Zeroizing::new(key.map_err(|_| in_file(file, &"is not Base64"))?);
    Ok(Some(ExternalAccountKey::new(id.clone(), &key)))
}

/// Shows the authority a proof for each name for which it has none yet, until it has looked.
async fn prove(order: &mut Order, tls: &Tls) -> Result<(), String> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(said)?;
        if authorization.status != AuthorizationStatus::Pending {
            continue;
        }
        let name = authorization.identifier().to_string();
        let Some(mut challenge) = authorization.challenge(ChallengeType::TlsAlpn01) else {
            return Err(format!("the authority does not offer TLS-ALPN-01 for {name}"));
        };
        let digest = challenge.key_authorization().digest();
        let proof = self_signed(std::slice::from_ref(&name), Some(digest.as_ref()));
        tls.show_proof(&name, &proof.map_err(said)?).map_err(said)?;
        challenge.set_ready().await.map_err(said)?;
    }
    let ended = order.poll_ready(&PATIENCE).await;
    match ended {
        Ok(OrderStatus::Ready) => Ok(()),
        Ok(_) | Err(Error::Api(_)) => Err(why_refused(order, ended).await),
        Err(error) => Err(said(error)),
    }
}

/// What the authority found at the names, which says more than that it refuses the order.
async fn why_refused(order: &mut Order, ended: Result<OrderStatus, Error>) -> String {
    let mut found = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if authorization.refresh().await.is_err() {
            continue;
        }
        let name = authorization.identifier().to_string();
        let problems = authorization.challenges.iter().filter_map(|it| it.error.as_ref());
        found.extend(problems.map(|problem| format!("{name}: {problem}")));
    }
    match (found.is_empty(), ended) {
        (false, _) => format!("the authority did not find the proof: {}", found.join("; ")),
        (true, Err(error)) => said(error),
        (true, Ok(status)) => format!("the order is {status:?}"),
    }
}

/// An error with those behind it.
fn said(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut behind = error.source();
    while let Some(error) = behind {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        behind = error.source();
    }
    text
}

fn in_file(file: &std::path::Path, error: &dyn Display) -> String {
    format!("{}: {error}", file.display())
}
