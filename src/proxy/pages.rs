//! Which page a client reads in place of bare words, or of what a server says: a frontend's own, or a file of the
//! process's directory of error pages.

use super::error::{Failure, body_of};
use super::passage::Passage;
use super::worker::Worker;
use crate::model::{PAGE_NAME_BYTES_MAX, Page, PageContent};
use crate::telemetry::Reason;
use arc_swap::ArcSwap;
use bytes::Bytes;
use std::borrow::Cow;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Largest file of error pages, in bytes.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Most files of error pages.
pub const FILES_MAX: usize = 256;

/// What the endings of files say about them, the more readable ones first. Other files are passed over.
const TYPES: [(&str, &str); 5] = [
    ("html", "text/html; charset=utf-8"),
    ("htm", "text/html; charset=utf-8"),
    ("txt", "text/plain; charset=utf-8"),
    ("json", "application/json"),
    ("xml", "application/xml"),
];

/// The error pages of a process: files named `404.html`, `5xx.html`, `default.html` or `maintenance.html` are for every
/// frontend that has no page of its own, and for requests that none takes; others are named by frontends.
#[derive(Debug)]
pub struct PageFiles {
    dir: PathBuf,
    files: ArcSwap<Files>,
}

#[derive(Debug, Default)]
struct Files {
    by_name: HashMap<Box<str>, File>,
    /// By the name without its ending; of several the one whose type comes first.
    by_stem: HashMap<Box<str>, File>,
}

#[derive(Debug, Clone)]
struct File {
    content_type: &'static str,
    body: Bytes,
}

/// What is told in place of something else.
#[derive(Debug)]
pub(super) struct Told {
    pub status: u16,
    pub content_type: Cow<'static, str>,
    pub body: Bytes,
}

impl PageFiles {
    /// Reads the files of `dir`. Names that begin with a dot are passed over.
    ///
    /// # Errors
    /// The directory or a file cannot be read, a file has more than [`FILE_BYTES_MAX`] bytes, or there are more than
    /// [`FILES_MAX`]; the error names the path.
    pub fn open(dir: &Path) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self { dir: dir.to_owned(), files: ArcSwap::from_pointee(Files::read(dir)?) }))
    }

    /// Reads them again; where that fails the former ones stay.
    ///
    /// # Errors
    /// As [`PageFiles::open`].
    pub fn reload(&self) -> io::Result<()> {
        self.files.store(Arc::new(Files::read(&self.dir)?));
        Ok(())
    }

    fn named(&self, name: &str) -> Option<File> {
        self.files.load().by_name.get(name).cloned()
    }

    /// The page for all that fail so.
    fn of(&self, status: u16, reason: Reason) -> Option<File> {
        let files = self.files.load();
        let class = format!("{}xx", status / 100);
        let stems = [
            if reason == Reason::Maintenance { "maintenance" } else { "" },
            &status.to_string(),
            &class,
            "default",
        ];
        stems.iter().find_map(|stem| files.by_stem.get(*stem)).cloned()
    }
}

impl Files {
    fn read(dir: &Path) -> io::Result<Self> {
        let named = |path: &Path, error: io::Error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        };
        let mut found = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(|error| named(dir, error))? {
            let path = entry.map_err(|error| named(dir, error))?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            let kind = name.rsplit_once('.').and_then(|(stem, ending)| {
                let kind = TYPES.iter().position(|(known, _)| ending.eq_ignore_ascii_case(known));
                kind.filter(|_| {
                    !stem.is_empty() && !stem.starts_with('.') && name.len() <= PAGE_NAME_BYTES_MAX
                })
            });
            let Some(kind) = kind else { continue };
            let length = std::fs::metadata(&path).map_err(|error| named(&path, error))?.len();
            if length > FILE_BYTES_MAX || found.len() == FILES_MAX {
                let reason =
                    format!("more than {FILES_MAX} files, or one of more than {FILE_BYTES_MAX} bytes");
                return Err(named(&path, io::Error::other(reason)));
            }
            let body = std::fs::read(&path).map_err(|error| named(&path, error))?;
            found.push((kind, Box::<str>::from(name), Bytes::from(body)));
        }
        // The last one put in stays, so the best one comes last.
        found.sort_by_key(|(kind, ..)| std::cmp::Reverse(*kind));
        let mut files = Self::default();
        for (kind, name, body) in found {
            let content_type = TYPES.get(kind).map_or("", |(_, content_type)| content_type);
            let file = File { content_type, body };
            let stem = name.rsplit_once('.').map_or("", |(stem, _)| stem);
            files.by_stem.insert(stem.to_ascii_lowercase().into(), file.clone());
            files.by_name.insert(name, file);
        }
        Ok(files)
    }
}

