//! Times for people: by the reader's clock, with its zone, and how long ago.

use jiff::tz::TimeZone;
use kernel::Timestamp;
use maud::{Markup, html};

/// The present instant and the zone in which times are shown.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    pub(crate) now: Timestamp,
    zone: TimeZone,
}

impl Clock {
    /// A clock in a zone by its IANA name; UTC without one, or if there is none of this name.
    pub(crate) fn new(now: Timestamp, zone: Option<&str>) -> Self {
        let zone = zone.and_then(|name| TimeZone::get(name).ok()).unwrap_or(TimeZone::UTC);
        Self { now, zone }
    }

    /// The same in another zone, which a definition names.
    pub(crate) fn in_zone(&self, name: &str) -> Self {
        Self::new(self.now, Some(name))
    }

    /// The name of the zone.
    pub(crate) fn zone_name(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }

    /// The day of an instant: `2026-11-23`.
    pub(crate) fn date(&self, at: Timestamp) -> String {
        jiff::Timestamp::from(at).to_zoned(self.zone.clone()).strftime("%Y-%m-%d").to_string()
    }

    /// The day of the week of an instant: `Mon`.
    pub(crate) fn weekday(&self, at: Timestamp) -> String {
        jiff::Timestamp::from(at).to_zoned(self.zone.clone()).strftime("%a").to_string()
    }

    /// The first instant of a day that is written so.
    pub(crate) fn day(&self, text: &str) -> Option<Timestamp> {
        let date: jiff::civil::Date = text.parse().ok()?;
        Some(date.to_zoned(self.zone.clone()).ok()?.timestamp().into())
    }

    /// The instant of a time of the day of another one: `02:30`.
    pub(crate) fn time_of(&self, day: Timestamp, text: &str) -> Option<Timestamp> {
        let time = jiff::civil::Time::strptime("%H:%M", text.trim()).ok()?;
        let date = jiff::Timestamp::from(day).to_zoned(self.zone.clone()).date();
        Some(date.to_datetime(time).to_zoned(self.zone.clone()).ok()?.timestamp().into())
    }

    /// Midnight so many days after the one that begins the day of an instant.
    pub(crate) fn midnight_after(&self, at: Timestamp, days: i64) -> Timestamp {
        let date = jiff::Timestamp::from(at).to_zoned(self.zone.clone()).date();
        let date = date.saturating_add(jiff::Span::new().days(days));
        date.to_zoned(self.zone.clone()).map_or(at, |zoned| zoned.timestamp().into())
    }

    /// Whether people sleep then: from 22 to 7 o'clock.
    pub(crate) fn is_night(&self, at: Timestamp) -> bool {
        !(7..22).contains(&jiff::Timestamp::from(at).to_zoned(self.zone.clone()).hour())
    }

    /// A time with its zone: of the day alone if it is within half a day, with the date otherwise.
    pub(crate) fn text(&self, at: Timestamp) -> String {
        let zoned = jiff::Timestamp::from(at).to_zoned(self.zone.clone());
        let apart = self.now.since(at).abs();
        let format = match apart {
            0..43_200_000 => "%H:%M:%S %Z",
            43_200_000..15_552_000_000 => "%-d %b %H:%M %Z",
            _ => "%-d %b %Y %H:%M %Z",
        };
        zoned.strftime(format).to_string()
    }

    /// A time, with UTC where it is pointed at.
    pub(crate) fn when(&self, at: Timestamp) -> Markup {
        let exact = jiff::Timestamp::from(at).to_string();
        html! { time datetime=(exact) title=(exact) { (self.text(at)) } }
    }

    /// A time by the clock of a definition first, an IANA name, then by the reader's where that is another.
    pub(crate) fn theirs(&self, zone: &str, at: Timestamp) -> Markup {
        let theirs = if zone.is_empty() { self.clone() } else { self.in_zone(zone) };
        html! {
            (theirs.when(at))
            @if theirs.zone_name() != self.zone_name() { span.faint { " yours: " (self.text(at)) } }
        }
    }

    /// A sentence of the API, with the times in it as the reader has them.
    pub(crate) fn sentence(&self, said: &str) -> Markup {
        let time = |word: &str| {
            let read = word.parse::<jiff::Timestamp>().ok();
            read.map_or_else(|| html! { (word) }, |at| self.when(at.into()))
        };
        html! {
            @for (number, word) in said.split(' ').enumerate() {
                @let end = word.len() - usize::from(word.ends_with([',', ';', '.']));
                @if number > 0 { " " } (time(&word[..end])) (word[end..])
            }
        }
    }

