//! `etl.cfg`: what each of its options means here.
//!
//! Only what a checklist needs must be there. Sections and options of other tools that share the
//! file are left alone.

use std::fmt::Display;
use std::path::Path;

use anyhow::Context as _;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value};
use tasks::page_dedup::Place;

use super::ini::{Ini, Wrong};

/// Most that is read of the file, in bytes.
const FILE_MAX: u64 = 1 << 20;
/// The longest that a server leaves to others before it pages, in seconds.
const OFFSET_MAX: u64 = 3600;

/// What the file says.
#[derive(Default, PartialEq)]
#[cfg_attr(test, derive(Debug))] // it would show passwords
pub(super) struct Etl {
    /// The mailbox, as settings of a source; none if the file says nothing of it.
    pub(super) mailbox: Option<Map<String, Value>>,
    /// Where batchy is.
    pub(super) batchy: Option<String>,
    /// Whether ages count from a job's start.
    pub(super) since_start: bool,
    /// The zone of delivery times.
    pub(super) zone: Option<String>,
    /// The types of checks that are wanted; none = all.
    pub(super) only: Vec<String>,
    /// The place that servers share.
    pub(super) redis: Option<Place>,
    /// The integration key for the message at the start.
    pub(super) heartbeat: Option<String>,
    /// Which of `PagerDuty`'s interfaces the keys are for.
    pub(super) api: Option<String>,
    /// A new incident each hour.
    pub(super) hourly: bool,
    /// Seconds that are left to others.
    pub(super) offset: u64,
}

impl Etl {
    /// Reads a file.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its line.
    pub(super) fn load(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let text = || -> std::io::Result<String> {
            let size = std::fs::metadata(path)?.len();
            if size > FILE_MAX {
                let text = format!("it has {size} bytes, more than {FILE_MAX}");
                return Err(std::io::Error::other(text));
            }
            std::fs::read_to_string(path)
        };
        let text = text().with_context(|| format!("cannot read {shown}"))?;
        Self::read(&text).map_err(|problems| {
            let lines = problems.iter().map(|it| format!("{shown}:{}: {}", it.line, it.message));
            anyhow::anyhow!("{}", lines.collect::<Vec<_>>().join("\n  "))
        })
    }

    /// Reads the text of a file.
    pub(super) fn read(text: &str) -> Result<Self, Vec<Wrong>> {
        let mut reader = Reader { ini: Ini::read(text)?, problems: Vec::new() };
        let etl = Self {
            mailbox: reader.mailbox(),
            batchy: reader.batchy(),
            since_start: reader.one_of("batchy", "since", &["end", "start"]).as_deref()
                == Some("start"),
            zone: reader.zone(),
            only: reader.only(),
            redis: reader.redis(),
            heartbeat: reader.heartbeat(),
            api: reader.one_of("pager_duty", "api", &["v1", "v2"]),
            hourly: reader.one_of("pager_duty", "incident_key", &["incident", "hour"]).as_deref()
                == Some("hour"),
            offset: reader.offset(),
        };
        if reader.problems.is_empty() { Ok(etl) } else { Err(reader.problems) }
    }
}

/// Reads options and gathers what is wrong with them.
struct Reader {
    ini: Ini,
    problems: Vec<Wrong>,
}

impl Reader {
    fn wrong(&mut self, line: usize, message: impl Display) {
        self.problems.push(Wrong { line, message: message.to_string() });
    }

    fn get(&mut self, section: &str, option: &str) -> Option<(usize, String)> {
        match self.ini.get(section, option) {
            Ok(found) => found,
            Err(problem) => {
                self.problems.push(problem);
                None
            }
        }
    }

    fn text(&mut self, section: &str, option: &str) -> Option<String> {
        self.get(section, option).map(|(_, text)| text)
    }

    fn one_of(&mut self, section: &str, option: &str, words: &[&str]) -> Option<String> {
        let (line, text) = self.get(section, option)?;
        if !words.contains(&text.as_str()) {
            let words = words.join(" or ");
            self.wrong(line, format!("{section}.{option} must be {words}, not {text:?}"));
        }
        Some(text)
    }

    fn number(&mut self, section: &str, option: &str, max: u64) -> Option<u64> {
        let (line, text) = self.get(section, option)?;
        let number = text.parse::<u64>().ok().filter(|number| *number <= max);
        if number.is_none() {
            let message = format!("{section}.{option} must be a number up to {max}, not {text:?}");
            self.wrong(line, message);
        }
        number
    }

