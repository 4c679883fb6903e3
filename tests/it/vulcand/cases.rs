//! The cases as data: files in `cases/`, each of key sets with requests.
//!
//! ```text
//! = NAME [live] [order] [alone]   a set; its names begin with it, and its host is NAME.test
//! route ID BACKEND EXPRESSION       a frontend; ID `@` is NAME, `@x` is NAME-x
//! KEY JSON                          any key
//! > METHOD TARGET [xN] [on LISTENER] -> STATUS [SERVER]
//!   Name: value                     a field of it; `Host` in place of NAME.test; `PROXY` before it all
//!   | text                          its body; `|+` the same, chunked
//! ws TARGET -> 101 a                a websocket
//! hold METHOD TARGET -> ..          is sent, and stays open to `release`
//! release
//! sleep MILLISECONDS
//! ```
//!
//! `@` stands for the set's name, `{a}` for a server's address. What follows `->` is vulcand's answer, so that a case
//! cannot become empty; status 0 is none at all. `any`: the server is left to chance. `live`: the set's keys are written
//! while both proxies run. `order`: also asked of a proxy with vulcand's order of routes. `alone`: of Flipgate only, where
//! vulcand has no such thing built in.

/// A set of keys, and what is asked of it.
#[derive(Debug, Clone)]
pub struct Set {
    pub name: String,
    pub live: bool,
    /// Also asked of a proxy with vulcand's order of routes.
    pub order: bool,
    /// Asked of Flipgate alone: vulcand has no such thing built in.
    pub alone: bool,
    pub keys: Vec<(String, String)>,
    pub steps: Vec<Step>,
}

#[derive(Debug, Clone)]
pub enum Step {
    Ask(Ask),
    Release,
    Sleep(u64),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Plain,
    Hold,
    Websocket,
}

/// One request, sent `times` times.
#[derive(Debug, Clone)]
pub struct Ask {
    pub kind: Kind,
    pub method: String,
    pub target: String,
    pub times: usize,
    /// Id of the listener it is sent to.
    pub listener: String,
    /// What a proxy before says of the client, in the PROXY protocol's first version.
    pub proxy: Option<String>,
    pub fields: Vec<(String, String)>,
    pub body: Option<String>,
    pub chunked: bool,
    /// 0: the connection is closed without one.
    pub status: u16,
    /// `None`: nobody's but vulcand's own answer. `any`: some server's.
    pub server: Option<String>,
}

const FILES: [(&str, &str); 8] = [
    ("routes", include_str!("cases/routes.txt")),
    ("order", include_str!("cases/order.txt")),
    ("rewrites", include_str!("cases/rewrites.txt")),
    ("headers", include_str!("cases/headers.txt")),
    ("bodies", include_str!("cases/bodies.txt")),
    ("servers", include_str!("cases/servers.txt")),
    ("listeners", include_str!("cases/listeners.txt")),
    ("limits", include_str!("cases/limits.txt")),
];

/// All sets of all files.
pub fn all() -> Vec<Set> {
    let sets = FILES.iter().flat_map(|(file, text)| parse(file, text)).collect::<Vec<_>>();
    let mut names = sets.iter().map(|set| set.name.as_str()).collect::<Vec<_>>();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), sets.len(), "a name stands for two sets");
    sets
}

fn parse(file: &str, text: &str) -> Vec<Set> {
    let mut sets: Vec<Set> = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let wrong = || -> ! { panic!("cases/{file}.txt:{number}: what is {line:?}?") };
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(head) = line.strip_prefix("= ") {
            let words = head.split(' ').collect::<Vec<_>>();
            let has = |word| words.contains(&word);
            let (live, order, alone) = (has("live"), has("order"), has("alone"));
            let name = words[0].to_owned();
            sets.push(Set { name, live, order, alone, keys: Vec::new(), steps: Vec::new() });
            continue;
        }
        let Some(set) = sets.last_mut() else { wrong() };
        let line = line.replace('@', &set.name);
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match word {
            "" => {
                let Some(Step::Ask(ask)) = set.steps.last_mut() else { wrong() };
                detail(ask, rest.trim_start()).unwrap_or_else(|| wrong());
            }
            ">" => set.steps.push(Step::Ask(ask(Kind::Plain, rest, &set.name).unwrap_or_else(|| wrong()))),
            "hold" => set.steps.push(Step::Ask(ask(Kind::Hold, rest, &set.name).unwrap_or_else(|| wrong()))),
            "ws" => {
                let line = format!("GET {rest}");
                set.steps.push(Step::Ask(ask(Kind::Websocket, &line, &set.name).unwrap_or_else(|| wrong())));
            }
            "release" => set.steps.push(Step::Release),
            "sleep" => set.steps.push(Step::Sleep(rest.parse().unwrap_or_else(|_| wrong()))),
            "route" => {
                let mut parts = rest.splitn(3, ' ');
                let (Some(id), Some(backend), Some(route)) = (parts.next(), parts.next(), parts.next())
                else {
                    wrong()
                };
                let value = serde_json::json!({"Type": "http", "BackendId": backend, "Route": route});
                set.keys.push((format!("frontends/{id}/frontend"), value.to_string()));
            }
            key if key.contains('/') => set.keys.push((key.to_owned(), rest.to_owned())),
            _ => wrong(),
        }
    }
    sets
}

fn ask(kind: Kind, line: &str, set: &str) -> Option<Ask> {
    let (request, answer) = line.split_once(" -> ")?;
    let mut words = request.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (mut times, mut listener) = (1, "http".to_owned());
    while let Some(word) = words.next() {
        match word.strip_prefix('x') {
            Some(count) => times = count.parse().ok()?,
            None if word == "on" => listener = words.next()?.to_owned(),
            None => return None,
        }
    }
    let (status, server) = match answer.split_once(' ') {
        Some((status, server)) => (status, Some(server.to_owned())),
        None => (answer, None),
    };
    let status = status.parse().ok()?;
    let fields = vec![("Host".to_owned(), format!("{set}.test"))];
    Some(Ask {
        kind,
        method,
        target,
        times,
        listener,
        proxy: None,
        fields,
        body: None,
        chunked: false,
        status,
        server,
    })
}

fn detail(ask: &mut Ask, text: &str) -> Option<()> {
    if let Some(body) = text.strip_prefix('|') {
        let (chunked, body) = body.strip_prefix('+').map_or((false, body), |body| (true, body));
        ask.chunked = chunked;
        ask.body = Some(body.strip_prefix(' ').unwrap_or(body).to_owned());
        return Some(());
    }
    let (name, value) = text.split_once(':')?;
    let value = value.trim_start().to_owned();
    if name == "PROXY" {
        ask.proxy = Some(value);
    } else if name.eq_ignore_ascii_case("host") {
        ask.fields.retain(|(other, _)| !other.eq_ignore_ascii_case("host"));
        ask.fields.insert(0, (name.to_owned(), value));
    } else {
        ask.fields.push((name.to_owned(), value));
    }
    Some(())
}
