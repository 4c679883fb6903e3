//! The router's promises at 100,000 routes, in four shapes of tables: a look-up over a working set of 100 costs at most
//! twice what it costs in a table of 10, and a uniformly random one at most 600 ns. Exit code 1 if one is broken.
//!
//! Times are medians of several rounds; memory is what the allocator handed out.
#![allow(unsafe_code, clippy::unwrap_used, clippy::print_stdout, clippy::indexing_slicing, missing_docs)]

use flipgate::expr::Route;
use flipgate::model::FrontendId;
use flipgate::route::{NoLookup, Params, Query, Router};
use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

const ROUTES: usize = 100_000;
const WORKING_SET: usize = 100;
/// Short rounds, many of them: a median is then not moved by what else the machine does.
const ROUNDS: usize = 300;
const ROUND_LOOKUPS: usize = 4_000;
const LOOKUPS: usize = 100_000;
const EDITS: usize = 2_000;
const RATIO_MAX: f64 = 2.0;
const RANDOM_NS_MAX: f64 = 600.0;

struct Counting;

static BYTES: AtomicUsize = AtomicUsize::new(0);
static CALLS: AtomicUsize = AtomicUsize::new(0);

// Counts what is handed out and passes everything on.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.fetch_add(layout.size(), Relaxed);
        CALLS.fetch_add(1, Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Shape {
    name: &'static str,
    /// Host, pattern of the path and a path that matches it.
    route: fn(usize) -> (Option<String>, String, String),
}

const SHAPES: [Shape; 4] = [
    Shape {
        name: "100,000 hosts, 1 path",
        route: |n| (Some(format!("host{n}.example.com")), "/".into(), "/".into()),
    },
    Shape {
        name: "1 host, 100,000 paths",
        route: |n| {
            let path = format!("/section{}/page{n}", n % 100);
            (Some("www.example.com".into()), path.clone(), path)
        },
    },
    Shape {
        name: "1,000 hosts, 100 paths with parameters",
        route: |n| {
            let (host, path) = (n % 1000, n / 1000);
            (
                Some(format!("host{host}.example.com")),
                format!("/api/service{path}/<int:id>/items/<name>"),
                format!("/api/service{path}/{n}/items/first"),
            )
        },
    },
    Shape {
        name: "no hosts, 100,000 paths",
        route: |n| {
            let path = format!("/section{}/page{n}", n % 100);
            (None, path.clone(), path)
        },
    },
];

type Value = Arc<usize>;

struct Case {
    id: FrontendId,
    route: Route,
    host: String,
    path: String,
    value: Value,
}

impl Shape {
    fn cases(&self, count: usize) -> Vec<Case> {
        (0..count)
            .map(|n| {
                let (host, pattern, path) = (self.route)(n);
                let text = match &host {
                    Some(host) => format!("Host(\"{host}\") && Path(\"{pattern}\")"),
                    None => format!("Path(\"{pattern}\")"),
                };
                Case {
                    id: FrontendId::try_from(format!("frontend-{n}").as_str()).unwrap(),
                    route: Route::parse(&text).unwrap(),
                    host: host.unwrap_or_else(|| "www.example.com".into()),
                    path,
                    value: Arc::new(n),
                }
            })
            .collect()
    }
}

/// Small, and good enough to be without a pattern that a cache could learn.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

fn build(cases: &[Case]) -> Router<Value> {
    let mut router = Router::new();
    for case in cases {
        router.insert(&case.id, &case.route, 0, case.value.clone());
    }
    router
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Requests as a server has them: host and path lie one behind the other in one buffer, so that what is measured is the
/// router's memory and not the request's.
struct Requests {
    text: String,
    ends: Vec<(u32, u32)>,
    wanted: Vec<u32>,
}

fn requests(cases: &[Case], chosen: &[usize], chance: &mut Chance) -> Requests {
    let mut made = Requests { text: String::new(), ends: Vec::new(), wanted: Vec::new() };
    for _ in 0..LOOKUPS {
        let index = chosen[chance.below(chosen.len())];
        made.text.push_str(&cases[index].host);
        let host_end = made.text.len() as u32;
        made.text.push_str(&cases[index].path);
        made.ends.push((host_end, made.text.len() as u32));
        made.wanted.push(index as u32);
    }
    made
}

/// Nanoseconds of one look-up, in round `round`.
fn find(router: &Router<Value>, requests: &Requests, round: usize) -> f64 {
    let mut params = Params::new();
    let first = round * ROUND_LOOKUPS % LOOKUPS;
    let ends = &requests.ends[first..first + ROUND_LOOKUPS];
    let mut start = first.checked_sub(1).map_or(0, |before| requests.ends[before].1 as usize);
    let before = Instant::now();
    for (host_end, end) in ends {
        let query = Query {
            host: &requests.text[start..*host_end as usize],
            path: &requests.text[*host_end as usize..*end as usize],
            method: "GET",
            client: None,
            lookup: &NoLookup,
        };
        black_box(router.find(black_box(&query), &mut params));
        start = *end as usize;
    }
    before.elapsed().as_nanos() as f64 / ends.len() as f64
}

/// Every answer is the right one, and none allocates.
fn verify(router: &Router<Value>, requests: &Requests) {
    let mut params = Params::new();
    let mut start = 0;
    let calls = CALLS.load(Relaxed);
    for ((host_end, end), wanted) in requests.ends.iter().zip(&requests.wanted) {
        let query = Query {
            host: &requests.text[start..*host_end as usize],
            path: &requests.text[*host_end as usize..*end as usize],
            method: "GET",
            client: None,
            lookup: &NoLookup,
        };
        assert_eq!(**router.find(&query, &mut params).unwrap(), *wanted as usize);
        start = *end as usize;
    }
    assert_eq!(CALLS.load(Relaxed), calls, "a look-up allocates");
}

/// Microseconds of one removal and of one insertion, each on a clone of its own, with the clone and its end.
fn edit(router: &Router<Value>, cases: &[Case], chance: &mut Chance) -> (f64, f64) {
    let (mut removing, mut inserting) = (Vec::new(), Vec::new());
    for _ in 0..EDITS {
        let case = &cases[chance.below(cases.len())];
        let before = Instant::now();
        let mut without = router.clone();
        without.remove(&case.id, &case.route, 0);
        removing.push(before.elapsed().as_nanos() as f64 / 1000.0);
        assert_eq!(without.len(), router.len() - 1);
        let before = Instant::now();
        let mut with = without.clone();
        with.insert(&case.id, &case.route, 0, case.value.clone());
        inserting.push(before.elapsed().as_nanos() as f64 / 1000.0);
        assert_eq!(with.len(), router.len());
    }
    (median(removing), median(inserting))
}

fn main() {
    // `cargo test --benches` runs this too, and a debug build has nothing to say.
    if cfg!(debug_assertions) {
        println!("run with `cargo bench --bench router`");
        return;
    }
    println!(
        "{:40} {:>8} {:>8} {:>8} {:>8} {:>6} {:>9} {:>9} {:>7}",
        "shape", "of 10", "set 100", "random", "(best)", "ratio", "remove", "insert", "memory"
    );
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let mut broken = false;
    for shape in &SHAPES {
        let cases = shape.cases(ROUTES);
        let few = build(&cases[..10]);
        let before = BYTES.load(Relaxed);
        let router = build(&cases);
        let bytes = (BYTES.load(Relaxed) - before) / ROUTES;

        let of_10 = requests(&cases, &Vec::from_iter(0..10), &mut chance);
        let set: Vec<usize> = (0..WORKING_SET).map(|_| chance.below(ROUTES)).collect();
        let set = requests(&cases, &set, &mut chance);
        let random = requests(&cases, &Vec::from_iter(0..ROUTES), &mut chance);
        verify(&few, &of_10);
        verify(&router, &set);
        verify(&router, &random);

        // The two that are compared take turns, so that both see the same machine.
        let (mut of_10_times, mut set_times, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let (small, large) = (find(&few, &of_10, round), find(&router, &set, round));
            of_10_times.push(small);
            set_times.push(large);
            ratios.push(large / small);
        }
        let random_times = Vec::from_iter((0..ROUNDS).map(|round| find(&router, &random, round)));
        let best = random_times.iter().copied().fold(f64::INFINITY, f64::min);
        let [of_10, set, random] = [of_10_times, set_times, random_times].map(median);
        let ratio = median(ratios);
        let (remove, insert) = edit(&router, &cases, &mut chance);
        let verdict = match ratio > RATIO_MAX || random > RANDOM_NS_MAX {
            true => "  BROKEN",
            false => "",
        };
        broken |= !verdict.is_empty();
        println!(
            "{:40} {of_10:>5.0} ns {set:>5.0} ns {random:>5.0} ns {best:>5.0} ns {ratio:>6.2} {remove:>6.1} us {insert:>6.1} us {bytes:>5} B{verdict}",
            shape.name
        );
    }
    println!("promised: ratio at most {RATIO_MAX}, random at most {RANDOM_NS_MAX} ns");
    std::process::exit(i32::from(broken));
}
