//! Decision tables: reads a workbook or a CSV file within limits, and asks the rows what they say
//! about an input.

use std::io::{Cursor, Read};

use calamine::{CellErrorType, DataRef, ExcelDateTime, Reader, SheetType, Xlsx, XlsxError};
use serde_json::{Map, Value};
use zip::ZipArchive;

use super::condition::{self, Condition, Operand};
use super::{Code, Problem};
use crate::limit::TimeLimit;

/// Largest workbook, in bytes after decompression. 16 MiB.
const UNPACKED_MAX: u64 = 16 << 20;
/// Most files inside a workbook.
const FILES_MAX: usize = 1_000;
/// Most rows below the header.
const ROWS_MAX: usize = 10_000;
/// Most columns.
const COLUMNS_MAX: usize = 256;
/// Most cells that hold something.
const CELLS_MAX: usize = 100_000;
/// Most memory of a table, about. 32 MiB.
pub(super) const WEIGHT_MAX: usize = 32 << 20;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Csv,
    Xlsx,
}

/// A decision table: a header that names columns, and rules below it.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<String>,
    rules: Vec<Rule>,
    /// Bytes that it takes, about.
    pub(super) weight: usize,
}

/// One row, with its number as spreadsheets count.
#[derive(Debug)]
struct Rule {
    row: u32,
    cells: Vec<Cell>,
}

/// A cell that is not blank.
#[derive(Debug)]
struct Cell {
    column: usize,
    value: Value,
    /// What it means in a column of inputs.
    condition: Result<Condition, String>,
}

/// Which rules of those that match give the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strategy {
    /// The first.
    First,
    /// All; what a later one says goes before what an earlier one said.
    All,
}

impl Table {
    /// Reads a file.
    pub(super) fn read(bytes: &[u8], format: Format) -> Result<Self, Problem> {
        match format {
            Format::Csv => csv_rows(bytes),
            Format::Xlsx => sheet_rows(bytes),
        }
    }

    /// What the rules say about these inputs, as the members of `outputs`.
    pub(super) fn evaluate(
        &self,
        inputs: &Map<String, Value>,
        outputs: &[String],
        strategy: Strategy,
        mut limit: TimeLimit,
    ) -> Result<Map<String, Value>, Problem> {
        if let Some(unknown) = outputs.iter().find(|name| !self.columns.contains(name)) {
            return Err(Problem::new(
                Code::Invalid,
                format!(
                    "outputColumns names `{unknown}`, which is no column of the rule file; its \
                     columns are {}",
                    listed(&self.columns)
                ),
            ));
        }
        let given: Vec<Option<Operand>> = (self.columns.iter())
            .map(|name| inputs.get(name).filter(|_| !outputs.contains(name)).map(Operand::of))
            .collect();
        self.check(&given, outputs)?;
        let mut result = Map::new();
        for rule in &self.rules {
            if limit.is_over() {
                let message = format!("row {}: the rules take too long", rule.row);
                return Err(Problem::new(Code::TooSlow, message));
            }
            if !self.matches(rule, &given)? {
                continue;
            }
            for name in outputs {
                let cell = rule.cells.iter().find(|cell| self.columns[cell.column] == *name);
                match cell {
                    Some(cell) => {
                        let value = condition::output(&cell.value);
                        let value = value.map_err(|why| self.invalid(rule, cell, &why))?;
                        result.insert(name.clone(), value);
                    }
                    // A later rule that says nothing leaves what an earlier one said.
                    None => {
                        result.entry(name.as_str()).or_insert(Value::Null);
                    }
                }
            }
            if strategy == Strategy::First {
                break;
            }
        }
        Ok(result)
    }

    /// A rule that cannot be understood fails every input, not only those that get to it.
    fn check(&self, given: &[Option<Operand>], outputs: &[String]) -> Result<(), Problem> {
        for rule in &self.rules {
            for cell in &rule.cells {
                let name = &self.columns[cell.column];
                if outputs.contains(name) {
                    continue;
                }
                if given[cell.column].is_none() {
                    return Err(Problem::new(
                        Code::Invalid,
                        format!(
                            "row {}, column `{name}`: there is a condition on it, but inputColumns \
                             does not name it; give it a value there, or list it in outputColumns",
                            rule.row
                        ),
                    ));
                }
                if let Err(why) = &cell.condition {
                    return Err(self.invalid(rule, cell, why));
                }
            }
        }
        Ok(())
    }

