//! What a backtest found, beside what happened then: incidents, pages, pages at night, and how long
//! until somebody was told.

use std::collections::{BTreeMap, BTreeSet};

use kernel::Timestamp;
use kernel::alert::Sample;
use kernel::alert::definition::{Budget, MonitorDef};
use kernel::cron::Zone;
use serde_json::{Value, json};

use crate::cli::moment::span;
use crate::cli::output::{Output, clean};
use crate::cli::table::Table;
use crate::testing::backtest::Trialled;

/// Hours from which and until which it is night.
const NIGHT: (i8, i8) = (22, 6);
/// Incidents of a list.
const LISTED_MAX: usize = 50;
/// Incidents that are named because they were real and are gone.
const MISSED_MAX: usize = 5;

/// An incident, then or now.
#[derive(Clone, Debug)]
struct Episode {
    id: Option<String>,
    key: String,
    since: Timestamp,
    opens: Timestamp,
    resolves: Option<Timestamp>,
    told: Vec<Page>,
}

/// Somebody was told.
#[derive(Clone, Debug)]
struct Page {
    at: Timestamp,
    to: String,
    event: String,
    /// Whom it reached of those on call.
    people: Vec<String>,
}

/// How often a receiver was paged, and whom of those on call that reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Paged {
    pages: usize,
    people: BTreeMap<String, usize>,
}

/// Everything that happened.
#[derive(Debug, Default)]
struct Course {
    episodes: Vec<Episode>,
    /// Messages that ring, each once however many incidents it tells of.
    pages: Vec<Page>,
}

/// Whether a message rings, rather than to tell that something is over or known.
fn rings(event: &str) -> bool {
    matches!(event, "trigger" | "escalation")
}

impl Course {
    /// What the ledgers say.
    fn then(record: &Value, (from, to): (Timestamp, Timestamp)) -> Self {
        let lines = |name: &str| record[name].as_array().cloned().unwrap_or_default();
        let instant = |line: &Value, name: &str| line[name].as_i64().map(Timestamp::from_millis);
        let within = |at: &Timestamp| *at >= from && *at < to;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let deliveries: Vec<(Value, Page)> = lines("deliveries")
            .into_iter()
            .filter(|line| line["status"] == "sent")
            .filter_map(|line| {
                let at = instant(&line, "at").filter(within)?;
                let people = line["onCall"].as_array().into_iter().flatten().map(text).collect();
                let (to, event) = (text(&line["receiver"]), text(&line["event"]));
                let page = Page { at, to, event, people };
                Some((line, page))
            })
            .collect();
        let told = |id: &Value| -> Vec<Page> {
            let about = deliveries.iter().filter(|(line, _)| {
                line["incidents"].as_array().is_some_and(|ids| ids.contains(id))
            });
            about.map(|(_, page)| page.clone()).collect()
        };
        let episodes = lines("incidents").into_iter().filter_map(|line| {
            let opens = instant(&line, "openedAt").filter(within)?;
            Some(Episode {
                id: line["id"].as_str().map(str::to_owned),
                key: text(&line["key"]),
                since: instant(&line, "since").unwrap_or(opens),
                opens,
                resolves: instant(&line, "resolvedAt"),
                told: told(&line["id"]),
            })
        });
        let episodes = episodes.filter(|it| is_own(&it.key)).collect();
        let pages = deliveries.iter().map(|(_, page)| page).filter(|page| rings(&page.event));
        Self { episodes, pages: pages.cloned().collect() }
    }

    /// What the backtest did.
    fn now(trialled: &Trialled) -> Self {
        let page = |told: &crate::testing::watching::Telling| Page {
            at: told.due,
            to: told.to.clone(),
            event: told.event.clone(),
            people: told.people.clone(),
        };
        let taken: Vec<_> = trialled.told.iter().filter(|it| it.is_taken()).collect();
        let episodes = trialled.incidents.iter().map(|incident| {
            let end = incident.resolves.unwrap_or(Timestamp::MAX);
            // What tells that it is over comes a little later.
            let about = taken.iter().filter(|told| {
                let resolve = told.event == "resolve";
                let until = if resolve { end.plus_millis(60_000) } else { end };
                told.keys.contains(&incident.key) && told.due >= incident.opens && told.due <= until
            });
            Episode {
                id: None,
                key: incident.key.clone(),
                since: incident.line["since"]
                    .as_i64()
                    .map_or(incident.opens, Timestamp::from_millis),
                opens: incident.opens,
                resolves: incident.resolves,
                told: about.map(|told| page(told)).collect(),
            }
        });
        let episodes = episodes.filter(|it| is_own(&it.key)).collect();
        let pages = taken.iter().map(|told| page(told)).filter(|page| rings(&page.event));
        Self { episodes, pages: pages.collect() }
    }