/// What a client is told of a failure: the frontend's page for it, else the process's, else its bare words.
pub(super) fn of_failure(passage: &Passage, failure: Failure) -> Told {
    let settings = passage.frontend.as_ref().map(|frontend| &frontend.object.settings);
    let maintenance = settings.and_then(|it| it.maintenance.as_deref()).and_then(|it| it.page.as_ref());
    let own = settings.and_then(|settings| settings.error_pages.as_deref()?.of(failure.status));
    let pages = [maintenance.filter(|_| failure.reason == Reason::Maintenance), own];
    let told = pages.into_iter().flatten().find_map(|page| render(page, failure.status, &passage.worker));
    told.unwrap_or_else(|| of_process(&passage.worker, failure, passage.id))
}

/// What a client is told of a failure that belongs to no frontend.
pub(super) fn of_process(worker: &Worker, failure: Failure, id: u64) -> Told {
    let Failure { status, reason, .. } = failure;
    let pages = worker.settings().error_pages.as_ref();
    if let Some(File { content_type, body }) = pages.and_then(|pages| pages.of(status, reason)) {
        return Told { status, content_type: content_type.into(), body };
    }
    let (content_type, body) = body_of(failure, id);
    Told { status, content_type: content_type.into(), body }
}

/// The page in place of a server's answer, where the frontend has one.
pub(super) fn instead(passage: &Passage, status: u16) -> Option<Told> {
    let pages = passage.frontend.as_ref()?.object.settings.error_pages.as_deref()?;
    let page = pages.of(status).filter(|page| page.intercept)?;
    render(page, status, &passage.worker)
}

/// `None`: its file is not there.
fn render(page: &Page, status: u16, worker: &Worker) -> Option<Told> {
    let (content_type, body) = match &page.content {
        PageContent::Body(body) => (page.body_type().to_owned().into(), body.clone()),
        PageContent::File(name) => {
            let file = worker.settings().error_pages.as_ref()?.named(name)?;
            let content_type = page.content_type.as_deref().map(|own| Cow::from(own.to_owned()));
            (content_type.unwrap_or(file.content_type.into()), file.body)
        }
    };
    Some(Told { status: page.status.unwrap_or(status), content_type, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_by_code_class_and_name() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        for name in [
            "404.json",
            "404.html",
            "5xx.TXT",
            "default.xml",
            "maintenance.htm",
            "shop.html",
            ".x.html",
            "README",
            "a.exe",
        ] {
            put(name, name);
        }
        std::fs::create_dir(dir.path().join("..data")).unwrap();
        let pages = PageFiles::open(dir.path()).unwrap();
        let check = |status, reason, body: &str, content_type: &str| {
            let file = pages.of(status, reason).unwrap();
            assert_eq!(
                (&*file.body, file.content_type),
                (body.as_bytes(), content_type),
                "{status} {reason:?}"
            );
        };
        check(404, Reason::NoRoute, "404.html", "text/html; charset=utf-8");
        check(503, Reason::NoServer, "5xx.TXT", "text/plain; charset=utf-8");
        check(503, Reason::Maintenance, "maintenance.htm", "text/html; charset=utf-8");
        check(429, Reason::Limited, "default.xml", "application/xml");
        assert_eq!(pages.named("404.json").unwrap().content_type, "application/json");
        assert!(pages.named("shop.html").is_some());
        for absent in [".x.html", "README", "a.exe", "../shop.html", "shop"] {
            assert!(pages.named(absent).is_none(), "{absent}");
        }

        put("404.html", "new");
        std::fs::write(dir.path().join("large.html"), vec![b'x'; FILE_BYTES_MAX as usize + 1]).unwrap();
        let error = pages.reload().unwrap_err().to_string();
        assert!(error.contains("large.html") && error.contains("1048576 bytes"), "{error}");
        check(404, Reason::NoRoute, "404.html", "text/html; charset=utf-8");
        put("large.html", "");
        pages.reload().unwrap();
        check(404, Reason::NoRoute, "new", "text/html; charset=utf-8");
        assert!(PageFiles::open(&dir.path().join("none")).is_err());
    }
}
