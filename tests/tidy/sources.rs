//! Rules on source files: module comments, sizes, words, and what must never be committed.

use crate::edges::is_test_file;
use crate::tokens::{Token, lex, without_tests};

/// Non-test lines a file may have.
const LINES_MAX: usize = 600;
/// Non-test lines of the middle file.
const LINES_MEDIAN_MAX: usize = 200;
/// Where log lines are written.
const TELEMETRY: &str = "src/telemetry/";
/// What writes one.
const LOG_MACROS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "event"];

/// `//!` first: a reader knows what a file owns before its first `use`.
pub(crate) fn opens_with_a_module_comment(path: &str, source: &str) -> Vec<String> {
    let said = source
        .strip_prefix("//! ")
        .is_some_and(|rest| rest.lines().next().is_some_and(|line| line.len() >= 10));
    if said { Vec::new() } else { vec![format!("{path}:1: does not open with `//!` and what it owns")] }
}

pub(crate) fn sizes(files: &[(String, usize)]) -> Vec<String> {
    let mut complaints: Vec<String> = files
        .iter()
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(path, lines)| format!("{path}: {lines} non-test lines, more than {LINES_MAX}"))
        .collect();
    let mut sorted: Vec<usize> = files.iter().map(|(_, lines)| *lines).collect();
    sorted.sort_unstable();
    match sorted.get(sorted.len() / 2) {
        Some(median) if *median > LINES_MEDIAN_MAX => {
            complaints
                .push(format!("the median file has {median} non-test lines, more than {LINES_MEDIAN_MAX}"));
        }
        Some(_) => {}
        None => complaints.push("no files to measure".to_owned()),
    }
    complaints
}

/// Definitions against the glossary, and unfinished work.
pub(crate) fn words(path: &str, source: &str) -> Vec<String> {
    let tokens = without_tests(&lex(source));
    let mut complaints = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        let next = |offset: usize| tokens.get(index + offset);
        if let Some(name) = next(1).filter(|name| name.is_ident()) {
            complaints.extend(definition(path, token, name));
        }
        let is_macro = next(1).is_some_and(|bang| bang.is("!"));
        if is_macro && ["todo", "unimplemented", "dbg"].contains(&token.text.as_str()) {
            complaints.push(format!("{path}:{}: {}! is unfinished work", token.line, token.text));
        }
    }
    complaints
}

fn definition(path: &str, keyword: &Token, name: &Token) -> Option<String> {
    let at = format!("{path}:{}", name.line);
    let lower = name.text.to_ascii_lowercase();
    // The S3 dialect has server-side encryption, bucket policies and POST policies; nothing of ours is called so.
    let dialect = path.starts_with("src/s3/");
    match keyword.text.as_str() {
        "fn" if lower.starts_with("get_") => Some(format!("{at}: {}: no `get_` prefixes", name.text)),
        "fn" if !dialect && (lower.starts_with("encrypt") || lower.starts_with("decrypt")) => {
            Some(format!("{at}: {}: blobs are sealed and opened, keys wrapped and unwrapped", name.text))
        }
        "struct" | "enum" | "trait" | "type" if !dialect && lower.contains("policy") => Some(format!(
            "{at}: {}: `policy` is a foreign word here; we have placements and refusals",
            name.text
        )),
        _ => None,
    }
}

/// Log lines have names, and those can be read in one place: nobody else names the crate that writes them, and there each begins
/// with its event.
pub(crate) fn log_lines(path: &str, source: &str) -> Vec<String> {
    if is_test_file(path) {
        return Vec::new();
    }
    let tokens = without_tests(&lex(source));
    let is_at = |index: usize, text: &str| tokens.get(index).is_some_and(|token| token.is(text));
    let mut complaints = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        let at = format!("{path}:{}", token.line);
        let begins_path = is_at(index + 1, ":") && is_at(index + 2, ":");
        let is_imported =
            index.checked_sub(1).is_some_and(|before| is_at(before, "use") || is_at(before, "crate"));
        let is_macro = LOG_MACROS.contains(&token.text.as_str()) && is_at(index + 1, "!");
        if path.starts_with(TELEMETRY) {
            if is_macro && !(is_at(index + 3, "event") && is_at(index + 4, "=")) {
                complaints.push(format!("{at}: a log line that does not begin with `event =`"));
            }
        } else if token.is("tracing") && (begins_path || is_imported) {
            complaints
                .push(format!("{at}: names `tracing`; a log line is a function of src/telemetry/event"));
        }
    }
    complaints
}

/// Machine paths, registry hosts, other documents' names, and the shapes of secrets. Patterns are put together here so
/// that this file does not contain what it looks for.
pub(crate) fn leaks(path: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for (pattern, why) in patterns() {
            if line.contains(&pattern) {
                complaints.push(format!("{path}:{}: {why}", number + 1));
            }
        }
        if access_key_id(line) {
            complaints.push(format!("{path}:{}: looks like a real access key id", number + 1));
        }
    }
    if pem_key(text) {
        complaints.push(format!("{path}: a private key"));
    }
    complaints
}

/// A PEM header of a private key with key material behind it; the bare header is what code and tests speak about.
fn pem_key(text: &str) -> bool {
    let header = ["PRIVATE ", "KEY-----"].concat();
    text.match_indices(&header).any(|(start, _)| {
        let behind = text[start + header.len()..].chars().take(200).collect::<String>();
        behind
            .split(|c: char| !(c.is_ascii_alphanumeric() || c == '+' || c == '/'))
            .any(|word| word.len() >= 40)
    })
}