    fn at_night(&self, zone: &Zone) -> usize {
        let night = |page: &&Page| {
            let hour = zone.local(page.at).hour();
            hour >= NIGHT.0 || hour < NIGHT.1
        };
        self.pages.iter().filter(night).count()
    }

    /// Who was paged how often. A page that reaches several people counts for each of them.
    fn paged(&self) -> BTreeMap<&str, Paged> {
        let mut all: BTreeMap<&str, Paged> = BTreeMap::new();
        for page in &self.pages {
            let paged = all.entry(&page.to).or_default();
            paged.pages += 1;
            for person in &page.people {
                *paged.people.entry(person.clone()).or_default() += 1;
            }
        }
        all
    }

    /// How long after something was bad first somebody was told, in the middle of all incidents.
    fn first_told(&self) -> Option<i64> {
        let first = |it: &Episode| it.told.iter().map(|page| page.at.since(it.since)).min();
        let mut all: Vec<i64> = self.episodes.iter().filter_map(first).collect();
        all.sort_unstable();
        all.get(all.len().checked_sub(1)? / 2).copied()
    }

    fn json(&self, zone: &Zone) -> Value {
        json!({
            "incidents": self.episodes.len(),
            "pages": self.pages.len(),
            "pagesAtNight": self.at_night(zone),
            "paged": self.paged().into_iter().map(|(receiver, paged)| {
                (receiver.to_owned(), json!({ "pages": paged.pages, "people": paged.people }))
            }).collect::<serde_json::Map<_, _>>(),
            "firstToldAfterMillis": self.first_told(),
        })
    }

    /// Those that have no counterpart: no incident of the same key at the same time.
    fn without(&self, other: &Self) -> Vec<&Episode> {
        let end = |it: &Episode| it.resolves.unwrap_or(Timestamp::MAX);
        let same = |one: &Episode, other: &Episode| {
            one.key == other.key && one.opens <= end(other) && other.opens <= end(one)
        };
        let alone = self.episodes.iter();
        alone.filter(|one| !other.episodes.iter().any(|other| same(one, other))).collect()
    }
}

/// Whether an incident is about what is watched, or about checks that could not be made. That checks
/// never ran is no matter of the definition.
fn is_own(key: &str) -> bool {
    key != kernel::alert::MISSED_KEY
}

impl Episode {
    fn json(&self) -> Value {
        let told = self
            .told
            .iter()
            .map(|page| json!({ "to": page.to, "event": page.event, "at": page.at.millis() }));
        json!({
            "id": self.id,
            "key": self.key,
            "since": self.since.millis(),
            "opensAt": self.opens.millis(),
            "resolvesAt": self.resolves.map(Timestamp::millis),
            "told": told.collect::<Vec<_>>(),
        })
    }

    fn row(&self, mark: &str) -> [String; 5] {
        let key = if self.key.is_empty() { "-".to_owned() } else { clean(&self.key) };
        let lasted = self.resolves.map(|end| span(end.since(self.opens)));
        let told = self.told.iter().filter(|page| rings(&page.event));
        let told = told.map(|page| format!("{} +{}", page.to, span(page.at.since(self.since))));
        let told = told.collect::<Vec<_>>().join(", ");
        let told = if told.is_empty() { "nobody".to_owned() } else { told };
        let opens = self.opens.to_string();
        [mark.to_owned(), key, opens, lasted.unwrap_or_else(|| "open".to_owned()), told]
    }
}

/// What a backtest found.
pub(crate) struct Report {
    monitor: String,
    span: (Timestamp, Timestamp),
    zone: (String, Zone),
    checks: u64,
    unknown: usize,
    missed: u64,
    gaps: u64,
    then: Course,
    now: Course,
    judged: Judged,
    budget: Option<Budget>,
    notes: Vec<String>,
}

