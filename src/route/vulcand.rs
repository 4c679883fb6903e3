//! The order in which vulcand prefers routes, for those who moved from it.
//!
//! Vulcand sorts the texts of all expressions in descending byte order and tries them one by one. Neighbours that have
//! only `Host`, `Path`, `Method` and `Header` are merged into one trie over the characters of what they ask for, as long
//! as they ask for similar parts of a request; a trie is searched depth first. What a trie prefers does not depend on the
//! request, so each route has one place in one order, which [`positions`] computes: where expressions part in a trie,
//! the branches that were merged more than once come first, the one merged last before the others, and then those that
//! were met once, in the order of the texts. That is why a letter beats a parameter and a digit loses to it, until a second
//! expression goes through that parameter.
//!
//! Only the order is vulcand's. A route matches what it says, also where vulcand's trie loses it: vulcand compares all
//! but the last part of two expressions before it merges them, and then reads the last part of the first as if it were
//! that of the second; and a parameter in front of a `Method` or a `Header` swallows it.

use crate::expr::shape::{self, INT, Names};
use crate::expr::{Matcher, Route};
use crate::model::FrontendId;
use foldhash::HashMap;
use std::sync::Arc;

/// What one expression asks for, as vulcand's router takes it.
#[derive(Debug)]
pub(super) struct Written {
    text: Box<str>,
    /// `None`: it is tried by itself, as it has a regular expression.
    trie: Option<Trie>,
}

/// An expression that can become a part of a trie.
#[derive(Debug)]
struct Trie {
    parts: Box<[Part]>,
    tokens: Box<[Token]>,
}

/// A part of a request, by which vulcand tells apart what can be merged.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Host,
    Path,
    Method,
    Header(Box<str>),
}

/// One step in a trie.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Token {
    Byte(u8),
    Parameter(u8, Box<str>),
    /// From one part of the request to the next.
    Next,
}

impl Written {
    /// `None` where vulcand has no such expression.
    pub(super) fn new(route: &Route) -> Option<Self> {
        let matchers = route.conjunction()?;
        let is_known = |matcher: &Matcher| match matcher {
            // To vulcand `*` is a character.
            Matcher::Host(host) => host.shape().bytes().next() != Some(shape::ANY),
            Matcher::PathPrefix(_) | Matcher::Query(..) | Matcher::Cookie(..) | Matcher::ClientIp(_) => false,
            _ => true,
        };
        if !matchers.iter().all(is_known) {
            return None;
        }
        Some(Self { text: route.text().into(), trie: Trie::new(&matchers) })
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

impl Trie {
    fn new(matchers: &[Matcher]) -> Option<Self> {
        let (mut parts, mut tokens) = (Vec::with_capacity(matchers.len()), Vec::new());
        for (index, matcher) in matchers.iter().enumerate() {
            if index > 0 {
                tokens.push(Token::Next);
            }
            let part = match matcher {
                Matcher::Host(host) => push_shape(&mut tokens, host.shape(), host.names(), Part::Host),
                Matcher::Path(path) => push_shape(&mut tokens, path.shape(), path.names(), Part::Path),
                Matcher::Method(method) => push_shape(&mut tokens, method, &None, Part::Method),
                Matcher::Header(name, value) => {
                    push_shape(&mut tokens, value, &None, Part::Header(name.clone()))
                }
                _ => return None,
            };
            parts.push(part);
        }
        Some(Self { parts: parts.into(), tokens: tokens.into() })
    }
}

impl Trie {
    /// A parameter at the end of a part goes on into the next one: up to the first separator of that, which a path begins
    /// with, and the rest of everything takes all.
    fn is_swallowed(&self) -> bool {
        let mut part = 0;
        self.tokens.windows(2).any(|pair| match pair {
            [before, Token::Next] => {
                part += 1;
                let next_is_path = self.parts.get(part) == Some(&Part::Path);
                matches!(before, Token::Parameter(kind, _) if *kind == shape::REST || !next_is_path)
            }
            _ => false,
        })
    }
}

fn push_shape(tokens: &mut Vec<Token>, shape: &str, names: &Names, part: Part) -> Part {
    let mut names = names.iter().flat_map(|names| names.iter());
    tokens.extend(shape.bytes().map(|byte| match byte {
        byte if shape::is_parameter(byte) && byte >= INT => match names.next() {
            Some(name) => Token::Parameter(byte, name.clone()),
            None => Token::Byte(byte),
        },
        byte => Token::Byte(byte),
    }));
    part
}

/// The parts of a trie that two may be merged into, as vulcand decides it: one of them is not compared.
fn merged<'w>(left: &'w [Part], right: &'w [Part]) -> Option<&'w [Part]> {
    match (left, right) {
        ([a], [b]) => (a == b).then_some(left),
        ([_], _) | (_, [_]) => None,
        _ => {
            let (longer, shorter) = if left.len() > right.len() { (left, right) } else { (right, left) };
            let compared = shorter.len().saturating_sub(1);
            let same = longer.iter().zip(shorter).take(compared).all(|(a, b)| a == b);
            same.then_some(longer)
        }
    }
}

/// Neighbours in the order of the texts, merged into one trie; or one that is tried by itself.
struct Run<'w> {
    members: Vec<(&'w FrontendId, &'w Trie)>,
    /// What the trie takes its parts for: those of the longest, or of the last among the longest.
    parts: &'w [Part],
    alone: Option<&'w FrontendId>,
}

fn runs<'w>(written: impl Iterator<Item = (&'w FrontendId, &'w Written)>) -> Vec<Run<'w>> {
    let mut all: Vec<(&FrontendId, &Written)> = written.collect();
    all.sort_unstable_by(|(a_id, a), (b_id, b)| b.text.cmp(&a.text).then_with(|| a_id.cmp(b_id)));
    let mut runs: Vec<Run<'w>> = Vec::new();
    for (id, written) in all {
        let Some(trie) = &written.trie else {
            runs.push(Run { members: Vec::new(), parts: &[], alone: Some(id) });
            continue;
        };
        let last = runs.last_mut().filter(|run| run.alone.is_none());
        match last.and_then(|run| merged(run.parts, &trie.parts).map(|both| (run, both))) {
            Some((run, both)) => {
                run.parts = both;
                run.members.push((id, trie));
            }
            None => runs.push(Run { members: vec![(id, trie)], parts: &trie.parts, alone: None }),
        }
    }
    runs
}

/// Whether vulcand has such an expression: a conjunction of the matchers that it knows, none of them negated.
pub fn is_vulcands(route: &Route) -> bool {
    Written::new(route).is_some()
}

/// The routes that vulcand never finds, each with why, although its router takes them. Expressions that it does not have
/// are passed over.
pub fn lost_by_vulcand<'r>(
    routes: impl Iterator<Item = (&'r FrontendId, &'r Route)>,
) -> Vec<(&'r FrontendId, &'static str)> {
    let written: Vec<(&FrontendId, Written)> =
        routes.filter_map(|(id, route)| Some((id, Written::new(route)?))).collect();
    let mut lost = Vec::new();
    for run in runs(written.iter().map(|(id, written)| (*id, written))) {
        for (id, trie) in &run.members {
            if !run.parts.starts_with(&trie.parts) {
                let why = "is merged with its neighbours, and its last matcher then looks at another part of a request";
                lost.push((*id, why));
            } else if trie.is_swallowed() {
                lost.push((*id, "has a parameter that swallows what the next matcher looks at"));
            }
        }
    }
    let lost: HashMap<FrontendId, &'static str> =
        lost.into_iter().map(|(id, why)| (id.clone(), why)).collect();
    written.into_iter().filter_map(|(id, _)| Some((id, *lost.get(id)?))).collect()
}

