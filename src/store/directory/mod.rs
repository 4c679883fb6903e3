//! stub
#![allow(missing_docs)]
use crate::store::*;
use futures_util::future::BoxFuture;
pub struct DirectoryStore;
impl DirectoryStore {
    pub fn new(_: std::path::PathBuf, _: Option<std::path::PathBuf>) -> Self {
        Self
    }
}
impl Store for DirectoryStore {
    fn kind(&self) -> &'static str {
        ""
    }
    fn location(&self) -> String {
        String::new()
    }
    fn capabilities(&self) -> Capabilities {
        todo()
    }
    fn follow(&self, _: Area) -> Feed {
        todo()
    }
    fn list(&self, _: Area) -> BoxFuture<'_, Result<Snapshot, StoreError>> {
        todo()
    }
    fn get<'a>(
        &'a self,
        _: Area,
        _: &'a str,
    ) -> BoxFuture<'a, Result<(Revision, Option<Entry>), StoreError>> {
        todo()
    }
    fn commit(&self, _: Transaction) -> BoxFuture<'_, Result<Revision, StoreError>> {
        todo()
    }
}
fn todo<T>() -> T {
    panic!()
}
