//! Access control: the one layer that turns a request into a [`Principal`] and lets it pass or not.
//!
//! What a path needs is said where it is registered ([`Routes::on`]), and what a method of gRPC needs
//! in [`crate::grpc::required`]; nothing else can be called. Everything is decided from memory, in
//! [`kernel::access::decide`].

mod anonymous;
mod audit;
mod change;
mod consent;
mod credential;
mod held;
mod link;
pub(crate) mod login;
mod logins;
mod quota;
mod refusal;
mod routes;
mod scope;
pub(crate) mod session;
pub(crate) mod signed_in;
pub(crate) mod sso;
mod throttle;
mod token;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::Response;
use engine::{ActsOn, AuditEntry, Authored, Engine, Proved};
use kernel::Timestamp;
use kernel::access::{
    KeyText, Mode, Need, Permission, Permissions, Principal, Reach, Refusal, Resource, Role, decide,
};

use crate::guard::{self, Peer};
use crate::local::Local;
use crate::oidc::{Refused, Workloads};
use crate::problem::Problem;
use crate::rest::ON_CALL_CALENDAR;
use crate::{Api, grpc};
use anonymous::Anonymous;
use audit::{Begun, Counted};
use logins::Logins;
use quota::Quotas;
use refusal::{
    GRPC_HINT, HINT, expired, forbidden, in_the_words_of, invalid, stale, unauthenticated,
};
use ring::hmac;
use session::Sessions;
use sso::Sso;
use throttle::Throttle;
use token::{Subject, Tokens, Verdict};
use zeroize::Zeroizing;

pub(crate) use audit::{About, Called, Why};
pub(crate) use credential::is_by_program;
pub(crate) use link::{CODE, Signer};
pub use quota::QuotaSettings;
pub(crate) use refusal::{EXPIRED, INVALID};
pub(crate) use routes::{PERMISSION, Required, Requirements, Routes};
pub(crate) use scope::Scope;
pub(crate) use token::LIFETIME_SECONDS;

/// Who makes a request; in its extensions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Actor {
    who: Option<Arc<Principal>>,
    /// How it proved to be that: a word of [`AuditEntry::proof`].
    proof: &'static str,
    /// By a session whose proof is too old for some things.
    is_stale: bool,
}

impl Actor {
    fn known((who, proof): (Arc<Principal>, &'static str)) -> Self {
        Self { who: Some(who), proof, is_stale: false }
    }

    /// By what it is known; empty for those who are not.
    fn proof(&self) -> &'static str {
        self.proof
    }

    /// The principal, if it proved to be one.
    pub(crate) fn principal(&self) -> Option<&Principal> {
        self.who.as_deref()
    }

    /// As whom what it starts and writes acts: its id; `None` for the server itself, which is what
    /// everybody acts as without access control, and the administrator at the socket with it.
    pub(crate) fn acts_as(&self) -> Option<Arc<str>> {
        self.principal().filter(|it| !is_local(it)).map(|it| it.id.clone())
    }

    /// How it is written into records: its name and its id.
    pub(crate) fn shown(&self) -> String {
        self.principal()
            .map_or_else(|| "anonymous".to_owned(), |it| format!("{} ({})", it.name, it.id))
    }

    /// Who did something: the principal, whatever the request says; without one, what it says.
    pub(crate) fn or_told(&self, told: Option<&str>) -> Arc<str> {
        match self.principal() {
            Some(_) => self.shown().into(),
            None => told.filter(|who| !who.trim().is_empty()).unwrap_or("api").into(),
        }
    }

    /// As [`Self::or_told`] where nobody need be told.
    pub(crate) fn if_told(&self, told: Option<String>) -> Option<Arc<str>> {
        match self.principal() {
            Some(_) => Some(self.shown().into()),
            None => told.map(Into::into),
        }
    }

    /// Whether it may do something more than its path needs. Without access control anybody may.
    pub(crate) fn may(&self, api: &Api, permission: Permission) -> bool {
        decide(api.settings.auth, permission.into(), self.principal()).is_ok()
    }

