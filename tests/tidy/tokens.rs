//! Enough of Rust's lexer to see identifiers and punctuation without comments, strings or test-only items.

/// An identifier or one punctuation character, with its line (from 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
}

impl Token {
    pub(crate) fn is(&self, text: &str) -> bool {
        self.text == text
    }

    pub(crate) fn is_ident(&self) -> bool {
        self.text.starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

/// All tokens outside comments and literals. Literals leave a `"` so that neighbours do not join.
pub(crate) fn lex(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let mut lexer = Lexer { chars, at: 0, line: 1, tokens: Vec::new() };
    while lexer.at < lexer.chars.len() {
        lexer.step();
    }
    lexer.tokens
}

/// The tokens without items under `#[cfg(test)]` or `#[cfg(all(test, …))]`.
pub(crate) fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if let Some(end) = test_item(tokens, at) {
            at = end;
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

/// Physical lines that do not belong to a test-only item.
pub(crate) fn non_test_lines(source: &str) -> usize {
    let tokens = lex(source);
    let mut lines = source.lines().count();
    let mut at = 0;
    while at < tokens.len() {
        if let Some(end) = test_item(&tokens, at) {
            lines -= tokens[end - 1].line - tokens[at].line + 1;
            at = end;
        } else {
            at += 1;
        }
    }
    lines
}

/// If a test-only item starts at `at`: the index after its last token.
fn test_item(tokens: &[Token], at: usize) -> Option<usize> {
    let word = |offset: usize, text: &str| tokens.get(at + offset).is_some_and(|token| token.is(text));
    let plain = word(0, "#") && word(1, "[") && word(2, "cfg") && word(3, "(");
    if !plain || !(word(4, "test") || (word(4, "all") && word(5, "(") && word(6, "test"))) {
        return None;
    }
    let mut end = closing(tokens, at + 1)?;
    while tokens.get(end).is_some_and(|token| token.is("#")) {
        end = closing(tokens, end + 1)?;
    }
    while let Some(token) = tokens.get(end) {
        if token.is(";") {
            return Some(end + 1);
        }
        if token.is("{") {
            return closing(tokens, end);
        }
        end = if token.is("(") || token.is("[") { closing(tokens, end)? } else { end + 1 };
    }
    None
}

/// The index after the bracket that closes the one at `open`.
pub(crate) fn closing(tokens: &[Token], open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(index + 1);
                }
            }
            _ => {}
        }
    }
    None
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    line: usize,
    tokens: Vec<Token>,
}

impl Lexer {
    fn peek(&self, offset: usize) -> char {
        self.chars.get(self.at + offset).copied().unwrap_or('\0')
    }

    fn bump(&mut self) {
        if self.peek(0) == '\n' {
            self.line += 1;
        }
        self.at += 1;
    }

    fn bump_by(&mut self, count: usize) {
        for _ in 0..count {
            self.bump();
        }
    }

    fn push(&mut self, text: impl Into<String>, line: usize) {
        self.tokens.push(Token { text: text.into(), line });
    }

    fn step(&mut self) {
        let (first, second) = (self.peek(0), self.peek(1));
        match first {
            '/' if second == '/' => self.line_comment(),
            '/' if second == '*' => self.block_comment(),
            '"' => self.string(),
            '\'' => self.quote(),
            _ if self.raw_string_hashes().is_some() => self.raw_string(),
            _ if first.is_alphabetic() || first == '_' => self.ident(),
            _ if first.is_whitespace() => self.bump(),
            _ if first.is_numeric() => self.number(),
            _ => {
                self.push(first, self.line);
                self.bump();
            }
        }
    }

