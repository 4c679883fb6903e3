//! What clients read in place of the proxy's bare words: error pages, and a frontend's maintenance.

use super::duration;
use super::fields::{Fields, quote, show};
use super::frontend::TIMEOUT_MAX;
use super::network;
use bytes::Bytes;
use ipnet::IpNet;
use serde_json::{Map, Value};
use std::time::Duration;

/// Largest `Body` of a page, in bytes.
pub const PAGE_BYTES_MAX: usize = 256 * 1024;
/// Longest name of a file of error pages, in bytes.
pub const PAGE_NAME_BYTES_MAX: usize = 128;
/// The type of a `Body` that names none.
const HTML: &str = "text/html; charset=utf-8";

/// `Settings.ErrorPages`: pages by code (`"404"`), class (`"5xx"`) or `"default"`; the closest one counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorPages(Box<[(Answers, Page)]>);

/// Which answers a page is for. The order is that in which they are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Answers {
    Code(u16),
    /// The first digit: 4 or 5.
    Class(u16),
    Default,
}

/// One page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// `Body`, or `File`.
    pub content: PageContent,
    /// `ContentType`; by default HTML, or what a file's ending says.
    pub content_type: Option<Box<str>>,
    /// `Status`: sent in place of the answer's own, 200 or 400 to 599.
    pub status: Option<u16>,
    /// `Intercept`: also in place of what servers answer with such a status; default false: only of the proxy's own
    /// answers.
    pub intercept: bool,
}

/// Where a page's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PageContent {
    /// `Body`: here.
    Body(Bytes),
    /// `File`: in a file of this name, without any path, in the process's own directory of error pages.
    File(Box<str>),
}

/// `Maintenance`: every request is answered with 503. `true` is the one without anything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Maintenance {
    /// `Page`: what is read.
    pub page: Option<Page>,
    /// `RetryAfter`: when to come again; rounded up to seconds.
    pub retry_after: Option<Duration>,
    /// `Allow`: clients in these networks pass.
    pub allow: Option<Box<[IpNet]>>,
}

impl ErrorPages {
    /// The page for an answer with `status`, 400 to 599.
    pub fn of(&self, status: u16) -> Option<&Page> {
        // Sorted: the closest comes first.
        let fitting = self.0.iter().find(|(answers, _)| match answers {
            Answers::Code(code) => *code == status,
            Answers::Class(class) => *class == status / 100,
            Answers::Default => matches!(status, 400..=599),
        });
        fitting.map(|(_, page)| page)
    }
}

impl Answers {
    fn read(text: &str) -> Option<Self> {
        match text {
            "4xx" => Some(Self::Class(4)),
            "5xx" => Some(Self::Class(5)),
            "default" => Some(Self::Default),
            _ => {
                text.parse().ok().filter(|code| text.len() == 3 && matches!(code, 400..=599)).map(Self::Code)
            }
        }
    }

    fn name(self) -> String {
        match self {
            Self::Code(code) => code.to_string(),
            Self::Class(class) => format!("{class}xx"),
            Self::Default => "default".to_owned(),
        }
    }
}

/// `ErrorPages` of a frontend's settings; an empty object is none.
pub(super) fn read_error_pages(fields: &mut Fields<'_>) -> Option<Box<ErrorPages>> {
    let pages = fields.object("ErrorPages", |fields| {
        let (report, mut pages) = (fields.report(), Vec::new());
        let given: Vec<_> = fields.all().collect();
        for (name, value) in given {
            let path = fields.path_of(name);
            let Some(answers) = Answers::read(&name.to_ascii_lowercase()) else {
                report.error(path, "is no code from 400 to 599, nor `4xx`, `5xx` or `default`");
                continue;
            };
            if value.is_null() {
                continue;
            }
            let page = Fields::read(report, &path, value, |page| read_page(page, true)).flatten();
            pages.extend(page.map(|page| (answers, page)));
        }
        pages.sort_by_key(|(answers, _)| *answers);
        pages
    });
    let pages = pages.filter(|pages| !pages.is_empty());
    pages.map(|pages| Box::new(ErrorPages(pages.into())))
}

