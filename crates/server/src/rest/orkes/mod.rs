//! Access control as clients of Orkes call it: applications, users, groups and authorizations, another
//! spelling of users, groups, keys and grants.
//!
//! An application is a user that comes in by its keys alone. Only what is enforced can be granted.

mod application;
mod authorization;
mod group;
mod role;
mod shape;
mod user;
mod words;

use crate::access::Routes;

pub(super) fn routes() -> Routes {
    application::routes()
        .merge(user::routes())
        .merge(group::routes())
        .merge(authorization::routes())
        .merge(role::routes())
}
