//! Splits an expression into tokens: Go's strings, numbers, names and operators.

use super::error::ExprError;

/// One token and where it begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// Counts characters from 1.
    pub column: usize,
}

/// What a token is.
#[derive(Debug, Clone, PartialEq)]
pub enum TokenKind {
    /// A name: a letter or `_`, then letters, digits and `_`; ASCII.
    Name(Box<str>),
    /// `"..."` or back quotes; the value, not the source.
    Text(Box<str>),
    /// Decimal digits.
    Int(i64),
    /// Digits with a fraction, an exponent or both.
    Float(f64),
    /// `&&`
    And,
    /// `||`
    Or,
    /// `!`
    Not,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterEqual,
    /// `(`
    Open,
    /// `)`
    Close,
    /// `,`
    Comma,
    /// The expression ends here; always the last token, and only there.
    End,
}

impl TokenKind {
    /// How an error names it.
    pub fn describe(&self) -> String {
        let operator = match self {
            TokenKind::Name(name) => return format!("`{name}`"),
            TokenKind::Text(_) => return "a string".into(),
            TokenKind::Int(number) => return format!("the number {number}"),
            TokenKind::Float(number) => return format!("the number {number}"),
            TokenKind::End => return "the end".into(),
            TokenKind::And => "&&",
            TokenKind::Or => "||",
            TokenKind::Not => "!",
            TokenKind::Equal => "==",
            TokenKind::NotEqual => "!=",
            TokenKind::Less => "<",
            TokenKind::LessEqual => "<=",
            TokenKind::Greater => ">",
            TokenKind::GreaterEqual => ">=",
            TokenKind::Open => "(",
            TokenKind::Close => ")",
            TokenKind::Comma => ",",
        };
        format!("`{operator}`")
    }
}

/// All tokens of `text`, with [`TokenKind::End`] last. Blanks and line ends separate tokens and mean nothing else.
pub fn tokens(text: &str) -> Result<Vec<Token>, ExprError> {
    let mut lexer = Lexer { rest: text, column: 1 };
    let mut found = Vec::new();
    loop {
        let token = lexer.next()?;
        let last = token.kind == TokenKind::End;
        found.push(token);
        if last {
            return Ok(found);
        }
    }
}

struct Lexer<'a> {
    rest: &'a str,
    column: usize,
}