/// What people have judged: stretches of time of a key.
struct Judged {
    real: Vec<Stretch>,
    missed: Vec<Stretch>,
    noise: Vec<Stretch>,
}

type Stretch = (String, Timestamp, Timestamp);

/// Whether an incident is of the key and the time of a stretch.
fn meets((key, from, to): &Stretch, it: &Episode) -> bool {
    let end = it.resolves.unwrap_or(Timestamp::MAX);
    *key == it.key && it.opens <= *to && *from <= end
}

/// How good incidents are, by those that people have judged.
#[derive(Default)]
struct Quality {
    real: usize,
    noise: usize,
    unjudged: usize,
    /// Real ones of which nobody was told.
    untold: usize,
}

impl Judged {
    fn of(record: &Value, then: &Course) -> Self {
        let lines: Vec<&Value> = record["judgements"].as_array().into_iter().flatten().collect();
        let of = |verdict: &str| -> Vec<Stretch> {
            let judged = lines.iter().filter(|line| line["status"] == verdict);
            judged
                .filter_map(|line| {
                    if let Some((from, to)) = line["from"].as_i64().zip(line["to"].as_i64()) {
                        let key = line["key"].as_str()?.to_owned();
                        return Some((
                            key,
                            Timestamp::from_millis(from),
                            Timestamp::from_millis(to),
                        ));
                    }
                    let same = |it: &&Episode| it.id.as_deref() == line["incident"].as_str();
                    let episode = then.episodes.iter().find(same)?;
                    let end = episode.resolves.unwrap_or(Timestamp::MAX);
                    Some((episode.key.clone(), episode.opens, end))
                })
                .collect()
        };
        Self { real: of("real"), missed: of("missed"), noise: of("noise") }
    }

    fn any(&self) -> bool {
        !(self.real.is_empty() && self.missed.is_empty() && self.noise.is_empty())
    }

    /// Stretches in which something was bad, whoever was told.
    fn bad(&self) -> impl Iterator<Item = &Stretch> {
        self.real.iter().chain(&self.missed)
    }

    /// Whether an incident was real; `None` = nobody has said.
    fn is_real(&self, it: &Episode) -> Option<bool> {
        if self.bad().any(|stretch| meets(stretch, it)) {
            return Some(true);
        }
        self.noise.iter().any(|stretch| meets(stretch, it)).then_some(false)
    }

    /// How many of these are real, noise, and not judged.
    fn count<'a>(&self, all: impl IntoIterator<Item = &'a Episode>) -> Quality {
        let mut quality = Quality::default();
        for it in all {
            match self.is_real(it) {
                Some(true) => quality.real += 1,
                Some(false) => quality.noise += 1,
                None => quality.unjudged += 1,
            }
        }
        quality
    }

    fn quality(&self, course: &Course) -> Quality {
        let untold = self.bad().filter(|it| !course.episodes.iter().any(|other| meets(it, other)));
        Quality { untold: untold.count(), ..self.count(&course.episodes) }
    }

    fn json(&self, course: &Course) -> Value {
        let quality = self.quality(course);
        json!({
            "real": quality.real, "noise": quality.noise, "unjudged": quality.unjudged,
            "realUntold": quality.untold, "precision": quality.precision(),
            "recall": self.recall(&quality),
        })
    }

    /// How many of what was real were told.
    fn recall(&self, quality: &Quality) -> Option<f64> {
        let all = self.real.len() + self.missed.len();
        (all > 0).then(|| rounded((all - quality.untold) as f64 / all as f64))
    }
}

impl Quality {
    /// How many of those that were told and judged were real.
    fn precision(&self) -> Option<f64> {
        let all = self.real + self.noise;
        (all > 0).then(|| rounded(self.real as f64 / all as f64))
    }
}

fn rounded(share: f64) -> f64 {
    (share * 100.0).round() / 100.0
}

