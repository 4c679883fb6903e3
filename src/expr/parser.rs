//! The grammar of routes.

use super::error::{ExprError, nearest};
use super::lexer::{Token, TokenKind, tokens};
use super::matcher::{Matcher, NAMES};
use super::pattern::Pattern;
use super::route::NESTING_MAX;
use super::shape::{HostPattern, PathPattern};
use super::text::is_token;
use ipnet::IpNet;
use std::net::IpAddr;

/// An expression as it was written.
pub(super) enum Node {
    Matcher(Matcher),
    Not(Box<Node>),
    And(Vec<Node>),
    /// With the column of the first `||`.
    Or(Vec<Node>, usize),
}

/// Parses a whole expression.
pub(super) fn parse(text: &str) -> Result<Node, ExprError> {
    let tokens = tokens(text)?;
    let mut parser = Parser { tokens: &tokens, nesting: 0 };
    let node = parser.or()?;
    let last = parser.next();
    match last.kind {
        TokenKind::End => Ok(node),
        TokenKind::Close => Err(ExprError::new(last.column, "`)` without `(`")),
        other => Err(ExprError::new(last.column, format!("unexpected {}", other.describe()))
            .hint("matchers are joined by `&&` or `||`")),
    }
}

struct Parser<'a> {
    tokens: &'a [Token],
    nesting: usize,
}

impl Parser<'_> {
    fn peek(&self) -> &TokenKind {
        self.tokens.first().map_or(&TokenKind::End, |token| &token.kind)
    }

    fn column(&self) -> usize {
        self.tokens.first().map_or(1, |token| token.column)
    }

    /// The last token, which is `End`, is never taken away.
    fn next(&mut self) -> Token {
        let token = self.tokens.first().cloned().unwrap_or(Token { kind: TokenKind::End, column: 1 });
        if let [_, rest @ ..] = self.tokens
            && !rest.is_empty()
        {
            self.tokens = rest;
        }
        token
    }

    fn or(&mut self) -> Result<Node, ExprError> {
        let first = self.and()?;
        let column = self.column();
        let mut nodes = vec![first];
        while *self.peek() == TokenKind::Or {
            self.next();
            nodes.push(self.and()?);
        }
        Ok(single(nodes, |nodes| Node::Or(nodes, column)))
    }

    fn and(&mut self) -> Result<Node, ExprError> {
        let mut nodes = vec![self.unary()?];
        while *self.peek() == TokenKind::And {
            self.next();
            nodes.push(self.unary()?);
        }
        Ok(single(nodes, Node::And))
    }

    fn unary(&mut self) -> Result<Node, ExprError> {
        let token = self.next();
        self.nesting += 1;
        if self.nesting > NESTING_MAX {
            return Err(ExprError::new(token.column, format!("nested deeper than {NESTING_MAX}")));
        }
        let node = match token.kind {
            TokenKind::Not => Node::Not(Box::new(self.unary()?)),
            TokenKind::Open => {
                let node = self.or()?;
                let close = self.next();
                if close.kind != TokenKind::Close {
                    return Err(ExprError::new(
                        close.column,
                        format!(
                            "`)` is missing before {}: `(` at column {} is open",
                            close.kind.describe(),
                            token.column
                        ),
                    ));
                }
                node
            }
            TokenKind::Name(name) => Node::Matcher(self.matcher(&name, token.column)?),
            other => {
                return Err(ExprError::new(
                    token.column,
                    format!("a matcher is missing before {}", other.describe()),
                )
                .hint("for example Host(\"www.example.com\")"));
            }
        };
        self.nesting -= 1;
        Ok(node)
    }

    fn matcher(&mut self, name: &str, column: usize) -> Result<Matcher, ExprError> {
        if !NAMES.contains(&name) {
            let error = ExprError::new(column, format!("unknown matcher `{name}`"));
            return Err(match nearest(name, &NAMES) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint(format!("there are {}", NAMES.join(", "))),
            });
        }
        let arguments = self.arguments(name)?;
        let wanted = match name {
            "Header" | "HeaderRegexp" | "Query" | "Cookie" => 2,
            _ => 1,
        };
        let two = match (arguments.as_slice(), wanted) {
            ([one], 1) => (one, one),
            ([name, value], 2) => (name, value),
            _ => {
                let form = if wanted == 1 { "(\"...\")" } else { "(\"name\", \"value\")" };
                let problem = format!("`{name}` takes {wanted} strings, not {}", arguments.len());
                return Err(ExprError::new(column, problem.replace("1 strings", "1 string"))
                    .hint(format!("write {name}{form}")));
            }
        };
        build(name, two.0, two.1)
    }

    fn arguments(&mut self, name: &str) -> Result<Vec<Argument>, ExprError> {
        let open = self.next();
        if open.kind != TokenKind::Open {
            return Err(ExprError::new(open.column, format!("`(` is missing behind `{name}`"))
                .hint(format!("write {name}(\"...\")")));
        }
        let mut arguments = Vec::new();
        if *self.peek() == TokenKind::Close {
            self.next();
            return Ok(arguments);
        }
        loop {
            let token = self.next();
            let TokenKind::Text(text) = token.kind else {
                let problem = format!("`{name}` takes strings, not {}", token.kind.describe());
                return Err(
                    ExprError::new(token.column, problem).hint("strings stand in \"...\" or back quotes")
                );
            };
            arguments.push(Argument { text, column: token.column });
            let behind = self.next();
            match behind.kind {
                TokenKind::Comma => {}
                TokenKind::Close => return Ok(arguments),
                other => {
                    let problem = format!("expected `,` or `)`, found {}", other.describe());
                    return Err(ExprError::new(behind.column, problem));
                }
            }
        }
    }
}

