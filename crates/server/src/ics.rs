//! Calendars of RFC 5545, as calendar programs import them.

use jiff::Timestamp;

/// A calendar in the making.
pub struct Ics {
    text: String,
    stamp: String,
}

/// One entry of a calendar.
pub struct Event {
    /// Names it for good, so that an import replaces what an earlier one brought.
    pub uid: String,
    /// When it begins.
    pub from: kernel::Timestamp,
    /// When it ends; absent = it has no length.
    pub to: Option<kernel::Timestamp>,
    /// Its title.
    pub summary: String,
    /// What else there is to say; may be empty.
    pub description: String,
}

impl Ics {
    /// An empty one, made by a command.
    pub fn new(command: &str) -> Self {
        let mut calendar = Self { text: String::new(), stamp: compact(Timestamp::now().into()) };
        calendar.line("BEGIN:VCALENDAR");
        calendar.line("VERSION:2.0");
        calendar.line(&format!("PRODID:-//Nightbell//{command}//EN"));
        calendar
    }

    /// Adds an entry.
    pub fn event(&mut self, event: &Event) {
        let stamp = format!("DTSTAMP:{}", self.stamp);
        self.line("BEGIN:VEVENT");
        self.line(&format!("UID:{}@nightbell", escaped(&event.uid)));
        self.line(&stamp);
        self.line(&format!("DTSTART:{}", compact(event.from)));
        if let Some(to) = event.to {
            self.line(&format!("DTEND:{}", compact(to)));
        }
        self.line(&format!("SUMMARY:{}", escaped(&event.summary)));
        if !event.description.is_empty() {
            self.line(&format!("DESCRIPTION:{}", escaped(&event.description)));
        }
        self.line("TRANSP:TRANSPARENT");
        self.line("END:VEVENT");
    }

    /// The calendar as text.
    pub fn finish(mut self) -> String {
        self.line("END:VCALENDAR");
        self.text
    }

    /// Writes a line of at most 75 bytes; what is longer goes on behind a space (3.1).
    fn line(&mut self, line: &str) {
        let mut room = 75;
        for c in line.chars() {
            if c.len_utf8() > room {
                self.text.push_str("\r\n ");
                room = 74;
            }
            room -= c.len_utf8();
            self.text.push(c);
        }
        self.text.push_str("\r\n");
    }
}

fn compact(at: kernel::Timestamp) -> String {
    let text = at.to_string().replace(['-', ':'], "");
    let whole = text.split(['.', 'Z']).next().unwrap_or_default().to_owned();
    format!("{whole}Z")
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace(';', "\\;").replace(',', "\\,").replace('\n', "\\n")
}
