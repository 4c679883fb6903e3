//! What the API needs of a desk. Tests put something simpler in its place.

use crate::deployer::book::Book;
use crate::deployer::descriptor::Descriptor;
use crate::deployer::desk::{Denied, Desk, Maintenance};
use crate::deployer::machine::Ask;
use crate::deployer::record::Deployment;
use crate::kubernetes::Name;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::sync::RwLockReadGuard;
use tokio::sync::watch;

/// The answer of a desk, later.
pub(super) type Later<'a, T> = BoxFuture<'a, Result<T, Denied>>;

/// See [`Desk`], whose methods these are.
pub(super) trait Office: Send + Sync + 'static {
    fn book(&self) -> RwLockReadGuard<'_, Book>;
    fn changes(&self) -> watch::Receiver<u64>;
    fn check<'a>(&'a self, descriptor: &'a Descriptor) -> Later<'a, Vec<String>>;
    fn deploy<'a>(
        &'a self,
        descriptor: Descriptor,
        again: Option<&'a str>,
        by: &'a str,
    ) -> Later<'a, Deployment>;
    fn undeploy<'a>(&'a self, app: &'a Name, id: &'a str, by: &'a str) -> Later<'a, Deployment>;
    fn ask<'a>(&'a self, app: &'a Name, id: &'a str, ask: Ask, by: &'a str) -> Later<'a, ()>;
    fn scale<'a>(&'a self, app: &'a Name, id: &'a str, replicas: u32, by: &'a str) -> Later<'a, Deployment>;
    fn store_descriptor<'a>(
        &'a self,
        descriptor: Descriptor,
        id: Option<&'a str>,
        version: Option<u64>,
    ) -> Later<'a, (String, u64)>;
    fn forget_descriptors<'a>(&'a self, app: &'a Name, ids: &'a [String]) -> Later<'a, ()>;
    fn forget_deployments<'a>(&'a self, app: &'a Name, ids: &'a [String]) -> Later<'a, ()>;
    fn maintain<'a>(&'a self, app: &'a Name, maintenance: Option<Maintenance>) -> Later<'a, ()>;
}

impl Office for Desk {
    fn book(&self) -> RwLockReadGuard<'_, Book> {
        Self::book(self)
    }

    fn changes(&self) -> watch::Receiver<u64> {
        Self::changes(self)
    }

    fn check<'a>(&'a self, descriptor: &'a Descriptor) -> Later<'a, Vec<String>> {
        Self::check(self, descriptor).boxed()
    }

    fn deploy<'a>(
        &'a self,
        descriptor: Descriptor,
        again: Option<&'a str>,
        by: &'a str,
    ) -> Later<'a, Deployment> {
        Self::deploy(self, descriptor, again, by).boxed()
    }

    fn undeploy<'a>(&'a self, app: &'a Name, id: &'a str, by: &'a str) -> Later<'a, Deployment> {
        Self::undeploy(self, app, id, by).boxed()
    }

    fn ask<'a>(&'a self, app: &'a Name, id: &'a str, ask: Ask, by: &'a str) -> Later<'a, ()> {
        Self::ask(self, app, id, ask, by).boxed()
    }

    fn scale<'a>(&'a self, app: &'a Name, id: &'a str, replicas: u32, by: &'a str) -> Later<'a, Deployment> {
        Self::scale(self, app, id, replicas, by).boxed()
    }

    fn store_descriptor<'a>(
        &'a self,
        descriptor: Descriptor,
        id: Option<&'a str>,
        version: Option<u64>,
    ) -> Later<'a, (String, u64)> {
        Self::store_descriptor(self, descriptor, id, version).boxed()
    }

    fn forget_descriptors<'a>(&'a self, app: &'a Name, ids: &'a [String]) -> Later<'a, ()> {
        Self::forget_descriptors(self, app, ids).boxed()
    }

    fn forget_deployments<'a>(&'a self, app: &'a Name, ids: &'a [String]) -> Later<'a, ()> {
        Self::forget_deployments(self, app, ids).boxed()
    }

    fn maintain<'a>(&'a self, app: &'a Name, maintenance: Option<Maintenance>) -> Later<'a, ()> {
        Self::maintain(self, app, maintenance).boxed()
    }
}