    /// Names what it may see, so that those of the same name are shown the same. Whoever has roles on some
    /// things only is alone with it.
    pub(crate) fn reach(&self, api: &Api) -> String {
        let Some(who) = self.principal() else { return "anybody".to_owned() };
        let granted = |it: &Resource| who.selectors(Permissions::ALL, *it).next().is_some();
        if Resource::ALL.iter().any(granted) {
            return who.id.to_string();
        }
        let may = Permission::ALL.into_iter().filter(|it| self.may(api, *it));
        let may: Vec<&str> = may.map(Permission::as_str).collect();
        format!("{} {}", if self.is_stale { "stale" } else { "young" }, may.join(" "))
    }

    /// Checks that it may do something that its path does not always need; `what` is that, in words.
    ///
    /// # Errors
    /// 401 without credentials, 403 if they do not suffice.
    pub(crate) fn must(
        &self,
        api: &Api,
        permission: Permission,
        what: &str,
    ) -> Result<(), Problem> {
        match decide(api.settings.auth, permission.into(), self.principal()) {
            Ok(_) if self.is_stale && PROVED_ANEW.has(permission) => Err(stale()),
            Ok(_) => Ok(()),
            Err(Refusal::Unauthenticated) => Err(unauthenticated(HINT)),
            Err(Refusal::Forbidden) => Err(forbidden(self.principal(), permission.into(), what)),
        }
    }

    /// Who makes the request of these extensions.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        extensions.get::<Self>().cloned().unwrap_or_default()
    }
}

/// What the id of the administrator at the socket begins with; the user id follows.
const LOCAL: &str = "local:";

/// Headers that proxies add.
const PROXIED: [&str; 5] =
    ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];

/// The administrator who makes a request over the socket. A proxy is none: whoever reaches it would be an
/// administrator.
fn local_administrator(request: &Request) -> Option<Arc<Principal>> {
    let Local(uid) = request.extensions().get().copied()?;
    if PROXIED.iter().any(|name| request.headers().contains_key(*name)) {
        tracing::warn!("a proxy hands requests on to the socket; they need keys, as at the port");
        return None;
    }
    let name = if uid == 0 { "root".into() } else { format!("uid {uid}").into() };
    Some(Arc::new(Principal::new(format!("{LOCAL}{uid}").into(), name, vec![Role::Admin])))
}

/// Whether somebody is known by the socket, and so by no key, session or password.
fn is_local(who: &Principal) -> bool {
    who.id.starts_with(LOCAL)
}

/// Whether whoever wrote a document that acts by itself may do something now. If not, the log says why.
///
/// # Errors
/// The store's.
pub(crate) async fn author_may(
    engine: &Engine,
    kind: Authored,
    name: &str,
    permission: Permission,
    on: ActsOn<'_>,
) -> Result<bool, Problem> {
    let author = engine.author_of(kind, name);
    match engine.must_allow(author.as_deref(), permission, on).await {
        Err(engine::Error::Rejected(why)) => {
            tracing::warn!(kind = kind.as_str(), name, %why, "document not in force: its author is not allowed to do this");
            Ok(false)
        }
        allowed => allowed.map(|()| true).map_err(Problem::from),
    }
}

impl<S: Sync> FromRequestParts<S> for Actor {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.extensions))
    }
}

/// Where a request comes from, if it came over a connection.
pub(crate) struct From(pub(crate) Option<Peer>);

impl<S: Sync> FromRequestParts<S> for From {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.extensions.get().copied()))
    }
}

/// Put into a request that this process makes of itself for somebody who was admitted already: nothing
/// from outside can be in the extensions.
#[derive(Clone, Debug)]
pub(crate) struct Asked(pub(crate) Actor);

/// Decides on every request.
pub(crate) struct Authorizer {
    mode: Mode,
    /// How old the proof of a session may be for what needs [`PROVED_ANEW`].
    proof_max: Duration,
    engine: Engine,
    tokens: Tokens,
    links: Arc<link::Codes>,
    sessions: Arc<Sessions>,
    requirements: Requirements,
    throttle: Throttle,
    logins: Logins,
    /// Attempts at the passwords of triggers, by the names of these.
    trigger_logins: Logins,
    sso: Option<Sso>,
    workloads: Option<Workloads>,
    anonymous: Anonymous,
    quotas: Arc<Quotas>,
    counted: Counted,
    /// Of the hashes of changes.
    change_key: hmac::Key,
}

