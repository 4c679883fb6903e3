//! What one edit costs to compile into the next table, at three sizes of table. Prints the median of many edits.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::indexing_slicing, missing_docs)]

use flipgate::model::{Object, ObjectKey, Revision, Strictness};
use flipgate::table::{Change, Table, compile};
use std::sync::Arc;
use std::time::{Duration, Instant};

const EDITS: usize = 1000;

fn main() {
    println!("{:<12} {:>12} {:>12} {:>12} {:>12}", "frontends", "load", "route", "server", "alias");
    for frontends in [1_000, 10_000, 100_000] {
        let began = Instant::now();
        let table = load(frontends);
        let load = began.elapsed();
        let route = edits(&table, |edit| frontend(edit * 7919 % frontends, edit % 1000));
        let server = edits(&table, |edit| server(edit % 1000, 20_000 + edit % 1000));
        let alias = edits(&table, |edit| alias(edit % 1000));
        println!("{frontends:<12} {load:>12.1?} {route:>12.1?} {server:>12.1?} {alias:>12.1?}");
    }
}

/// The median time of one edit.
fn edits(table: &Table, edit: impl Fn(usize) -> Change) -> Duration {
    let mut table = table.clone();
    let mut times: Vec<_> = (0..EDITS)
        .map(|number| {
            let change = [edit(number)];
            let began = Instant::now();
            table = compile(&table, Revision(number as u64), 0, &change);
            began.elapsed()
        })
        .collect();
    times.sort();
    times[EDITS / 2]
}

/// So many frontends on a thousand backends of two servers.
fn load(frontends: usize) -> Table {
    let servers = (0..1000).flat_map(|backend| [server(backend, 10_000), server(backend, 10_001)]);
    let changes: Vec<_> = (0..frontends).map(|id| frontend(id, id % 1000)).chain(servers).collect();
    compile(&Table::empty(2), Revision(1), 0, &changes)
}

fn parse(key: &str, value: &str) -> Object {
    let key = ObjectKey::parse(key).unwrap();
    Object::parse(&key, value.as_bytes(), Strictness::Written).object.unwrap()
}

fn frontend(id: usize, backend: usize) -> Change {
    let value = format!(
        r#"{{"Type":"http","BackendId":"b{backend}","Route":"Host(`h{id}.example`) && PathPrefix(`/`)"}}"#
    );
    match parse(&format!("frontends/f{id}/frontend"), &value) {
        Object::Frontend(frontend) => Change::Frontend(frontend.id.clone(), Some(Arc::new(frontend))),
        other => panic!("{other:?}"),
    }
}

fn server(backend: usize, port: usize) -> Change {
    let key = format!("backends/b{backend}/servers/s{}", port % 2);
    match parse(&key, &format!(r#"{{"URL":"http://10.0.0.1:{port}"}}"#)) {
        Object::Server(server) => {
            Change::Server(server.backend.clone(), server.id.clone(), Some(Arc::new(server)))
        }
        other => panic!("{other:?}"),
    }
}

fn alias(target: usize) -> Change {
    match parse("backends/shop/backend", &format!(r#"{{"Type":"alias","Target":"b{target}"}}"#)) {
        Object::Backend(backend) => Change::Backend(
            flipgate::model::BackendId::try_from("shop").unwrap(),
            Some((Arc::new(backend), None)),
        ),
        other => panic!("{other:?}"),
    }
}