impl Report {
    /// Compares what happened with what would have.
    pub(crate) fn new(
        monitor: &MonitorDef,
        span: (Timestamp, Timestamp),
        zone: (String, Zone),
        samples: &[Sample],
        record: &Value,
        now: &Trialled,
        notes: Vec<String>,
    ) -> Self {
        let (from, to) = span;
        let within: Vec<&Sample> =
            samples.iter().filter(|it| it.started_at >= from && it.started_at < to).collect();
        let lost = |pair: &[&Sample]| pair[1].number.saturating_sub(pair[0].number + 1);
        let missed = record["missed"].as_array().into_iter().flatten().filter(|line| {
            line["status"] == "MISSED" && line["at"].as_i64().is_some_and(|at| at >= from.millis())
        });
        let is_unknown = |it: &&&Sample| !matches!(it.outcome, kernel::alert::Sampled::Output(_));
        let then = Course::then(record, span);
        // A misspelt column looks like a monitor that is quiet.
        let mut notes = notes;
        if let (count @ 1.., Some(why)) = &now.doubts {
            notes.push(format!("the definition cannot judge {count} checks: {why}"));
        }
        Self {
            judged: Judged::of(record, &then),
            monitor: monitor.name.to_string(),
            span,
            zone,
            checks: now.checks,
            unknown: within.iter().filter(is_unknown).count() + now.doubts.0,
            missed: missed.map(|line| line["count"].as_u64().unwrap_or(1)).sum(),
            gaps: within.windows(2).map(lost).sum(),
            then,
            now: Course::now(now),
            budget: monitor.budget,
            notes,
        }
    }

    /// The report for programs.
    pub(crate) fn json(&self) -> Value {
        let (from, to) = self.span;
        let listed = |all: Vec<&Episode>| all.into_iter().map(Episode::json).collect::<Vec<_>>();
        json!({
            "monitor": self.monitor,
            "since": from.millis(),
            "until": to.millis(),
            "zone": self.zone.0,
            "checks": self.checks,
            "unknown": self.unknown,
            "neverRan": self.missed,
            "notKept": self.gaps,
            "then": self.then.json(&self.zone.1),
            "now": self.now.json(&self.zone.1),
            "gone": self.then.without(&self.now).into_iter().map(|it| {
                let mut gone = it.json();
                gone["isReal"] = json!(self.judged.is_real(it));
                gone
            }).collect::<Vec<_>>(),
            "new": listed(self.now.without(&self.then)),
            "incidents": listed(self.now.episodes.iter().collect()),
            "judged": { "then": self.judged.json(&self.then), "now": self.judged.json(&self.now) },
            "budget": self.budget.map(|budget| json!({
                "pages": budget.pages, "perMillis": budget.per, "allowed": self.allowed(budget),
                "isOver": self.is_over_budget(),
            })),
            "notes": self.notes,
        })
    }

    /// How many pages the budget allows in all of the time; a begun stretch counts as a whole one.
    fn allowed(&self, budget: Budget) -> u64 {
        let (from, to) = self.span;
        let stretches =
            to.since(from).max(1).unsigned_abs().div_ceil(budget.per.max(1).unsigned_abs());
        stretches.saturating_mul(u64::from(budget.pages))
    }

    /// Whether it would page more than its budget allows.
    pub(crate) fn is_over_budget(&self) -> bool {
        let pages = self.now.pages.len() as u64;
        self.budget.is_some_and(|budget| pages > self.allowed(budget))
    }

    /// Who was paged, and would be now.
    fn show_paged(&self, output: &Output) -> anyhow::Result<()> {
        let (then, now) = (self.then.paged(), self.now.paged());
        let none = Paged::default();
        let receivers: BTreeSet<&str> = then.keys().chain(now.keys()).copied().collect();
        let told: Vec<String> = receivers
            .into_iter()
            .map(|receiver| {
                let was = then.get(receiver).unwrap_or(&none);
                let is = now.get(receiver).unwrap_or(&none);
                let people: BTreeSet<&String> = was.people.keys().chain(is.people.keys()).collect();
                let count = |of: &Paged, person: &String| {
                    of.people.get(person).copied().unwrap_or_default()
                };
                let people: Vec<String> = people
                    .into_iter()
                    .map(|it| format!("{} {} → {}", clean(it), count(was, it), count(is, it)))
                    .collect();
                let people = people.join(", ");
                let people = if people.is_empty() { people } else { format!(" ({people})") };
                format!("{} {} → {}{people}", clean(receiver), was.pages, is.pages)
            })
            .collect();
        if told.is_empty() {
            return Ok(());
        }
        output.line(format_args!("paged: {}", told.join(", ")))
    }