impl Authorizer {
    pub(crate) fn new(api: &Api, requirements: Requirements) -> Self {
        Self {
            mode: api.settings.auth,
            proof_max: api.settings.proof_max,
            engine: api.engine.clone(),
            tokens: Tokens::new(&api.engine),
            links: link::Codes::new(&api.engine),
            sessions: Arc::default(),
            requirements,
            throttle: Throttle::new(&api.settings.trusted_proxies),
            logins: Logins::new(&api.settings.trusted_proxies),
            trigger_logins: Logins::new(&api.settings.trusted_proxies),
            sso: Sso::of(&api.settings, &api.engine),
            workloads: api.settings.workloads.clone().map(Workloads::new),
            anonymous: Anonymous::default(),
            quotas: Quotas::new(api.settings.quotas),
            counted: Counted::default(),
            change_key: change::key(&api.engine),
        }
    }

    /// Whether credentials count.
    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// A token for whoever holds a key, and who that is.
    ///
    /// # Errors
    /// 401 if the key does not count, or is not the one of this id. Further attempts from the same
    /// address are answered late then.
    pub(crate) async fn token(
        &self,
        id: &str,
        secret: &str,
        peer: Option<Peer>,
    ) -> Result<(String, Arc<Principal>), Problem> {
        let key = KeyText::parse(secret.trim()).filter(|key| key.id() == id.trim());
        let principal = self.came_in(key, peer).await?;
        Ok((self.tokens.sign(&Subject::of(&principal), self.engine.now()), principal))
    }

    /// A token for a session: it counts while the session does.
    fn session_token(&self, principal: &Principal, session: &str) -> String {
        let subject = Subject { session: Some(session.to_owned()), ..Subject::of(principal) };
        self.tokens.sign(&subject, self.engine.now())
    }

    /// Who signs in with a name and a password.
    ///
    /// # Errors
    /// 400 if the password is too long to be one, 401 if they do not belong together, 429 after too many failures, 503 while too many sign in.
    async fn known_by_password(
        &self,
        name: &str,
        password: Zeroizing<String>,
        peer: Option<Peer>,
    ) -> Result<Arc<Principal>, Problem> {
        // Refused without a hash, so that it must not count against the name either.
        if password.len() > engine::PASSWORD_MAX {
            return Err(engine::AccessError::Password.into());
        }
        let attempt = match self.logins.begin(name, peer) {
            Ok(attempt) => attempt,
            Err(problem) => {
                self.note_refused_login("password", peer);
                return Err(problem);
            }
        };
        match self.engine.access().login(name, password, self.engine.now()).await {
            Ok(Some(principal)) => {
                attempt.succeeded();
                self.note_administrator(&principal, "");
                self.note_login(&principal, "password", peer);
                Ok(principal)
            }
            Ok(None) => {
                attempt.failed();
                self.note_refused_login("password", peer);
                let message =
                    "the name and the password do not belong together, or the user is disabled";
                Err(Problem::new(StatusCode::UNAUTHORIZED, INVALID, message).with_hint(
                    "Check them, or ask an administrator for `nightbell user passwd NAME`.",
                ))
            }
            Err(error) => {
                attempt.not_made();
                Err(error.into())
            }
        }
    }

    /// Checks what somebody sends as the password of a trigger, unless too many were wrong before. Only what
    /// `is_guess` says so counts as a failure.
    ///
    /// # Errors
    /// 429 after too many failures.
    pub(crate) fn try_at_trigger<E>(
        &self,
        trigger: &str,
        peer: Option<Peer>,
        check: impl FnOnce() -> Result<(), E>,
        is_guess: impl FnOnce(&E) -> bool,
    ) -> Result<Result<(), E>, Problem> {
        let attempt = self.trigger_logins.begin(trigger, peer)?;
        let checked = check();
        match &checked {
            Ok(()) => attempt.succeeded(),
            Err(error) if is_guess(error) => attempt.failed(),
            Err(_) => attempt.not_made(),
        }
        Ok(checked)
    }