/// `answers`: it may say which answers it is for, and with what status.
fn read_page(fields: &mut Fields<'_>, answers: bool) -> Option<Page> {
    let (body, file) = (fields.text("Body"), fields.text("File"));
    let content_type = fields.text("ContentType").map(Box::from);
    if content_type.as_deref().is_some_and(|text: &str| !text.bytes().all(|byte| matches!(byte, b' '..=b'~')))
    {
        fields.error("ContentType", "is no media type, like `text/html; charset=utf-8`");
    }
    let (mut status, mut intercept) = (None, false);
    if answers {
        status = fields.integer("Status", 200..=599).and_then(|status| u16::try_from(status).ok());
        if status.is_some_and(|status| !matches!(status, 200 | 400..=599)) {
            fields.error("Status", "is 200, or 400 to 599: an error page comes with no other");
        }
        intercept = fields.boolean("Intercept").unwrap_or(false);
    }
    let content = match (body, file) {
        (Some(body), None) if body.len() > PAGE_BYTES_MAX => {
            fields.error("Body", format!("has {} bytes; at most {PAGE_BYTES_MAX} are allowed", body.len()));
            None
        }
        (Some(body), None) => Some(PageContent::Body(Bytes::copy_from_slice(body.as_bytes()))),
        (None, Some(file)) if is_file_name(file) => Some(PageContent::File(file.into())),
        (None, Some(file)) => {
            let reason = format!(
                "is {}; the name of a file in the directory of error pages is expected, without a path and made of \
                 letters, digits, `.`, `_` and `-`",
                quote(file)
            );
            fields.error("File", reason);
            None
        }
        (Some(_), Some(_)) => {
            fields.error("File", "stands beside `Body`; a page has one of them");
            None
        }
        (None, None) => {
            fields.error("Body", "is missing: the page's text, or the name of its `File`, is expected");
            None
        }
    };
    Some(Page { content: content?, content_type, status, intercept })
}

fn is_file_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    name.len() <= PAGE_NAME_BYTES_MAX && !name.starts_with('.') && name.bytes().all(plain)
}

/// `Maintenance` of a frontend: `true`, `false` or an object.
pub(super) fn read_maintenance(fields: &mut Fields<'_>) -> Option<Box<Maintenance>> {
    match fields.value("Maintenance")? {
        Value::Bool(false) => None,
        Value::Bool(true) => Some(Box::default()),
        Value::Object(_) => fields.object("Maintenance", |fields| {
            Box::new(Maintenance {
                page: fields.object("Page", |page| read_page(page, false)).flatten(),
                retry_after: fields.duration("RetryAfter", TIMEOUT_MAX),
                allow: network::read(fields, "Allow"),
            })
        }),
        other => {
            let reason = format!(
                "is {}; true, false or an object with `Page`, `RetryAfter` and `Allow` is expected",
                show(other)
            );
            fields.error("Maintenance", reason);
            None
        }
    }
}

impl ErrorPages {
    pub(super) fn to_value(&self) -> Value {
        let pages = self.0.iter().map(|(answers, page)| (answers.name(), page.to_value()));
        Value::Object(pages.collect())
    }
}

impl Page {
    /// The media type that is sent with a `Body`.
    pub fn body_type(&self) -> &str {
        self.content_type.as_deref().unwrap_or(HTML)
    }

    fn to_value(&self) -> Value {
        let mut value = Map::new();
        match &self.content {
            PageContent::Body(body) => value.insert("Body".into(), String::from_utf8_lossy(body).into()),
            PageContent::File(name) => value.insert("File".into(), (&**name).into()),
        };
        if let Some(content_type) = &self.content_type {
            value.insert("ContentType".into(), (&**content_type).into());
        }
        if let Some(status) = self.status {
            value.insert("Status".into(), status.into());
        }
        if self.intercept {
            value.insert("Intercept".into(), true.into());
        }
        value.into()
    }
}

impl Maintenance {
    pub(super) fn to_value(&self) -> Value {
        if *self == Self::default() {
            return true.into();
        }
        let mut value = Map::new();
        if let Some(page) = &self.page {
            value.insert("Page".into(), page.to_value());
        }
        if let Some(time) = self.retry_after {
            value.insert("RetryAfter".into(), duration::format(time).into());
        }
        if let Some(networks) = &self.allow {
            value.insert("Allow".into(), network::to_value(networks));
        }
        value.into()
    }
}
