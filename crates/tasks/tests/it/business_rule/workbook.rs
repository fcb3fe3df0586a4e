//! Writes the smallest workbooks that spreadsheets open.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Cursor, Write as _};

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// Styles of numbers.
pub(super) const PERCENT: usize = 1;
pub(super) const DATE: usize = 2;

const TYPES: &str = r#"<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml" ContentType="application/xml"/><Override PartName="/xl/workbook.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/><Override PartName="/xl/worksheets/sheet1.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/><Override PartName="/xl/styles.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.styles+xml"/></Types>"#;
const ROOT: &str = r#"<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="xl/workbook.xml"/></Relationships>"#;
const BOOK: &str = r#"<workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"><sheets><sheet name="Rules" sheetId="1" r:id="rId1"/></sheets></workbook>"#;
const PARTS: &str = r#"<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet" Target="worksheets/sheet1.xml"/><Relationship Id="rId2" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/styles" Target="styles.xml"/></Relationships>"#;
const STYLES: &str = r#"<styleSheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><fonts count="1"><font/></fonts><fills count="1"><fill/></fills><borders count="1"><border/></borders><cellStyleXfs count="1"><xf/></cellStyleXfs><cellXfs count="3"><xf numFmtId="0"/><xf numFmtId="9" applyNumberFormat="1"/><xf numFmtId="14" applyNumberFormat="1"/></cellXfs></styleSheet>"#;

/// The cells of a sheet, as XML, by row (from 1) and column (from 0).
#[derive(Default)]
pub(super) struct Workbook(BTreeMap<(usize, usize), String>);

impl Workbook {
    pub(super) fn texts(&mut self, row: usize, texts: &[&str]) -> &mut Self {
        for (column, text) in texts.iter().enumerate() {
            self.text(row, column, text);
        }
        self
    }

    pub(super) fn text(&mut self, row: usize, column: usize, text: &str) -> &mut Self {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        let inner = format!("<is><t>{text}</t></is>");
        self.cell(row, column, "t=\"inlineStr\"", &inner)
    }

    pub(super) fn number(
        &mut self,
        row: usize,
        column: usize,
        number: &str,
        style: usize,
    ) -> &mut Self {
        self.cell(row, column, &format!("s=\"{style}\""), &format!("<v>{number}</v>"))
    }

    pub(super) fn flag(&mut self, row: usize, column: usize, flag: bool) -> &mut Self {
        self.cell(row, column, "t=\"b\"", &format!("<v>{}</v>", u8::from(flag)))
    }

    pub(super) fn error(&mut self, row: usize, column: usize, error: &str) -> &mut Self {
        self.cell(row, column, "t=\"e\"", &format!("<v>{error}</v>"))
    }

    fn cell(&mut self, row: usize, column: usize, attributes: &str, inner: &str) -> &mut Self {
        let place = format!("{}{row}", letters(column));
        let cell = format!("<c r=\"{place}\" {attributes}>{inner}</c>");
        self.0.insert((row, column), cell);
        self
    }

    fn sheet(&self) -> String {
        let mut xml = String::from(
            r#"<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>"#,
        );
        let mut open = None;
        for ((row, _), cell) in &self.0 {
            if open != Some(*row) {
                xml.push_str(if open.is_some() { "</row>" } else { "" });
                write!(xml, "<row r=\"{row}\">").unwrap();
                open = Some(*row);
            }
            xml.push_str(cell);
        }
        xml.push_str(if open.is_some() { "</row>" } else { "" });
        xml + "</sheetData></worksheet>"
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        around(&self.sheet())
    }
}

/// A workbook whose one sheet is this XML.
pub(super) fn around(sheet: &str) -> Vec<u8> {
    styled(sheet, STYLES)
}

/// As [`around`], with styles of one's own.
pub(super) fn styled(sheet: &str, styles: &str) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, text) in [
        ("[Content_Types].xml", TYPES),
        ("_rels/.rels", ROOT),
        ("xl/workbook.xml", BOOK),
        ("xl/_rels/workbook.xml.rels", PARTS),
        ("xl/styles.xml", styles),
        ("xl/worksheets/sheet1.xml", sheet),
    ] {
        archive.start_file(name, SimpleFileOptions::default()).unwrap();
        archive.write_all(text.as_bytes()).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

fn letters(column: usize) -> String {
    let last = char::from(b'A' + (column % 26) as u8).to_string();
    if column < 26 { last } else { letters(column / 26 - 1) + &last }
}
