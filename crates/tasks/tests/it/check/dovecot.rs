//! A real Dovecot with folders as Gmail has them, and one user, `jane`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::service::{Service, find, folder, free_port, write};

/// A running server. It speaks TLS with the certificate of the HTTP tests.
pub(super) struct Dovecot {
    service: Service,
    /// Where it listens without encryption.
    pub(super) plain: u16,
    /// Where it listens with TLS.
    pub(super) secure: u16,
    /// Where the folder of all mail takes what comes: in `cur` nobody but the server moves anything, or it misses
    /// mails that it has seen.
    new: PathBuf,
    mails: AtomicU64,
}

impl Dovecot {
    /// Starts one whose folder of all mail is called so in the user's language. `tokens` answers
    /// whose a token is, for logins by XOAUTH2.
    pub(super) fn start(all: &str, password: &str, tokens: Option<&str>) -> Option<Self> {
        let program = find("/usr/sbin/dovecot", "dovecot-imapd")?;
        find("/usr/lib/dovecot/imap", "dovecot-imapd")?;
        let (folder, plain, secure) = (folder(), free_port(), free_port());
        let at = folder.path().to_owned();
        let (mut mechanisms, mut oauth) = ("plain login", String::new());
        if let Some(url) = tokens {
            let text = format!(
                "introspection_mode = auth\nintrospection_url = {url}\n\
                 username_attribute = email\nactive_attribute = active\nactive_value = true\n"
            );
            let file = write(&at, "oauth2.conf", &text);
            mechanisms = "plain login xoauth2";
            oauth = format!(
                "passdb {{\n driver = oauth2\n mechanisms = xoauth2\n args = {}\n}}\n",
                file.display()
            );
        }
        let root = whoami() == "root";
        let (internal, login, mail) = if root {
            ("dovecot".to_owned(), "dovenull".to_owned(), "nobody".to_owned())
        } else {
            (whoami(), whoami(), whoami())
        };
        let tls = tls();
        let (tls, here) = (tls.display(), at.display());
        let config = format!(
            "base_dir = {here}/run\nstate_dir = {here}/state\nlog_path = {here}/dovecot.log\n\
             protocols = imap\nlisten = 127.0.0.1\ndisable_plaintext_auth = no\nssl = yes\n\
             ssl_cert = <{tls}/server.pem\nssl_key = <{tls}/server.key\n\
             default_internal_user = {internal}\ndefault_login_user = {login}\n\
             default_internal_group = {group}\nfirst_valid_uid = 1\n\
             mail_location = maildir:{here}/mail\n\
             auth_mechanisms = {mechanisms}\n\
             passdb {{\n driver = static\n mechanisms = plain login\n \
             args = password={password}\n}}\n{oauth}\
             userdb {{\n driver = static\n args = uid={mail} gid={mail_group} home={here}/home\n}}\n\
             namespace inbox {{\n inbox = yes\n separator = /\n \
             mailbox \"[Gmail]/{all}\" {{\n special_use = \\All\n auto = create\n }}\n}}\n\
             service imap-login {{\n{chroot}\
             inet_listener imap {{\n port = {plain}\n }}\n\
             inet_listener imaps {{\n port = {secure}\n ssl = yes\n }}\n}}\n\
             service anvil {{\n{chroot}}}\nservice stats {{\n{chroot}}}\n",
            group = group_of(&internal),
            mail_group = group_of(&mail),
            chroot = if root { "" } else { " chroot =\n" },
        );
        let config = write(&at, "dovecot.conf", &config);
        let new = at.join(format!("mail/.[Gmail].{all}/new"));
        for name in ["cur", "new", "tmp"] {
            std::fs::create_dir_all(new.with_file_name(name)).unwrap();
            std::fs::create_dir_all(at.join("mail").join(name)).unwrap();
        }
        // The server's users pass through to the mail.
        let mut open = Command::new("chmod");
        assert!(open.arg("755").arg(&at).status().unwrap().success());
        if root {
            let mut own = Command::new("chown");
            own.arg("-R").arg(format!("{mail}:{}", group_of(&mail)));
            assert!(own.arg(at.join("mail")).status().unwrap().success());
        }
        let mut command = Command::new(program);
        command.arg("-F").arg("-c").arg(config);
        let service = Service::start(folder, command, plain);
        Some(Self { service, plain, secure, new, mails: AtomicU64::new(0) })
    }

    /// A mail that the mailbox took in at an instant, in milliseconds since 1970.
    pub(super) fn deliver(&self, received: i64, from: &str, subject: &str) {
        let number = self.mails.fetch_add(1, Ordering::Relaxed);
        // The sender's clock says whatever it likes.
        let text = format!(
            "From: {from}\r\nTo: jane@example.com\r\nSubject: {subject}\r\n\
             Date: Thu, 1 Jan 1998 00:00:00 -0500\r\n\r\nBody.\r\n"
        );
        let name = format!("{}.M{number}P1.test", received / 1000);
        let path = self.new.with_file_name("tmp").join(&name);
        std::fs::write(&path, text).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(received as u64);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        std::fs::rename(path, self.new.join(name)).unwrap();
    }

    /// Ends it as a power cut would.
    pub(super) fn kill(&mut self) {
        self.service.kill();
    }
}

/// The folder of the certificate, its key and its authority.
pub(super) fn tls() -> PathBuf {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    crates.join("tasks/tests/it/http/tls")
}

fn whoami() -> String {
    said("id", &["-un"])
}

fn group_of(user: &str) -> String {
    said("id", &["-gn", user])
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