    /// Who holds this key, for a session.
    ///
    /// # Errors
    /// As [`Self::token`].
    async fn proved(&self, key: &str, peer: Option<Peer>) -> Result<Arc<Principal>, Problem> {
        self.came_in(KeyText::parse(key), peer).await
    }

    async fn came_in(
        &self,
        key: Option<KeyText<'_>>,
        peer: Option<Peer>,
    ) -> Result<Arc<Principal>, Problem> {
        let proved = key.map_or(Proved::Unknown, |key| self.holder(&key));
        match proved {
            Proved::Known(principal) => {
                self.note_login(&principal, "key", peer);
                Ok(principal)
            }
            Proved::Expired => {
                self.note_refused_login("key", peer);
                Err(expired("the key has expired"))
            }
            Proved::Unknown => {
                self.note_refused_login("key", peer);
                self.throttle.failed(peer).await;
                Err(invalid(
                    "the key id and the secret do not belong together, or the key was revoked",
                ))
            }
        }
    }

    /// Notes a wrong key that is looked at elsewhere, and waits for as long as it must be answered
    /// late.
    pub(crate) async fn failed(&self, peer: Option<Peer>) {
        self.throttle.failed(peer).await;
    }

    fn holder(&self, key: &KeyText<'_>) -> Proved {
        let now = self.engine.now();
        let proved = self.engine.access().holder(key, now);
        if let Proved::Known(principal) = &proved {
            self.note_administrator(principal, key.id());
        }
        proved
    }

    /// The bootstrap key ends when an administrator has come in by another one.
    fn note_administrator(&self, principal: &Arc<Principal>, key: &str) {
        let access = self.engine.access();
        if !principal.may(Permission::Admin) || !access.has_bootstrap() || access.is_bootstrap(key)
        {
            return;
        }
        let (engine, principal) = (self.engine.clone(), principal.clone());
        tokio::spawn(async move {
            match engine.access().end_bootstrap(&principal.id, engine.now()).await {
                Ok(()) => tracing::info!(
                    administrator = %principal.name,
                    "an administrator has signed in: the bootstrap key is no longer valid, and its file may \
                     be deleted"
                ),
                Err(error) => tracing::error!(%error, "bootstrap key could not be revoked"),
            }
        });
    }

    /// Who the credentials of a request prove its sender to be; `None` without any.
    fn who(
        &self,
        path: Option<&str>,
        request: &Request,
    ) -> Option<Result<(Arc<Principal>, &'static str), Problem>> {
        let parameter = path.and_then(parameter_of);
        let given = credential::of(request.headers(), parameter.zip(request.uri().query()))?;
        if let Some(key) = KeyText::parse(&given) {
            return Some(match self.holder(&key) {
                Proved::Known(principal) => Ok((principal, "key")),
                Proved::Expired => Err(expired("the key has expired")),
                Proved::Unknown => Err(invalid("there is no such key, or it was revoked")),
            });
        }
        let now = self.engine.now();
        if link::Codes::is_one(&given) {
            let who = self.by_link(&given, path, request.uri(), now);
            return Some(who.map(|who| (who, "link")));
        }
        Some(match self.tokens.verify(&given, now) {
            Verdict::Of(subject) => {
                if subject.session.as_ref().is_some_and(|it| !self.sessions.is_open(it)) {
                    return Some(Err(expired("the session of the token has ended")));
                }
                match self.engine.access().standing(&subject.id, subject.generation, now) {
                    Proved::Known(principal) => Ok((principal, "token")),
                    Proved::Expired => Err(expired("the key of the token has expired")),
                    Proved::Unknown => {
                        Err(invalid("the key of the token was revoked, or its user is disabled"))
                    }
                }
            }
            Verdict::Expired => Err(expired("the token has expired")),
            Verdict::Invalid => self.by_workload(&given, now).map(|who| (who, "workload")),
        })
    }

