//! What an edit costs at 100,000 frontends, and how much memory they take; run by hand, with optimisation.

use super::*;
use std::time::Instant;

const FRONTENDS: usize = 100_000;

fn resident_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("statm");
    text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("pages") * 4096
}

fn entry(number: usize, host: &str, revision: u64) -> Entry {
    Entry {
        key: format!("frontends/frontend-{number}/frontend").into(),
        value: frontend(&format!("backend-{}", number % 1000), host).into(),
        version: revision,
        created: 1,
        lease: None,
    }
}

#[test]
#[ignore = "prints figures"]
fn figures() {
    let mut entries: Vec<_> =
        (0..FRONTENDS).map(|number| entry(number, &format!("host-{number}.example"), 1)).collect();
    for number in 0..1000 {
        let key = format!("backends/backend-{number}/servers/s").into();
        entries.push(Entry { key, value: SERVER.into(), version: 1, created: 1, lease: None });
    }
    let event = Event::Snapshot(Snapshot { revision: Revision(1), entries });
    let now = Now::read();
    // One built before, so that what building takes for a moment is not counted as what the image holds.
    let mut warm = Image::new(environment());
    drop(warm.apply(&event, now));
    let mut image = Image::new(environment());
    let before = resident_bytes();
    let start = Instant::now();
    let applied = image.apply(&event, now);
    println!("snapshot of {FRONTENDS}: {:?}, {} changes", start.elapsed(), applied.changes.len());
    let mut table = table::Table::empty(2);
    let compiling = Instant::now();
    table = table::compile(&table, applied.revision, applied.hash, &applied.changes);
    println!("compiled: {:?}", compiling.elapsed());
    drop(applied);
    println!("resident, with the table: {} MB", resident_bytes().saturating_sub(before) / 1_000_000);
    drop(warm);
    let mut times: Vec<_> = (0..2000_usize)
        .map(|turn| {
            let number = turn * 7919 % FRONTENDS;
            let change = Change::Put(entry(number, &format!("moved-{turn}.example"), turn as u64 + 2));
            let event = Event::Batch(Batch { revision: Revision(turn as u64 + 2), changes: vec![change] });
            let start = Instant::now();
            let applied = image.apply(&event, now);
            let took = start.elapsed();
            let start = Instant::now();
            table = table::compile(&table, applied.revision, applied.hash, &applied.changes);
            (took, start.elapsed())
        })
        .collect();
    for (what, part) in [("apply", 0), ("compile", 1)] {
        times.sort_by_key(|(apply, compile)| if part == 0 { *apply } else { *compile });
        let at = |place: usize| if part == 0 { times[place].0 } else { times[place].1 };
        println!("{what} an edit: median {:?}, p99 {:?}, longest {:?}", at(1000), at(1980), at(1999));
    }
    let start = Instant::now();
    assert!(image.apply(&event, now).changes.len() <= 2000);
    println!("the same snapshot again: {:?}", start.elapsed());
    let start = Instant::now();
    println!("records for a base: {} in {:?}", image.records().len(), start.elapsed());
    let event = Event::Snapshot(Snapshot { revision: Revision(9), entries: Vec::new() });
    let start = Instant::now();
    println!(
        "wiped: {} changes in {:?}, {} held",
        image.apply(&event, now).changes.len(),
        start.elapsed(),
        image.held()
    );
    println!("slot {} bytes, key {} bytes", size_of::<form::Slot>(), size_of::<ObjectKey>());
}