impl<'a> Lexer<'a> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let mut characters = self.rest.chars();
        let first = characters.next()?;
        self.rest = characters.as_str();
        self.column += 1;
        Some(first)
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let before = self.rest;
        while self.peek().is_some_and(&accept) {
            self.bump();
        }
        before.get(..before.len() - self.rest.len()).unwrap_or_default()
    }

    fn next(&mut self) -> Result<Token, ExprError> {
        self.take_while(|c| matches!(c, ' ' | '\t' | '\r' | '\n'));
        let column = self.column;
        let Some(first) = self.peek() else {
            return Ok(Token { kind: TokenKind::End, column });
        };
        let kind = match first {
            'a'..='z' | 'A'..='Z' | '_' => {
                TokenKind::Name(self.take_while(|c| c.is_ascii_alphanumeric() || c == '_').into())
            }
            '0'..='9' => self.number(column)?,
            '"' => TokenKind::Text(self.interpreted(column)?.into()),
            '`' => TokenKind::Text(self.raw(column)?.into()),
            _ => self.operator(first, column)?,
        };
        Ok(Token { kind, column })
    }

    fn operator(&mut self, first: char, column: usize) -> Result<TokenKind, ExprError> {
        self.bump();
        let second = self.peek();
        let (kind, long) = match (first, second) {
            ('(', _) => (TokenKind::Open, false),
            (')', _) => (TokenKind::Close, false),
            (',', _) => (TokenKind::Comma, false),
            ('&', Some('&')) => (TokenKind::And, true),
            ('|', Some('|')) => (TokenKind::Or, true),
            ('=', Some('=')) => (TokenKind::Equal, true),
            ('!', Some('=')) => (TokenKind::NotEqual, true),
            ('<', Some('=')) => (TokenKind::LessEqual, true),
            ('>', Some('=')) => (TokenKind::GreaterEqual, true),
            ('!', _) => (TokenKind::Not, false),
            ('<', _) => (TokenKind::Less, false),
            ('>', _) => (TokenKind::Greater, false),
            ('&' | '|' | '=', _) => {
                return Err(ExprError::new(column, format!("a single `{first}`"))
                    .hint(format!("write `{first}{first}`")));
            }
            ('\'' | '\u{201c}' | '\u{201d}', _) => {
                return Err(ExprError::new(column, format!("unexpected {first:?}"))
                    .hint("strings stand in \"...\" or back quotes"));
            }
            _ => return Err(ExprError::new(column, format!("unexpected {first:?}"))),
        };
        if long {
            self.bump();
        }
        Ok(kind)
    }

    fn number(&mut self, column: usize) -> Result<TokenKind, ExprError> {
        let start = self.rest;
        self.take_while(|c| c.is_ascii_digit());
        let mut float = false;
        if self.peek() == Some('.') {
            float = true;
            self.bump();
            self.take_while(|c| c.is_ascii_digit());
        }
        if matches!(self.peek(), Some('e' | 'E')) {
            float = true;
            self.bump();
            if matches!(self.peek(), Some('+' | '-')) {
                self.bump();
            }
            self.take_while(|c| c.is_ascii_digit());
        }
        let text = start.get(..start.len() - self.rest.len()).unwrap_or_default();
        let kind = match float {
            true => text.parse().ok().filter(|number: &f64| number.is_finite()).map(TokenKind::Float),
            false => text.parse().ok().map(TokenKind::Int),
        };
        kind.ok_or_else(|| ExprError::new(column, format!("`{text}` is not a number that fits")))
    }

    fn raw(&mut self, column: usize) -> Result<String, ExprError> {
        self.bump();
        let value = self.take_while(|c| c != '`');
        match self.bump() {
            Some(_) => Ok(value.chars().filter(|c| *c != '\r').collect()),
            None => {
                Err(ExprError::new(column, "this string does not end").hint("close it with a back quote"))
            }
        }
    }

    fn interpreted(&mut self, column: usize) -> Result<String, ExprError> {
        self.bump();
        let mut bytes = Vec::new();
        loop {
            let at = self.column;
            match self.bump() {
                Some('"') => break,
                Some('\\') => self.escape(at, &mut bytes)?,
                Some('\n') | None => {
                    return Err(ExprError::new(column, "this string does not end").hint("close it with `\"`"));
                }
                Some(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        String::from_utf8(bytes).map_err(|_| {
            ExprError::new(column, "the escapes of this string do not make UTF-8")
                .hint("write characters beyond ASCII as they are, or as \\u and four hexadecimal digits")
        })
    }

    /// One escape of Go's interpreted strings, behind the backslash at column `at`.
    fn escape(&mut self, at: usize, bytes: &mut Vec<u8>) -> Result<(), ExprError> {
        let plain = match self.bump() {
            Some('a') => 0x07,
            Some('b') => 0x08,
            Some('f') => 0x0c,
            Some('n') => b'\n',
            Some('r') => b'\r',
            Some('t') => b'\t',
            Some('v') => 0x0b,
            Some('\\') => b'\\',
            Some('"') => b'"',
            Some('x') => {
                bytes.push(u8::try_from(self.digits(at, 2, 16, 0)?).unwrap_or_default());
                return Ok(());
            }
            Some('u') => return self.character(at, 4, bytes),
            Some('U') => return self.character(at, 8, bytes),
            Some(c @ '0'..='7') => {
                let value = self.digits(at, 2, 8, c.to_digit(8).unwrap_or_default())?;
                let byte = u8::try_from(value)
                    .map_err(|_| ExprError::new(at, "an octal escape goes up to \\377"))?;
                bytes.push(byte);
                return Ok(());
            }
            Some(c) => {
                return Err(ExprError::new(at, format!("unknown escape `\\{c}`"))
                    .hint("double the backslash, or use back quotes, where backslashes are plain"));
            }
            None => return Err(ExprError::new(at, "an escape is cut off")),
        };
        bytes.push(plain);
        Ok(())
    }

    fn character(&mut self, at: usize, count: usize, bytes: &mut Vec<u8>) -> Result<(), ExprError> {
        let value = self.digits(at, count, 16, 0)?;
        let c = char::from_u32(value)
            .ok_or_else(|| ExprError::new(at, format!("U+{value:04X} is not a character")))?;
        bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }

    fn digits(&mut self, at: usize, count: usize, radix: u32, first: u32) -> Result<u32, ExprError> {
        let mut value = first;
        for _ in 0..count {
            let digit = self.peek().and_then(|c| c.to_digit(radix)).ok_or_else(|| {
                ExprError::new(at, format!("this escape wants {count} more digits of base {radix}"))
            })?;
            self.bump();
            value = value.wrapping_mul(radix).wrapping_add(digit);
        }
        Ok(value)
    }
}