fn patterns() -> Vec<(String, &'static str)> {
    let of = |parts: &[&str]| parts.concat();
    vec![
        (of(&["/wo", "rk/"]), "a machine's path"),
        (of(&["/ro", "ot/"]), "a machine's path"),
        (of(&["/ho", "me/"]), "a machine's path"),
        (of(&["/Use", "rs/"]), "a machine's path"),
        (of(&["py", "pi.org"]), "a registry's host"),
        (of(&["python", "hosted.org"]), "a registry's host"),
        (of(&["static.", "crates.io"]), "a registry's host"),
        (of(&["index.", "crates.io"]), "a registry's host"),
        (of(&["npm", "js.org"]), "a registry's host"),
        (of(&["deb.", "debian.org"]), "a registry's host"),
        (of(&["shared/", "design"]), "a document that is not part of this repository"),
        (of(&["BRIEF", ".md"]), "a document that is not part of this repository"),
        (of(&["AGE-SECRET-", "KEY-"]), "a private key"),
        (of(&["gh", "p_"]), "an access token"),
        (of(&["xo", "xb-"]), "an access token"),
        (of(&["\"type\": \"service_", "account\""]), "a cloud service account key"),
    ]
}

/// `AKIA`/`ASIA` and 16 capitals or digits, unless it is AWS's documentation example.
fn access_key_id(line: &str) -> bool {
    ["AKIA", "ASIA"].iter().any(|prefix| {
        line.match_indices(prefix).any(|(start, _)| {
            let id = &line[start..];
            let length =
                id.bytes().take_while(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()).count();
            length == 20 && !id[..20].contains("EXAMPLE")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_module_comment_is_found() {
        assert!(opens_with_a_module_comment("a.rs", "//! What it owns, said.\n").is_empty());
        for bad in [
            "",
            "use x;\n//! late",
            "// not a module comment",
            "//!\n",
            "//! x\n",
            "\n//! What it owns, late.",
        ] {
            assert_eq!(opens_with_a_module_comment("a.rs", bad).len(), 1, "{bad:?}");
        }
    }

    #[test]
    fn long_files_and_a_long_median_are_found() {
        assert_eq!(sizes(&[("a".into(), 601), ("b".into(), 3), ("c".into(), 3)]).len(), 1);
        assert_eq!(sizes(&[("a".into(), 201), ("b".into(), 300), ("c".into(), 3)]).len(), 1);
        assert!(sizes(&[("a".into(), 600), ("b".into(), 200), ("c".into(), 3)]).is_empty());
        assert_eq!(sizes(&[]).len(), 1);
    }

    #[test]
    fn words_against_the_glossary_are_found() {
        for bad in [
            "fn get_name() {}",
            "pub fn encrypt(x: u8) {}",
            "fn decrypt_blob() {}",
            "struct RetryPolicy;",
            "enum Policy {}",
            "fn f() { todo!() }",
            "fn f() { dbg!(1); }",
        ] {
            assert_eq!(words("src/vault/a.rs", bad).len(), 1, "{bad}");
        }
        assert!(words("src/s3/post.rs", "struct PostPolicy;").is_empty());
        assert!(words("src/vault/a.rs", "fn f() { cipher.encrypt(x); map.get(1); }").is_empty());
    }

    #[test]
    fn a_log_line_elsewhere_or_without_a_name_is_found() {
        for bad in [
            "fn f() { tracing::warn!(region, \"it broke\"); }",
            "fn f() { ::tracing::event!(tracing_level, \"it broke\"); }",
            "use tracing::{info, warn};",
            "use tracing as quiet;",
            "use {std::fmt, tracing::error};",
            "extern crate tracing;",
        ] {
            assert_eq!(log_lines("src/vault/a.rs", bad).len(), 1, "{bad}");
        }
        for bad in
            ["fn f() { warn!(\"it broke\"); }", "fn f() { tracing::error!(%region, event = \"broke\"); }"]
        {
            assert_eq!(log_lines("src/telemetry/event/a.rs", bad).len(), 1, "{bad}");
        }
    }

    #[test]
    fn log_lines_with_names_in_their_place_and_those_of_tests_pass() {
        let good =
            "use tracing::warn;\nfn f() { warn!(event = \"broke\", %region); if loud { line!(info) } }";
        assert_eq!(log_lines("src/telemetry/event/a.rs", good), Vec::<String>::new());
        for good in [
            "fn f() { event::broke(&region); }",
            "struct Told { tracing: Option<Tracing> }\nfn f() { Told { tracing: told.tracing } }",
            "// tracing::warn!(1)\n#[cfg(test)]\nmod tests { fn f() { tracing::warn!(\"x\"); } }",
            "use tracing_subscriber::layer::Layer;",
        ] {
            assert_eq!(log_lines("src/vault/a.rs", good), Vec::<String>::new(), "{good}");
        }
        assert!(log_lines("src/vault/tests.rs", "use tracing::warn;").is_empty());
    }

    #[test]
    fn leaks_are_found() {
        for bad in [
            ["cd /wo", "rk/x"].concat(),
            ["-----BEGIN PRIVATE ", "KEY-----\nMC4CAQAwBQYDK2VwBCIEIKr4AAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]
                .concat(),
            ["key = AKIA", "ABCDEFGHIJKLMNOP"].concat(),
            ["index = files.python", "hosted.org"].concat(),
        ] {
            assert_eq!(leaks("a", &bad).len(), 1, "{bad}");
        }
        assert!(leaks("a", "AKIAIOSFODNN7EXAMPLE and framework/x and AKIA").is_empty());
        assert!(leaks("a", &["not -----BEGIN PRIVATE ", "KEY-----\nsomething"].concat()).is_empty());
    }
}