    /// The application that a token of another system stands for.
    fn by_workload(&self, token: &str, now: Timestamp) -> Result<Arc<Principal>, Problem> {
        let judged = self.workloads.as_ref().and_then(|it| it.judge(token, now));
        let application = match judged {
            None => Err(invalid("the credentials are no key and no token of this server")),
            Some(Err(Refused::Expired)) => Err(expired("the token has expired")),
            Some(Err(Refused::Invalid(why))) => {
                Err(invalid(&format!("the token of a workload does not count: {why}")))
            }
            Some(Ok(application)) => Ok(application),
        }?;
        let access = self.engine.access();
        let found = access.user(&application).ok().filter(|(user, _)| user.application);
        let proved = found.map(|(user, _)| access.principal(&format!("user:{}", user.id), now));
        if let Some(Proved::Known(who)) = proved {
            return Ok(who);
        }
        tracing::warn!(%application, "token of a workload refused: its application does not exist or is disabled");
        Err(invalid("there is no application for this workload, or it is disabled"))
    }

    /// Who was given the link that a request follows.
    fn by_link(
        &self,
        code: &str,
        path: Option<&str>,
        uri: &Uri,
        now: Timestamp,
    ) -> Result<Arc<Principal>, Problem> {
        let target = link::Target::of(path, uri);
        let subject = target.and_then(|target| self.links.verify(code, &target));
        let subject =
            subject.ok_or_else(|| invalid("the code of the link is none for this instance"))?;
        match self.engine.access().standing(&subject.id, subject.generation, now) {
            Proved::Known(principal) => Ok(principal),
            Proved::Expired => Err(expired("the key of the link has expired")),
            Proved::Unknown => {
                Err(invalid("the key of the link was revoked, or its user is disabled"))
            }
        }
    }

    /// What names the session without which a request would not pass.
    fn session_of(&self, path: Option<&str>, request: &Request) -> Option<String> {
        match credential::of(request.headers(), None) {
            Some(given) => match self.tokens.verify(&given, self.engine.now()) {
                Verdict::Of(subject) => subject.session,
                Verdict::Expired | Verdict::Invalid => None,
            },
            None => session::of_cookie(request).filter(|_| session::is_for(path)),
        }
    }

    /// Who the session of a request belongs to; `None` without one, or if its key counts no more.
    fn signed_in(&self, request: &Request) -> Option<Result<Actor, Problem>> {
        let session = match session::of_request(&self.sessions, request) {
            Ok(found) => found?,
            Err(problem) => return Some(Err(problem)),
        };
        let (id, generation) = (&session.principal, session.generation);
        match self.engine.access().standing(id, generation, self.engine.now()) {
            Proved::Known(who) => {
                let is_stale = !session.is_proved(self.proof_max, Instant::now());
                Some(Ok(Actor { is_stale, ..Actor::known((who, "session")) }))
            }
            Proved::Expired | Proved::Unknown => None,
        }
    }

    /// What a request needs.
    fn required(&self, path: Option<&str>, request: &Request) -> Required {
        let required = match path {
            Some(path) if path == grpc::METHODS => grpc::required(request.uri().path()),
            Some(path) => self.requirements.of(path, request.method()),
            // Triggers ask for themselves, and what is nobody's is public knowledge.
            None => Some(Required::unwritten(Need::Proof)),
        };
        // What nobody has said a word about is for nobody.
        required.unwrap_or(Required::unwritten(Need::OneOf(Permissions::NONE)))
    }

    /// Whether nothing is to be asked and nothing to be written, so that a request passes at once.
    pub(crate) fn is_indifferent(&self, path: Option<&str>, request: &Request) -> bool {
        self.mode == Mode::Open && !self.required(path, request).is_written
    }