    fn matches(&self, rule: &Rule, given: &[Option<Operand>]) -> Result<bool, Problem> {
        for cell in &rule.cells {
            if let (Some(input), Ok(condition)) = (&given[cell.column], &cell.condition)
                && !condition.holds(input).map_err(|why| self.invalid(rule, cell, &why))?
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn invalid(&self, rule: &Rule, cell: &Cell, why: &str) -> Problem {
        let place = format!("row {}, column `{}`", rule.row, self.columns[cell.column]);
        Problem::new(Code::Invalid, format!("{place}: {why}"))
    }
}

/// Takes the cells of a file in order, as long as they fit.
#[derive(Default)]
struct Builder {
    /// The header's cells, by the column they stand in.
    header: Vec<(u32, String)>,
    header_row: Option<u32>,
    rules: Vec<Rule>,
    cells: usize,
    weight: usize,
}

impl Builder {
    /// Takes a cell; rows and columns count from 0.
    fn add(&mut self, row: u32, column: u32, value: Value) -> Result<(), Problem> {
        let blank = match &value {
            Value::Null => true,
            Value::String(text) => text.trim().is_empty(),
            _ => false,
        };
        if blank {
            return Ok(());
        }
        if *self.header_row.get_or_insert(row) == row {
            return self.add_name(row, column, &value);
        }
        let place = self.header.iter().position(|(at, _)| *at == column);
        let Some((index, name)) = place.map(|index| (index, &self.header[index].1)) else {
            let message = format!(
                "row {}, column {}: there is a value where the header has no name; name the \
                 column, or remove the value (in CSV, a value with commas stands in quotes)",
                row + 1,
                letters(column)
            );
            return Err(Problem::new(Code::Invalid, message));
        };
        let condition = Condition::parse(&value, name);
        self.cells += 1;
        self.weight += size_of::<Cell>() + value.as_str().map_or(0, |text| 3 * text.len());
        self.weight += condition.as_ref().map_or(0, Condition::weight);
        if self.rules.last().is_none_or(|rule| rule.row != row + 1) {
            self.weight += size_of::<Rule>();
            self.rules.push(Rule { row: row + 1, cells: Vec::new() });
        }
        let too_much = [
            (self.rules.len() > ROWS_MAX, ROWS_MAX, "rows"),
            (self.cells > CELLS_MAX, CELLS_MAX, "cells"),
            (self.weight > WEIGHT_MAX, WEIGHT_MAX, "bytes"),
        ];
        if let Some((_, most, what)) = too_much.into_iter().find(|(over, ..)| *over) {
            return Err(too_large(&format!("it has more than {most} {what}")));
        }
        if let Some(rule) = self.rules.last_mut() {
            rule.cells.push(Cell { column: index, value, condition });
        }
        Ok(())
    }

    fn add_name(&mut self, row: u32, column: u32, value: &Value) -> Result<(), Problem> {
        let name = value.as_str().map_or_else(|| value.to_string(), |text| text.trim().to_owned());
        if self.header.iter().any(|(_, other)| *other == name) {
            let message = format!("row {}: two columns have the name `{name}`", row + 1);
            return Err(Problem::new(Code::Invalid, message));
        }
        self.weight += name.len();
        self.header.push((column, name));
        if self.header.len() > COLUMNS_MAX {
            return Err(too_large(&format!("it has more than {COLUMNS_MAX} columns")));
        }
        Ok(())
    }

    fn finish(self) -> Result<Table, Problem> {
        if self.header.is_empty() {
            return Err(unreadable("it is empty; its first row names the columns"));
        }
        let columns = self.header.into_iter().map(|(_, name)| name).collect();
        Ok(Table { columns, rules: self.rules, weight: self.weight })
    }
}

fn csv_rows(bytes: &[u8]) -> Result<Table, Problem> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes);
    let mut builder = Builder::default();
    let mut record = csv::StringRecord::new();
    let mut row = 0;
    loop {
        let more = reader.read_record(&mut record);
        if !more.map_err(|error| unreadable(&format!("it is no CSV in UTF-8: {error}")))? {
            return builder.finish();
        }
        for (column, text) in record.iter().enumerate() {
            builder.add(row, column as u32, Value::from(text.trim()))?;
        }
        row += 1;
    }
}

fn sheet_rows(bytes: &[u8]) -> Result<Table, Problem> {
    if bytes.starts_with(b"\xD0\xCF\x11\xE0") {
        return Err(unreadable(
            "it is in the old format .xls, or has a password; save it as .xlsx or CSV without one",
        ));
    }
    judge_size(bytes)?;
    let damaged = |error: XlsxError| unreadable(&format!("it is no intact .xlsx file: {error}"));
    let mut book = Xlsx::new(Cursor::new(bytes)).map_err(damaged)?;
    let sheet = book.sheets_metadata().iter().find(|sheet| sheet.typ == SheetType::WorkSheet);
    let Some(sheet) = sheet.map(|sheet| sheet.name.clone()) else {
        return Err(unreadable("it has no worksheet"));
    };
    // Cell by cell: a sheet whose only cell is its last one would otherwise be filled up with
    // billions of blank ones.
    let mut cells = book.worksheet_cells_reader(&sheet).map_err(damaged)?;
    let mut builder = Builder::default();
    let mut last = None;
    while let Some((cell, style)) = cells.next_cell_with_style_id().map_err(damaged)? {
        let (row, column) = cell.get_position();
        let format = cells.styles().get(style).and_then(|style| style.number_format.as_ref());
        let format = format.map_or("", |format| format.format_code.as_str());
        let value = value(cell.get_value(), format).map_err(|error| {
            let place = format!("row {}, column {}", row + 1, letters(column));
            Problem::new(Code::Invalid, format!("{place}: the cell holds the error {error}"))
        })?;
        // Rules count in their order, which a made-up file could belie.
        if last.is_some_and(|last| last > row) {
            return Err(unreadable("its rows are not in order"));
        }
        last = Some(row);
        builder.add(row, column, value)?;
    }
    builder.finish()
}