    fn line_comment(&mut self) {
        while self.at < self.chars.len() && self.peek(0) != '\n' {
            self.bump();
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0usize;
        while self.at < self.chars.len() {
            match (self.peek(0), self.peek(1)) {
                ('/', '*') => {
                    depth += 1;
                    self.bump_by(2);
                }
                ('*', '/') => {
                    depth -= 1;
                    self.bump_by(2);
                    if depth == 0 {
                        return;
                    }
                }
                _ => self.bump(),
            }
        }
    }

    fn string(&mut self) {
        let line = self.line;
        self.bump();
        while self.at < self.chars.len() && self.peek(0) != '"' {
            let width = if self.peek(0) == '\\' { 2 } else { 1 };
            self.bump_by(width);
        }
        self.bump();
        self.push("\"", line);
    }

    /// A character literal, or a lifetime (which leaves no token).
    fn quote(&mut self) {
        let line = self.line;
        if self.peek(1) == '\\' {
            self.bump_by(3);
            while self.at < self.chars.len() && self.peek(0) != '\'' {
                self.bump();
            }
            self.bump();
            self.push("\"", line);
        } else if self.peek(2) == '\'' {
            self.bump_by(3);
            self.push("\"", line);
        } else {
            self.bump();
            while self.peek(0).is_alphanumeric() || self.peek(0) == '_' {
                self.bump();
            }
        }
    }

    /// For `r"`, `r#"`, `br##"` and their kin: how many hashes.
    fn raw_string_hashes(&self) -> Option<(usize, usize)> {
        let prefix = match (self.peek(0), self.peek(1)) {
            ('r', _) => 1,
            ('b' | 'c', 'r') => 2,
            _ => return None,
        };
        let mut hashes = 0;
        while self.peek(prefix + hashes) == '#' {
            hashes += 1;
        }
        (self.peek(prefix + hashes) == '"').then_some((prefix, hashes))
    }

    fn raw_string(&mut self) {
        let line = self.line;
        let (prefix, hashes) = self.raw_string_hashes().unwrap_or((0, 0));
        self.bump_by(prefix + hashes + 1);
        while self.at < self.chars.len() {
            if self.peek(0) == '"' && (1..=hashes).all(|offset| self.peek(offset) == '#') {
                self.bump_by(1 + hashes);
                break;
            }
            self.bump();
        }
        self.push("\"", line);
    }

    fn ident(&mut self) {
        let (line, start) = (self.line, self.at);
        while self.peek(0).is_alphanumeric() || self.peek(0) == '_' {
            self.bump();
        }
        let text: String = self.chars[start..self.at].iter().collect();
        self.push(text, line);
    }

    fn number(&mut self) {
        let line = self.line;
        while self.peek(0).is_alphanumeric() || self.peek(0) == '_' {
            self.bump();
        }
        self.push("0", line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> String {
        lex(source).into_iter().map(|token| token.text).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn comments_and_literals_hide_their_words() {
        assert_eq!(words("a // crate::x\nb"), "a b");
        assert_eq!(words("a /* crate /* nested */ :: x */ b"), "a b");
        assert_eq!(words(r#"a("crate::x \" y")"#), "a ( \" )");
        assert_eq!(words("a = r#\"crate::\"x\"#; b"), "a = \" ; b");
        assert_eq!(
            words("fn f<'a>(c: char) { c == '\"' || c == '\\'' }"),
            "fn f < > ( c : char ) { c = = \" | | c = = \" }"
        );
    }

    #[test]
    fn test_items_are_dropped_and_their_lines_not_counted() {
        let source =
            "//! x\nfn a() {}\n#[cfg(test)]\n#[allow(x)]\nmod tests {\n    fn b() { [1]; }\n}\nfn c() {}\n";
        let kept: Vec<String> = without_tests(&lex(source)).into_iter().map(|token| token.text).collect();
        assert!(!kept.contains(&"b".to_owned()) && kept.contains(&"c".to_owned()), "{kept:?}");
        assert_eq!(non_test_lines(source), 3);
    }

    #[test]
    fn an_item_that_is_also_built_outside_tests_is_kept() {
        let source = "#[cfg(any(test, feature = \"testing\"))]\nmod doubles { fn d() {} }\n#[cfg(not(test))]\nfn e() {}";
        let kept = without_tests(&lex(source));
        assert!(kept.iter().any(|token| token.is("d")) && kept.iter().any(|token| token.is("e")));
    }
}