/// Where each route stands in vulcand's order, from 0. Costs time in proportion to the length of all expressions, and
/// to sort them.
pub(super) fn positions<'w>(
    written: impl Iterator<Item = (&'w FrontendId, &'w Arc<Written>)>,
) -> HashMap<FrontendId, u32> {
    let mut order = Vec::new();
    for run in runs(written.map(|(id, written)| (id, &**written))) {
        order.extend(run.alone);
        in_trie(run.members, &mut order);
    }
    order.into_iter().cloned().zip(0..).collect()
}

/// What is left to put in order, with what all of it has in common.
enum Left<'w> {
    Branch(Vec<(&'w FrontendId, &'w Trie)>, usize),
    Ends(Vec<&'w FrontendId>),
}

/// Puts the routes of one trie in the order of its search: below a node the branches, then what ends there. The stack
/// is on the heap, as a trie is as deep as an expression is long.
fn in_trie<'w>(run: Vec<(&'w FrontendId, &'w Trie)>, order: &mut Vec<&'w FrontendId>) {
    let mut stack = vec![Left::Branch(run, 0)];
    while let Some(left) = stack.pop() {
        match left {
            Left::Ends(ids) => order.extend(ids),
            Left::Branch(routes, depth) => match routes.as_slice() {
                [] => {}
                [(id, _)] => order.push(id),
                _ => part(routes, depth, &mut stack),
            },
        }
    }
}

fn part<'w>(routes: Vec<(&'w FrontendId, &'w Trie)>, mut depth: usize, stack: &mut Vec<Left<'w>>) {
    let step = |trie: &'w Trie, depth: usize| trie.tokens.get(depth);
    if let Some((_, first)) = routes.first() {
        while let Some(token) = step(first, depth)
            && routes.iter().all(|(_, trie)| step(trie, depth) == Some(token))
        {
            depth += 1;
        }
    }
    let (mut ends, mut places) = (Vec::new(), HashMap::<&Token, usize>::default());
    // Each with when its last route came.
    let mut branches: Vec<(Vec<(&FrontendId, &Trie)>, usize)> = Vec::new();
    for (arrival, (id, trie)) in routes.into_iter().enumerate() {
        let Some(token) = step(trie, depth) else {
            ends.push(id);
            continue;
        };
        let place = *places.entry(token).or_insert(branches.len());
        if place == branches.len() {
            branches.push((Vec::new(), arrival));
        }
        if let Some((branch, last)) = branches.get_mut(place) {
            branch.push((id, trie));
            *last = arrival;
        }
    }
    // The stack gives back last what is put on it first.
    stack.push(Left::Ends(ends));
    branches.sort_by_key(|(branch, last)| match branch.len() {
        1 => (1, *last),
        _ => (0, usize::MAX - *last),
    });
    stack.extend(branches.into_iter().rev().map(|(branch, _)| Left::Branch(branch, depth + 1)));
}
