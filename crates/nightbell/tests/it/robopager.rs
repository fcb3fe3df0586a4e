//! Robopager's files on the real binary: a real mailbox, a real Redis, and stand-ins of batchy and of
//! `PagerDuty`, which also refuses in the ways it has.

#[path = "../../../tasks/tests/it/check/dovecot.rs"]
mod dovecot;
mod mail;
mod shared;
mod single;
mod watching;
mod world;

use crate::service;
