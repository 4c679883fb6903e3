//! `flipgate.toml`: settings by table, each with the line it stands on.

use super::settings::{SETTINGS, TABLES, nearest};
use super::{ConfigProblem, Origin};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The values of one setting with the line of each.
pub(super) type Lines = HashMap<&'static str, Vec<(String, Origin)>>;

struct Reader<'a> {
    path: Arc<Path>,
    text: &'a str,
    values: Lines,
    problems: Vec<ConfigProblem>,
}

/// Reads a file; unknown keys and values of the wrong type are problems.
pub(super) fn read(path: &Path, text: &str) -> (Lines, Vec<ConfigProblem>) {
    let mut reader = Reader { path: path.into(), text, values: HashMap::new(), problems: Vec::new() };
    match DeTable::parse(text) {
        Ok(table) => reader.table("", table.get_ref()),
        Err(error) => {
            let origin = reader.origin(error.span().map_or(0, |span| span.start));
            reader.problems.push(ConfigProblem { origin, message: format!("not TOML: {}", error.message()) });
        }
    }
    (reader.values, reader.problems)
}

impl Reader<'_> {
    fn origin(&self, offset: usize) -> Origin {
        let before = self.text.as_bytes().iter().take(offset);
        Origin::File { path: self.path.clone(), line: 1 + before.filter(|byte| **byte == b'\n').count() }
    }

    fn problem(&mut self, offset: usize, message: String) {
        let origin = self.origin(offset);
        self.problems.push(ConfigProblem { origin, message });
    }

    fn table(&mut self, name: &'static str, table: &DeTable<'_>) {
        for (key, value) in table {
            let offset = key.span().start;
            let written: &str = key.get_ref();
            if name == "listeners" {
                for text in self.texts(written, value) {
                    self.add("listener", format!("{written}={text}"), offset);
                }
                continue;
            }
            let sub_table = TABLES.iter().find(|table| **table == written.replace('-', "_"));
            if let (Some(sub_table), DeValue::Table(inner), "") = (sub_table, value.get_ref(), name) {
                self.table(sub_table, inner);
                continue;
            }
            let flag = written.replace('_', "-");
            match SETTINGS.iter().find(|setting| setting.flag == flag) {
                Some(setting) if setting.table == name && flag != "listener" => {
                    let texts = self.texts(written, value);
                    if !setting.many && matches!(value.get_ref(), DeValue::Array(_)) {
                        self.problem(offset, format!("`{written}` takes one value, not a list"));
                    } else {
                        texts.into_iter().for_each(|text| self.add(setting.flag, text, offset));
                    }
                }
                Some(setting) => {
                    let place = match setting.table {
                        "" => "at the top, before any table".to_owned(),
                        table => format!("in the table [{table}]"),
                    };
                    self.problem(offset, format!("`{written}` belongs {place}"));
                }
                None => self.unknown(name, written, offset),
            }
        }
    }

    fn unknown(&mut self, table: &str, written: &str, offset: usize) {
        let here = SETTINGS.iter().filter(|setting| setting.table == table).map(|setting| setting.flag);
        let elsewhere = SETTINGS.iter().map(|setting| setting.flag);
        let tables = TABLES.into_iter().filter(|_| table.is_empty());
        let flag = written.replace('_', "-");
        let near =
            nearest(&flag, here).or_else(|| nearest(&flag, elsewhere)).or_else(|| nearest(written, tables));
        let place = if table.is_empty() { String::new() } else { format!(" of [{table}]") };
        let hint = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
        self.problem(offset, format!("`{written}` is no setting{place}{hint}"));
    }

    fn add(&mut self, flag: &'static str, text: String, offset: usize) {
        let origin = self.origin(offset);
        self.values.entry(flag).or_default().push((text, origin));
    }

    /// A value as it would be given to its flag.
    fn texts(&mut self, key: &str, value: &Spanned<DeValue<'_>>) -> Vec<String> {
        match value.get_ref() {
            DeValue::String(text) => vec![text.to_string()],
            DeValue::Integer(number) if number.radix() == 10 => vec![number.as_str().to_owned()],
            DeValue::Boolean(on) => vec![if *on { "on" } else { "off" }.to_owned()],
            DeValue::Array(items) => {
                let scalar = |item: &Spanned<DeValue<'_>>| !matches!(item.get_ref(), DeValue::Array(_));
                items.iter().filter(|item| scalar(item)).flat_map(|item| self.texts(key, item)).collect()
            }
            other => {
                let message =
                    format!("`{key}` is a text, a number or a list of texts, not a {}", other.type_str());
                self.problem(value.span().start, message);
                Vec::new()
            }
        }
    }
}