/// Unpacks everything once and keeps nothing: what an archive says of its own size may be wrong.
fn judge_size(bytes: &[u8]) -> Result<(), Problem> {
    let damaged =
        |error: &dyn std::fmt::Display| unreadable(&format!("it is no intact .xlsx file: {error}"));
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| damaged(&error))?;
    if archive.len() > FILES_MAX {
        return Err(too_large(&format!("it is made of more than {FILES_MAX} files")));
    }
    let mut left = UNPACKED_MAX;
    let mut part = Vec::new();
    for index in 0..archive.len() {
        let file = archive.by_index(index).map_err(|error| damaged(&error))?;
        let name = file.name().map_err(|error| damaged(&error))?.to_ascii_lowercase();
        let is_style = name.ends_with("styles.xml");
        part.clear();
        let unpacked = file.take(left + 1).read_to_end(&mut part);
        let unpacked = unpacked.map_err(|error| damaged(&error))? as u64;
        let message = || too_large(&format!("it unpacks to more than {UNPACKED_MAX} bytes"));
        left = left.checked_sub(unpacked).ok_or_else(message)?;
        if is_style && weight_of_styles(&part) > WEIGHT_MAX {
            return Err(too_large("its styles are too many; save the table alone, or as CSV"));
        }
    }
    Ok(())
}

/// What styles come to when each is given its own copy of a font's name and a number's format, at
/// most: a small file with one long name makes gigabytes of them.
fn weight_of_styles(xml: &[u8]) -> usize {
    const EACH: usize = 1 << 10;
    let styles = xml.windows(2).filter(|two| *two == b"xf").count();
    let longest = xml.split(|byte| *byte == b'>').map(<[u8]>::len).max().unwrap_or(0);
    styles.saturating_mul(longest.saturating_mul(2).saturating_add(EACH))
}

fn value(cell: &DataRef<'_>, format: &str) -> Result<Value, CellErrorType> {
    Ok(match cell {
        DataRef::Empty => Value::Null,
        DataRef::Bool(flag) => Value::from(*flag),
        DataRef::Int(number) => Value::from(*number),
        DataRef::Float(number) => number_of(*number, format),
        DataRef::String(text) | DataRef::DateTimeIso(text) | DataRef::DurationIso(text) => {
            Value::from(text.as_str())
        }
        DataRef::SharedString(text) => Value::from(*text),
        DataRef::DateTime(at) if at.is_datetime() => Value::from(date(at)),
        DataRef::DateTime(span) => number_of(span.as_f64(), ""),
        DataRef::Error(error) => return Err(error.clone()),
    })
}

/// A number; a percentage as the text that is seen, `11%`.
fn number_of(number: f64, format: &str) -> Value {
    if format.ends_with('%') && format.bytes().all(|byte| matches!(byte, b'0' | b'.' | b'%')) {
        let decimals = format.split_once('.').map_or(0, |(_, rest)| rest.len() - 1);
        return Value::from(format!("{:.decimals$}%", number * 100.0));
    }
    if number.fract() == 0.0 && number.abs() < 9e15 {
        return Value::from(number as i64);
    }
    Value::from(number)
}

fn date(at: &ExcelDateTime) -> String {
    let (year, month, day, hour, minute, second, _) = at.to_ymd_hms_milli();
    let date = format!("{year:04}-{month:02}-{day:02}");
    match (hour, minute, second) {
        (0, 0, 0) => date,
        _ => format!("{date} {hour:02}:{minute:02}:{second:02}"),
    }
}

/// What spreadsheets call a column: A, B, …, Z, AA.
fn letters(column: u32) -> String {
    let mut rest = column;
    let mut name = Vec::new();
    loop {
        name.push(char::from(b'A' + (rest % 26) as u8));
        if rest < 26 {
            return name.into_iter().rev().collect();
        }
        rest = rest / 26 - 1;
    }
}

/// Names for a sentence, not more than are read.
fn listed(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(20).map(|name| format!("`{name}`")).collect();
    let more = if names.len() > shown.len() { ", …" } else { "" };
    shown.join(", ") + more
}

fn unreadable(why: &str) -> Problem {
    Problem::new(Code::FileUnreadable, why)
}

fn too_large(why: &str) -> Problem {
    Problem::new(Code::FileTooLarge, why)
}