    fn show_judged(&self, output: &Output) -> anyhow::Result<()> {
        let share = |share: Option<f64>| share.map_or_else(|| "-".to_owned(), |it| it.to_string());
        let (then, now) = (self.judged.quality(&self.then), self.judged.quality(&self.now));
        output.line(format_args!(
            "judged: precision {} → {}, recall {} → {}; real and untold: {} → {}; unjudged: {} → {}",
            share(then.precision()),
            share(now.precision()),
            share(self.judged.recall(&then)),
            share(self.judged.recall(&now)),
            then.untold,
            now.untold,
            then.unjudged,
            now.unjudged
        ))
    }

    /// The report for people.
    ///
    /// # Errors
    /// Standard output is closed.
    pub(in crate::cli) fn show(&self, compare: bool, output: &Output) -> anyhow::Result<()> {
        let (from, to) = self.span;
        let mut head =
            format!("{}, {}, {} checks", clean(&self.monitor), span(to.since(from)), self.checks);
        for (count, what) in [
            (self.unknown as u64, "could not tell"),
            (self.missed, "never ran: they stay missed"),
            (self.gaps, "are not kept: a gap"),
        ] {
            if count > 0 {
                head = format!("{head}; {count} {what}");
            }
        }
        output.line(head)?;
        let mut table =
            Table::new(&["", "INCIDENTS", "PAGES", "AT NIGHT", "FIRST TOLD AFTER (MEDIAN)"]);
        for (title, course) in [("then", &self.then), ("now", &self.now)] {
            table.row([
                title.into(),
                course.episodes.len().to_string().into(),
                course.pages.len().to_string().into(),
                course.at_night(&self.zone.1).to_string().into(),
                course.first_told().map_or_else(|| "-".to_owned(), span).into(),
            ]);
        }
        output.table(&table)?;
        self.show_paged(output)?;
        let (gone, new) = (self.then.without(&self.now), self.now.without(&self.then));
        let of_gone = self.judged.count(gone.iter().copied());
        let split = if self.judged.any() && !gone.is_empty() {
            let Quality { real, noise, unjudged, .. } = of_gone;
            format!(" ({noise} noise, {real} real, {unjudged} not judged)")
        } else {
            String::new()
        };
        output.line(format_args!(
            "gone: {}{split}, new: {} (night is 22:00 to 06:00 in {})",
            gone.len(),
            new.len(),
            self.zone.0
        ))?;
        for it in gone.iter().filter(|it| self.judged.is_real(it) == Some(true)).take(MISSED_MAX) {
            let key = if it.key.is_empty() { "-".to_owned() } else { clean(&it.key) };
            output.line(format_args!("gone and real: {key} {}", it.opens))?;
        }
        if self.judged.any() {
            self.show_judged(output)?;
        }
        if let Some(budget) = self.budget {
            let (pages, allowed) = (self.now.pages.len(), self.allowed(budget));
            let over = if self.is_over_budget() { ": more than it may" } else { "" };
            output.line(format_args!(
                "budget: {pages} pages of {allowed} allowed ({} in {}){over}",
                budget.pages,
                span(budget.per)
            ))?;
        }
        if compare {
            let is =
                |of: &[&Episode], it: &Episode| of.iter().any(|other| std::ptr::eq(*other, it));
            let kept = self.now.episodes.iter();
            let now = kept.map(|it| it.row(if is(&new, it) { "new" } else { "" }));
            let mut rows: Vec<[String; 5]> =
                gone.iter().map(|it| it.row("gone")).chain(now).collect();
            rows.sort_by(|one, other| one[2].cmp(&other[2]));
            let mut table = Table::new(&["", "KEY", "OPENS", "LASTS", "~TOLD"]);
            let more = rows.len().saturating_sub(LISTED_MAX);
            for row in rows.into_iter().take(LISTED_MAX) {
                table.row(row.map(Into::into));
            }
            output.table(&table)?;
            if more > 0 {
                output.note(format_args!("and {more} more: -o json has all"));
            }
        }
        for note in &self.notes {
            output.note(format_args!("note: {}", clean(note)));
        }
        Ok(())
    }
}
