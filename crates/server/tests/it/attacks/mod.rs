//! Attacks, as those who have no access would try them: each test fails if its attack works.

mod acting;
mod browsers;
mod credentials;
mod floods;
mod links;
mod quotas;
mod secrets;
mod sessions;
mod tenants;
mod tokens;
mod webhooks;