struct Argument {
    text: Box<str>,
    column: usize,
}

impl Argument {
    fn error(&self, problem: impl Into<String>) -> ExprError {
        ExprError::new(self.column, problem)
    }

    fn pattern(&self) -> Result<Pattern, ExprError> {
        Pattern::new(&self.text).map_err(|invalid| self.error(invalid.to_string()))
    }

    /// A method, a field name or a cookie name (RFC 9110, 5.6.2).
    fn token(&self, what: &str) -> Result<&str, ExprError> {
        match is_token(&self.text) {
            true => Ok(&self.text),
            false => Err(self.error(format!("{:?} is not {what}", self.text))),
        }
    }
}

fn build(name: &str, first: &Argument, second: &Argument) -> Result<Matcher, ExprError> {
    let host = || HostPattern::new(&first.text).map_err(|problem| first.error(problem));
    let value = || second.text.clone();
    let field = || first.token("a field name").map(str::to_ascii_lowercase).map(Box::from);
    Ok(match name {
        "Host" => Matcher::Host(host()?),
        "HostRegexp" => Matcher::HostRegexp(first.pattern()?),
        "Path" => match PathPattern::exact(&first.text) {
            Ok(path) => Matcher::Path(path),
            Err(problem) => match rest_within_segment(first)? {
                Some(pattern) => Matcher::PathRegexp(pattern),
                None => return Err(first.error(problem)),
            },
        },
        "PathPrefix" => {
            Matcher::PathPrefix(PathPattern::prefix(&first.text).map_err(|problem| first.error(problem))?)
        }
        "PathRegexp" => Matcher::PathRegexp(first.pattern()?),
        "Method" => Matcher::Method(first.token("a method")?.into()),
        "MethodRegexp" => Matcher::MethodRegexp(first.pattern()?),
        "Header" => match with_parameters(second)? {
            Some(pattern) => Matcher::HeaderRegexp(field()?, pattern),
            None => Matcher::Header(field()?, value()),
        },
        "HeaderRegexp" => Matcher::HeaderRegexp(field()?, second.pattern()?),
        "Query" => Matcher::Query(first.text.clone(), value()),
        "Cookie" => Matcher::Cookie(first.token("a cookie name")?.into(), value()),
        _ => Matcher::ClientIp(network(first)?),
    })
}

/// A text with parameters, as a pattern for the whole value; `None`: it has none. As in vulcand `<name>` is
/// anything without a slash, `<int:name>` digits, `<path:name>` the rest.
fn with_parameters(value: &Argument) -> Result<Option<Pattern>, ExprError> {
    let (mut pattern, mut rest, mut found) = ("(?s)^".to_owned(), &*value.text, false);
    while let Some((before, parameter, behind)) = next_parameter(rest) {
        push_literal(&mut pattern, before);
        pattern.push_str(match parameter.split_once(':') {
            None | Some(("string", _)) => "[^/]*",
            Some(("int", _)) => "[0-9]+",
            Some(("path", _)) => ".*",
            Some((kind, _)) => {
                let problem = format!("`{kind}` is no kind of parameter");
                return Err(value.error(problem).hint("there are <name>, <int:name> and <path:name>"));
            }
        });
        (rest, found) = (behind, true);
    }
    if !found {
        return Ok(None);
    }
    push_literal(&mut pattern, rest);
    pattern.push('$');
    Pattern::new(&pattern).map(Some).map_err(|invalid| value.error(invalid.to_string()))
}

/// A path that ends in `<path:..>` behind a part of its segment, as vulcand allows it: `/static<path:rest>`.
fn rest_within_segment(path: &Argument) -> Result<Option<Pattern>, ExprError> {
    let before = path.text.strip_suffix('>').and_then(|text| text.rsplit_once("<path:")).map(|it| it.0);
    match before.is_some_and(|before| PathPattern::exact(before).is_ok()) {
        true => with_parameters(path),
        false => Ok(None),
    }
}

/// What stands before the first `<..>`, in it, and behind it.
fn next_parameter(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    loop {
        let start = from + text.get(from..)?.find('<')?;
        let inside = text.get(start + 1..)?;
        let end = inside.find('>')?;
        if end > 0 {
            return Some((text.get(..start)?, inside.get(..end)?, inside.get(end + 1..)?));
        }
        from = start + 1;
    }
}

fn push_literal(pattern: &mut String, text: &str) {
    for c in text.chars() {
        if r"\.+*?()|[]{}^$#&-~".contains(c) {
            pattern.push('\\');
        }
        pattern.push(c);
    }
}

fn network(argument: &Argument) -> Result<IpNet, ExprError> {
    if let Ok(address) = argument.text.parse::<IpAddr>() {
        return Ok(IpNet::from(address.to_canonical()));
    }
    let net: IpNet = argument.text.parse().map_err(|_| {
        argument
            .error(format!("{:?} is neither an address nor a network", argument.text))
            .hint("for example \"192.0.2.7\", \"192.0.2.0/24\" or \"2001:db8::/32\"")
    })?;
    Ok(net.trunc())
}

fn single(mut nodes: Vec<Node>, join: impl FnOnce(Vec<Node>) -> Node) -> Node {
    match (nodes.len(), nodes.pop()) {
        (1, Some(node)) => node,
        (_, Some(last)) => {
            nodes.push(last);
            join(nodes)
        }
        (_, None) => join(nodes),
    }
}