    async fn admit(&self, path: Option<&str>, request: &mut Request) -> Result<Admitted, Response> {
        let Required { need, is_written } = self.required(path, request);
        if self.mode == Mode::Open {
            // Nobody is asked who they are; what is written elsewhere is written here, too.
            let (actor, scope) = (Actor::default(), Scope::default());
            let entry = is_written.then(|| audit::entry_of_act(path, request, &actor));
            return self.begun(request.headers(), actor, scope, entry).await;
        }
        if need == Need::Proof && path.is_some() {
            return Ok(Admitted::default());
        }
        if let Some(workloads) = &self.workloads {
            let token = credential::of(request.headers(), None);
            let token = token.and_then(|token| workloads.lacks_keys(&token));
            if let Some(lacking) = token {
                workloads.fetch_keys(&lacking).await;
            }
        }
        let who = match request.extensions().get::<Asked>() {
            Some(asked) => Some(Ok(asked.0.clone())),
            None => match self.who(path, request) {
                None if session::is_for(path) => self.signed_in(request),
                who => who.map(|it| it.map(Actor::known)),
            }
            .or_else(|| {
                let known = |who| Ok(Actor::known((who, "socket")));
                local_administrator(request).map(known)
            }),
        };
        let is_public = matches!(need, Need::Public | Need::Proof);
        let actor = match who {
            Some(Ok(actor)) => actor,
            // What anybody may see, those may see, too, who have mistaken their key.
            Some(Err(_)) if is_public => Actor::default(),
            Some(Err(problem)) => {
                self.note_refusal(path, request, &Actor::default(), problem.status);
                if problem.status == StatusCode::UNAUTHORIZED {
                    self.throttle.failed(request.extensions().get::<Peer>().copied()).await;
                }
                return Err(in_the_words_of(request.headers(), problem));
            }
            None => Actor::default(),
        };
        match decide(self.mode, need, actor.principal()) {
            Ok(_) if actor.is_stale && is_written && PROVED_ANEW.meets(need.permissions()) => {
                self.note_refusal(path, request, &actor, StatusCode::UNAUTHORIZED);
                Err(in_the_words_of(request.headers(), stale()))
            }
            Ok(reach) => {
                let scope = match (&actor.who, reach) {
                    (Some(who), Reach::Some) => Scope::narrowed(who.clone(), need.permissions()),
                    _ => Scope::default(),
                };
                if path == Some(grpc::METHODS)
                    && let Err(problem) = grpc::check_hub(request.headers(), &scope)
                {
                    self.note_refusal(path, request, &actor, problem.status);
                    return Err(in_the_words_of(request.headers(), problem));
                }
                if actor.who.is_some() && path.is_none() {
                    // Triggers hand headers on to workflows, which have no business with a key.
                    for name in &credential::HEADERS {
                        request.headers_mut().remove(name);
                    }
                }
                if actor.who.is_none() && self.mode == Mode::Offered && !is_public {
                    self.anonymous.count(request);
                }
                if !is_public && let Err(problem) = self.charge(&actor, request) {
                    return Err(in_the_words_of(request.headers(), problem));
                }
                let entry = is_written.then(|| audit::entry_of_act(path, request, &actor));
                self.begun(request.headers(), actor, scope, entry).await
            }
            Err(Refusal::Unauthenticated) => {
                let hint = if guard::is_grpc(request.headers()) { GRPC_HINT } else { HINT };
                self.note_refusal(path, request, &actor, StatusCode::UNAUTHORIZED);
                Err(in_the_words_of(request.headers(), unauthenticated(hint)))
            }
            Err(Refusal::Forbidden) => {
                let what = format!("{} {}", request.method(), path.unwrap_or_default());
                let problem = forbidden(actor.principal(), need, &what);
                self.note_refusal(path, request, &actor, StatusCode::FORBIDDEN);
                Err(in_the_words_of(request.headers(), problem))
            }
        }
    }

    /// Counts a request against the quotas of whoever makes it; not what this process asks itself, nor
    /// what the administrator at the socket does, who may have to end what others do too much of.
    ///
    /// # Errors
    /// 429 if a quota is used up.
    fn charge(&self, actor: &Actor, request: &mut Request) -> Result<(), Problem> {
        let is_exempt = request.extensions().get::<Asked>().is_some()
            || actor.principal().is_some_and(is_local);
        if !self.quotas.is_set() || is_exempt {
            return Ok(());
        }
        let who = if let Some(who) = &actor.who {
            who.id.clone()
        } else {
            let peer: Option<&Peer> = request.extensions().get();
            let address = peer.map(|it| throttle::place(it.0.ip()).to_string());
            format!("anonymous {}", address.unwrap_or_default()).into()
        };
        self.quotas.charge(who, request)
    }

    /// Lets a request begin; what is to be written down is written before.
    async fn begun(
        &self,
        headers: &HeaderMap,
        actor: Actor,
        scope: Scope,
        entry: Option<AuditEntry>,
    ) -> Result<Admitted, Response> {
        let Some(entry) = entry else {
            return Ok(Admitted { actor, scope, begun: None });
        };
        match audit::begin(&self.engine, entry).await {
            Ok(begun) => Ok(Admitted { actor, scope, begun: Some(begun) }),
            Err(problem) => Err(in_the_words_of(headers, problem)),
        }
    }