    /// A password in base64. It is not repeated in the complaint.
    fn password(&mut self, section: &str, option: &str) -> Option<String> {
        let (line, text) = self.get(section, option)?;
        let packed: String = text.split_whitespace().collect();
        let bytes = BASE64_STANDARD.decode(packed).ok();
        let decoded = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        let decoded = decoded.map(|text| text.trim_end_matches(['\r', '\n']).to_owned());
        if decoded.is_none() {
            let message = format!(
                "{section}.{option} is no text in base64; write what `printf %s PASSWORD | base64` \
                 prints"
            );
            self.wrong(line, message);
        }
        decoded
    }

    fn mailbox(&mut self) -> Option<Map<String, Value>> {
        const SECTION: &str = "google_apps";
        let user = self.get(SECTION, "email");
        let mut mailbox = Map::new();
        let mut set = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                mailbox.insert(name.to_owned(), value.into());
            }
        };
        let (line, user) = user?;
        set("user", Some(user));
        let password = self.password(SECTION, "password");
        let mut tokens = 0;
        for option in ["token", "refresh_token"] {
            let value = self.text(SECTION, option);
            tokens += usize::from(value.is_some());
            set(option, value);
        }
        for option in ["client_id", "client_secret", "token_url"] {
            let value = self.text(SECTION, option);
            set(option, value);
        }
        let auth = self.one_of(SECTION, "auth", &["login", "xoauth2"]);
        let by_token = match auth.as_deref() {
            Some(auth) => auth == "xoauth2",
            None => tokens > 0,
        };
        if by_token && tokens == 0 {
            self.wrong(line, "google_apps.auth is xoauth2: write token or refresh_token");
        }
        let undecoded = self.ini.get(SECTION, "password").is_ok_and(|it| it.is_some());
        if !by_token && password.is_none() && !undecoded {
            self.wrong(line, "google_apps.password is missing");
        }
        set("auth", Some(if by_token { "xoauth2" } else { "login" }.to_owned()));
        set("password", password.filter(|_| !by_token));
        Some(mailbox)
    }

    /// As batchy's own client finds it.
    fn batchy(&mut self) -> Option<String> {
        let server = self.text("batchy", "server")?;
        let port = self.number("batchy", "port", 65_535).unwrap_or(8050);
        Some(if server.contains("://") {
            server
        } else if server.contains("hypergate") && port == 80 {
            format!("http://{server}/batchy")
        } else {
            format!("http://{server}:{port}")
        })
    }

    fn zone(&mut self) -> Option<String> {
        let (line, zone) = self.get("timezone", "timezone")?;
        if jiff::tz::TimeZone::get(&zone).is_err() {
            let message = format!("{zone:?} is no time zone; write one such as Europe/Berlin");
            self.wrong(line, message);
        }
        Some(zone)
    }

    fn only(&mut self) -> Vec<String> {
        let Some((line, text)) = self.get("function_type", "type") else { return Vec::new() };
        let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
        for name in names.iter().filter(|name| !matches!(name.as_str(), "email" | "batchy" | "")) {
            let message = format!("function_type.type: there are email and batchy, not {name:?}");
            self.wrong(line, message);
        }
        names.into_iter().filter(|name| !name.is_empty()).collect()
    }

    fn redis(&mut self) -> Option<Place> {
        let (line, enable) = self.get("enable_redis", "enable")?;
        match enable.to_ascii_lowercase().as_str() {
            "true" => {}
            "false" => return None,
            _ => {
                let message = format!("enable_redis.enable must be True or False, not {enable:?}");
                self.wrong(line, message);
                return None;
            }
        }
        let Some((line, server)) = self.get("redis", "server") else {
            self.wrong(line, "enable_redis.enable is True: redis.server is missing");
            return None;
        };
        let (host, written) = match server.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') => (host.to_owned(), Some(port.to_owned())),
            _ => (server.clone(), None),
        };
        let port = match written {
            Some(port) => port.parse::<u16>().map(u64::from).ok(),
            None => Some(self.number("redis", "port", 65_535).unwrap_or(6379)),
        };
        let Some(port) = port.filter(|_| !host.is_empty() && !host.contains('/')) else {
            self.wrong(line, format!("redis.server must be HOST or HOST:PORT, not {server:?}"));
            return None;
        };
        let secure = self.one_of("redis", "tls", &["True", "False", "true", "false"]);
        Some(Place {
            host,
            port: port as u16,
            database: self.number("redis", "db", 1_000_000).unwrap_or(0) as i64,
            user: self.text("redis", "user"),
            password: self.password("redis", "password"),
            secure: secure.is_some_and(|it| it.eq_ignore_ascii_case("true")),
        })
    }

    /// The original reads the first; its documentation calls it a section.
    fn heartbeat(&mut self) -> Option<String> {
        [
            ("robopager", "heartbeat_service"),
            ("robopager", "heartbeat"),
            ("heartbeat", "heartbeat_service"),
            ("heartbeat", "heartbeat"),
        ]
        .into_iter()
        .find_map(|(section, option)| self.text(section, option))
    }

    fn offset(&mut self) -> u64 {
        let of = ["pager_duty", "robopager"];
        let found =
            of.into_iter().find_map(|section| self.number(section, "offset_sec", OFFSET_MAX));
        found.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "\
[google_apps]
email = jane@example.com
password = YXBwIHBhc3N3b3Jk
[pager_duty]
subdomain = example
api_access_key = abc
[enable_redis]
enable = True
[redis]
server = cache.example.com
db = 1
[batchy]
server = etl.example.com
port = 8050
[function_type]
type = email, batchy
[robopager]
heartbeat_service = 0123456789abcdef0123456789abcdef
[timezone]
timezone = America/New_York
";

    #[test]
    fn a_whole_file() {
        let etl = Etl::read(WHOLE).unwrap();
        let mailbox = serde_json::json!({
            "user": "jane@example.com", "auth": "login", "password": "app password",
        });
        assert_eq!(etl.mailbox.map(Value::Object), Some(mailbox));
        assert_eq!(etl.batchy.as_deref(), Some("http://etl.example.com:8050"));
        assert_eq!(etl.zone.as_deref(), Some("America/New_York"));
        assert_eq!(etl.only, ["email", "batchy"]);
        let place = etl.redis.unwrap();
        assert_eq!(place.to_string(), "cache.example.com:6379, database 1");
        assert!(etl.heartbeat.is_some_and(|key| key.len() == 32));
        assert_eq!((etl.hourly, etl.offset, etl.since_start), (false, 0, false));
    }

    #[test]
    fn only_what_is_needed_must_be_there() {
        assert_eq!(Etl::read("").unwrap(), Etl::default());
        assert_eq!(Etl::read("[pager_duty]\ntest_pd_service=x\n").unwrap(), Etl::default());
        let more = "[pager_duty]\napi = v2\nincident_key = hour\noffset_sec = 20\n\
                    [batchy]\nserver=x.hypergate.com\nport=80\nsince=start\n\
                    [enable_redis]\nenable = False\n[redis]\nserver = h:x\n\
                    [google_apps]\nemail = a@b\nrefresh_token = t\nclient_id = c\n";
        let etl = Etl::read(more).unwrap();
        assert_eq!(etl.batchy.as_deref(), Some("http://x.hypergate.com/batchy"));
        assert_eq!((etl.api.as_deref(), etl.hourly, etl.offset), (Some("v2"), true, 20));
        assert!(etl.since_start && etl.redis.is_none());
        assert_eq!(etl.mailbox.unwrap()["auth"], "xoauth2");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let cases = [
            ("[google_apps]\nemail = a@b\n", 2, "password is missing"),
            ("[google_apps]\nemail = a@b\npassword = n0t-base64!\n", 3, "no text in base64"),
            ("[google_apps]\nemail = a@b\nauth = xoauth2\n", 2, "write token"),
            ("[enable_redis]\nenable = yes\n", 2, "True or False"),
            ("[enable_redis]\nenable = True\n", 2, "redis.server is missing"),
            ("[enable_redis]\nenable = True\n[redis]\nserver = redis://h\n", 4, "HOST:PORT"),
            ("[enable_redis]\nenable = True\n[redis]\nserver = h\ndb = x\n", 5, "redis.db"),
            ("[batchy]\nserver = h\nport = http\n", 3, "batchy.port"),
            ("[timezone]\ntimezone = Mars\n", 2, "no time zone"),
            ("[function_type]\ntype = email,mail\n", 2, "\"mail\""),
            ("[pager_duty]\napi = v3\n", 2, "v1 or v2"),
            ("[pager_duty]\noffset_sec = -1\n", 2, "offset_sec"),
            ("nothing\n", 1, "before the first [section]"),
        ];
        for (text, line, part) in cases {
            let problems = Etl::read(text).unwrap_err();
            let told = problems.iter().any(|it| it.line == line && it.message.contains(part));
            assert!(told, "{text}: {problems:?}");
            assert!(!problems.iter().any(|it| it.message.contains("n0t")), "{problems:?}");
        }
    }
}