    /// A time that may not be there.
    pub(crate) fn maybe(&self, at: Option<Timestamp>) -> Markup {
        html! { @if let Some(at) = at { (self.when(at)) } @else { span.faint { "–" } } }
    }

    /// How long ago, or until then.
    pub(crate) fn ago(&self, at: Timestamp) -> String {
        let millis = self.now.since(at);
        match millis {
            ..0 => format!("in {}", length(-millis)),
            0..1000 => "now".to_owned(),
            _ => format!("{} ago", length(millis)),
        }
    }

    /// How long it has been.
    pub(crate) fn age(&self, at: Timestamp) -> String {
        length(self.now.since(at).max(0))
    }
}

/// A length of time in two units at most: `2 h 5 min`, `340 ms`.
pub(crate) fn length(millis: i64) -> String {
    let seconds = millis / 1000;
    let two = |big: i64, unit: &str, small: i64, smaller: &str| match small {
        0 => format!("{big} {unit}"),
        small => format!("{big} {unit} {small} {smaller}"),
    };
    match seconds {
        ..=0 => format!("{} ms", millis.max(0)),
        1..10 => format!("{}.{} s", seconds, millis % 1000 / 100),
        10..60 => format!("{seconds} s"),
        60..600 => two(seconds / 60, "min", seconds % 60, "s"),
        600..3600 => format!("{} min", seconds / 60),
        3600..86_400 => two(seconds / 3600, "h", seconds % 3600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}

/// Bytes in a unit that people read.
pub(crate) fn bytes(count: u64) -> String {
    match count {
        0..1024 => format!("{count} B"),
        1024..1_048_576 => format!("{:.1} KiB", count as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", count as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", count as f64 / 1_073_741_824.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_says_its_zone_and_the_day_when_it_is_another() {
        let now = Timestamp::from_millis(1_774_782_000_000); // 2026-03-29T11:00:00Z
        let utc = Clock::new(now, None);
        assert_eq!(utc.text(now.plus_seconds(-60)), "10:59:00 UTC");
        assert_eq!(utc.text(now.plus_seconds(-86_400)), "28 Mar 11:00 UTC");
        let oslo = utc.in_zone("Europe/Oslo");
        assert_eq!(oslo.text(now), "13:00:00 CEST");
        assert_eq!(Clock::new(now, Some("Nowhere/<b>")).zone_name(), "UTC");
        // The clock was put forward in the night: the day has 23 hours.
        let (from, to) = (oslo.midnight_after(now, 0), oslo.midnight_after(now, 1));
        assert_eq!(to.since(from), 23 * 3_600_000);
        // The hour from 2 to 3 was left out.
        assert_eq!(oslo.time_of(now, "04:00"), Some(from.plus_seconds(3 * 3600)));
        assert_eq!(oslo.time_of(now, "25:00"), None);
        assert!(
            !oslo.is_night(now)
                && oslo.is_night(from)
                && !oslo.is_night(now.plus_seconds(8 * 3600))
        );
        assert!(utc.is_night(now.plus_seconds(11 * 3600)));
    }

    #[test]
    fn times_in_a_sentence_are_the_readers() {
        let now = Timestamp::from_millis(1_774_782_000_000);
        let oslo = Clock::new(now, Some("Europe/Oslo"));
        let said =
            oslo.sentence("well at 2026-03-29T10:59:00Z, bad 7 s later at 2026-03-29T10:59:07Z").0;
        assert!(
            said.starts_with("well at <time") && said.contains(">12:59:00 CEST</time>, bad 7 s"),
            "{said}"
        );
        assert_eq!(oslo.sentence("<b> 1 < 2, 3.").0, "&lt;b&gt; 1 &lt; 2, 3.");
    }

    #[test]
    fn lengths_have_two_units() {
        for (millis, shown) in [
            (0, "0 ms"),
            (340, "340 ms"),
            (2_100, "2.1 s"),
            (61_000, "1 min 1 s"),
            (840_000, "14 min"),
            (3_600_000, "1 h"),
            (6_600_000, "1 h 50 min"),
            (90_000_000, "1 d 1 h"),
        ] {
            assert_eq!(length(millis), shown);
        }
    }
}