    /// Lets a request pass, and tells its handler who makes it and what that may reach. `path` is the
    /// path of ours that answers it.
    ///
    /// # Errors
    /// The answer to give.
    pub(crate) async fn enter(
        &self,
        path: Option<&str>,
        request: &mut Request,
    ) -> Result<Entered, Response> {
        // Another spelling of a path of ours is asked about again under the right one.
        if path.is_none() && crate::durable::canonical(request.uri()).is_some() {
            return Ok(Entered::default());
        }
        let Admitted { actor, scope, mut begun } = self.admit(path, request).await?;
        let leased = |it: &&Arc<Principal>| !is_local(it) && held::is_held_open(request);
        let held = actor.who.as_ref().filter(leased).map(|principal| {
            // Of the two that are held open one attends a hub, the other shows everything.
            let hub = guard::is_grpc(request.headers()).then(|| grpc::hub_of(request.headers()));
            let session = self.session_of(path, request).map(|id| (self.sessions.clone(), id));
            held::Lease::new(self.engine.clone(), principal, hub, session)
        });
        if let Some(begun) = &mut begun {
            begun.watch(&self.change_key, request);
            request.extensions_mut().insert(begun.why().clone());
        }
        // Where answers have links to instances, which are triggers' and those of one API.
        let has_links = path.is_none_or(|path| path.starts_with(crate::durable::BASE));
        if let Some(who) = actor.who.as_ref().filter(|it| has_links && !is_local(it)) {
            request.extensions_mut().insert(Signer::new(&self.links, who));
        }
        request.extensions_mut().insert(actor);
        request.extensions_mut().insert(scope);
        Ok(Entered { begun, held })
    }

    /// Requests that were refused because a quota was used up, by quota.
    pub(crate) fn refused_by_quota(&self) -> [(&'static str, u64); 2] {
        self.quotas.refused()
    }

    /// Who has called without credentials, while they are only offered.
    pub(crate) fn anonymous(&self) -> Vec<(String, u64)> {
        self.anonymous.list()
    }
}

/// A request that passes.
#[derive(Default)]
struct Admitted {
    actor: Actor,
    scope: Scope,
    begun: Option<Begun>,
}

/// What is still to be done about the answer to a request that has passed.
#[derive(Default)]
pub(crate) struct Entered {
    begun: Option<Begun>,
    held: Option<held::Lease>,
}

impl Entered {
    /// Without access control: whoever asks may do everything.
    pub(crate) fn by_anybody(request: &mut Request) -> Self {
        request.extensions_mut().insert(Actor::default());
        request.extensions_mut().insert(Scope::default());
        Self::default()
    }

    /// The answer, written down; one that goes on ends with the key of its caller.
    pub(crate) fn leave(self, response: Response) -> Response {
        if let Some(begun) = self.begun {
            begun.end(&response);
        }
        match self.held {
            Some(lease) => response.map(|body| held::until_revoked(body, lease)),
            None => response,
        }
    }
}

/// Lets requests of one router pass, or answers them.
pub(crate) async fn admit(
    State(authorizer): State<Arc<Authorizer>>,
    path: Option<MatchedPath>,
    mut request: Request,
    next: Next,
) -> Response {
    let path = path.as_ref().map(MatchedPath::as_str);
    match authorizer.enter(path, &mut request).await {
        Ok(entered) => entered.leave(next.run(request).await),
        Err(refusal) => refusal,
    }
}

/// The parameter that may hold a credential, where whoever asks cannot send headers.
fn parameter_of(path: &str) -> Option<&'static str> {
    match path {
        ON_CALL_CALENDAR => Some("key"),
        path if path.starts_with(crate::durable::BASE) => Some(CODE),
        _ => None,
    }
}

/// For what a session counts only while its proof is young.
const PROVED_ANEW: Permissions =
    Permissions::of(&[Permission::Edit, Permission::WriteSecrets, Permission::Admin]);
