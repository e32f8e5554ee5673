//! The ladder: which module may import which, read from the `edges` and `fences` blocks of `ARCHITECTURE.md`.
//!
//! A line may name only lines above it, so a ladder that parses has no cycles.

use std::collections::{BTreeMap, BTreeSet};

use crate::tokens::{Token, closing, lex, without_tests};

/// Stands for all lines above; only what assembles the rest may have it.
const EVERYTHING_ABOVE: &str = "everything-above";
/// Sees every module because it declares them, and holds nothing else.
const CRATE_ROOT: &str = "lib";

pub(crate) struct Ladder {
    allowed: BTreeMap<String, BTreeSet<String>>,
}

impl Ladder {
    /// Reads the fenced block ` ```edges ` of `document`.
    pub(crate) fn parse(document: &str) -> Result<Self, String> {
        let mut allowed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (module, imports) in block(document, "edges")? {
            let mut set = BTreeSet::new();
            for import in &imports {
                if import == EVERYTHING_ABOVE {
                    set.extend(allowed.keys().cloned());
                } else if allowed.contains_key(import) {
                    set.insert(import.clone());
                } else {
                    return Err(format!("edges: {module} may not name {import}: no such line above its own"));
                }
            }
            if allowed.insert(module.clone(), set).is_some() {
                return Err(format!("edges: two lines for {module}"));
            }
        }
        Ok(Self { allowed })
    }

    /// Every import of another module of ours that the file's line does not allow.
    pub(crate) fn check_file(&self, path: &str, source: &str) -> Vec<String> {
        let Some(module_path) = module_path(path) else { return vec![format!("{path}: not under src/")] };
        let module = module_path.first().cloned().unwrap_or_default();
        if module == CRATE_ROOT || is_test_file(path) {
            return Vec::new();
        }
        let Some(allowed) = self.allowed.get(&module) else {
            return vec![format!("{path}: module {module} has no line in the edges block")];
        };
        let mut complaints = Vec::new();
        for reference in references(&without_tests(&lex(source)), &module_path) {
            let Reference { module: target, line } = reference;
            if target == "*" || target == "crate" {
                complaints
                    .push(format!("{path}:{line}: imports the crate root itself, which hides its edges"));
            } else if target != module && !allowed.contains(&target) {
                complaints.push(format!("{path}:{line}: {module} may not import {target}"));
            }
        }
        complaints
    }

    /// Modules without a line, and lines without a module.
    pub(crate) fn check_modules(&self, modules: &BTreeSet<String>) -> Vec<String> {
        let lines: BTreeSet<String> = self.allowed.keys().cloned().collect();
        let missing =
            modules.difference(&lines).map(|name| format!("src/{name} has no line in the edges block"));
        let idle = lines
            .difference(modules)
            .map(|name| format!("the edges block names {name}, which is not in src/"));
        missing.chain(idle).collect()
    }
}

/// Foreign crates that only some modules may name.
pub(crate) struct Fences(BTreeMap<String, BTreeSet<String>>);

impl Fences {
    /// Reads the fenced block ` ```fences `: crate, then the modules that may name it.
    pub(crate) fn parse(document: &str) -> Result<Self, String> {
        let lines = block(document, "fences")?;
        Ok(Self(lines.into_iter().map(|(name, modules)| (name, modules.into_iter().collect())).collect()))
    }

    pub(crate) fn check_file(&self, path: &str, source: &str) -> Vec<String> {
        let Some(module) = module_path(path).and_then(|parts| parts.into_iter().next()) else {
            return Vec::new();
        };
        let mut complaints = Vec::new();
        let tokens = without_tests(&lex(source));
        for (token, next) in tokens.iter().zip(tokens.iter().skip(1)) {
            if let Some(inside) = self.0.get(&token.text)
                && next.is(":")
                && !inside.contains(&module)
            {
                complaints
                    .push(format!("{path}:{}: {module} may not name the crate {}", token.line, token.text));
            }
        }
        complaints
    }
}

/// The top-level modules of these `src/` files.
pub(crate) fn modules_of(paths: &[String]) -> BTreeSet<String> {
    paths
        .iter()
        .filter_map(|path| module_path(path)?.into_iter().next())
        .filter(|module| module != CRATE_ROOT)
        .collect()
}

/// `name: word word` lines of a fenced block, in order.
fn block(document: &str, language: &str) -> Result<Vec<(String, Vec<String>)>, String> {
    let fence = format!("```{language}");
    let mut lines = document.lines().skip_while(|line| line.trim_end() != fence);
    lines.next().ok_or_else(|| format!("no {fence} block"))?;
    let mut parsed = Vec::new();
    for line in lines {
        if line.starts_with("```") {
            return if parsed.is_empty() { Err(format!("{fence} is empty")) } else { Ok(parsed) };
        }
        let (name, words) =
            line.split_once(':').ok_or_else(|| format!("{language}: no colon in {line:?}"))?;
        parsed.push((name.trim().to_owned(), words.split_whitespace().map(str::to_owned).collect()));
    }
    Err(format!("{fence} is not closed"))
}

/// `src/s3/xml/read.rs` → `[s3, xml, read]`; `src/s3/mod.rs` → `[s3]`.
fn module_path(path: &str) -> Option<Vec<String>> {
    let inner = path.strip_prefix("src/")?.strip_suffix(".rs")?;
    let inner = inner.strip_suffix("/mod").unwrap_or(inner);
    Some(inner.split('/').map(str::to_owned).collect())
}

pub(crate) fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

struct Reference {
    module: String,
    line: usize,
}

/// The top-level modules of ours that these tokens name, by `crate::`, `terroir::` or a chain of `super`.
fn references(tokens: &[Token], file_module: &[String]) -> Vec<Reference> {
    let mut found = Vec::new();
    // One entry per open brace: whether it opened an inline module, which adds a level under `super`.
    let mut braces: Vec<bool> = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let token = &tokens[at];
        match token.text.as_str() {
            "{" => braces.push(at >= 2 && tokens[at - 2].is("mod")),
            "}" => {
                braces.pop();
            }
            "crate" | "terroir" | "super" if starts_path(tokens, at) => {
                let depth = file_module.len() + braces.iter().filter(|inline| **inline).count();
                at = follow(tokens, at, depth, &mut found);
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Is this the head of a path, and not the middle of one, or `pub(crate)`?
fn starts_path(tokens: &[Token], at: usize) -> bool {
    let before = |text: &str| at > 0 && tokens[at - 1].is(text);
    let head = !(before(":") && at > 1 && tokens[at - 2].is(":"));
    let alias = tokens.get(at + 1).is_some_and(|token| token.is("as"));
    head && (double_colon(tokens, at + 1) || (before("use") && alias))
}

fn double_colon(tokens: &[Token], at: usize) -> bool {
    tokens.get(at).is_some_and(|token| token.is(":")) && tokens.get(at + 1).is_some_and(|token| token.is(":"))
}

/// Resolves the path at `at`; returns where to go on reading.
fn follow(tokens: &[Token], at: usize, depth: usize, found: &mut Vec<Reference>) -> usize {
    let mut at = at;
    let mut depth = if tokens[at].is("super") { depth } else { 0 };
    if tokens[at].is("super") {
        while tokens[at].is("super") {
            depth = depth.saturating_sub(1);
            if !double_colon(tokens, at + 1) {
                return at + 1;
            }
            at += 3;
        }
    } else if double_colon(tokens, at + 1) {
        at += 3;
    }
    if depth > 0 {
        return at;
    }
    let Some(token) = tokens.get(at) else { return at };
    if token.is("{") {
        let end = closing(tokens, at).unwrap_or(tokens.len());
        heads_of_tree(&tokens[at + 1..end.saturating_sub(1)], found);
        return end;
    }
    found.push(Reference { module: token.text.clone(), line: token.line });
    at + 1
}

/// The first segment of every branch of `{a::b, c, d::{e}}`.
fn heads_of_tree(tokens: &[Token], found: &mut Vec<Reference>) {
    let mut depth = 0usize;
    let mut head = true;
    for token in tokens {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => depth = depth.saturating_sub(1),
            "," if depth == 0 => head = true,
            _ if head => {
                found.push(Reference { module: token.text.clone(), line: token.line });
                head = false;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "# x\n```edges\nmodel:\nblobs: model\nvault: model blobs\napp: everything-above\n```\n\
                            ```fences\naws_sdk_s3: blobs\n```\n";

    fn complaints(path: &str, source: &str) -> Vec<String> {
        Ladder::parse(DOCUMENT).unwrap().check_file(path, source)
    }

    #[test]
    fn a_ladder_with_a_cycle_a_repeat_or_an_unknown_name_does_not_parse() {
        assert!(Ladder::parse("```edges\na: b\nb: a\n```").is_err());
        assert!(Ladder::parse("```edges\na: a\n```").is_err());
        assert!(Ladder::parse("```edges\na:\na:\n```").is_err());
        assert!(Ladder::parse("```edges\na: nowhere\n```").is_err());
        assert!(Ladder::parse("```edges\na:\n").is_err());
        assert!(Ladder::parse("```edges\n```").is_err());
        assert!(Ladder::parse("nothing").is_err());
    }

    #[test]
    fn an_import_up_the_ladder_is_found_however_it_is_spelled() {
        for source in [
            "use crate::vault::Vault;",
            "use crate::{model::Id, vault::Vault};",
            "use crate::{model::{Id, Other}, vault};",
            "fn f() { crate::vault::open(); }",
            "fn f(v: &crate::vault::Vault) {}",
            "use super::super::vault::Vault;",
            "use super::super::{vault};",
            "mod inner { use super::super::super::vault; }",
            "pub use crate::vault as safe;",
            "use terroir::vault;",
            "macro_rules! m { () => { $crate::vault::open() } }",
            "#[cfg(any(test, feature = \"testing\"))]\nmod t { use crate::vault; }",
        ] {
            assert_eq!(complaints("src/blobs/s3.rs", source).len(), 1, "{source}");
        }
    }

    #[test]
    fn an_import_of_the_root_is_refused_since_it_hides_edges() {
        for source in ["use crate::*;", "use crate as all;", "use super::super::*;", "use crate::{model, *};"]
        {
            assert_eq!(complaints("src/blobs/s3.rs", source).len(), 1, "{source}");
        }
    }

    #[test]
    fn what_the_line_allows_and_what_only_looks_like_a_path_passes() {
        for source in [
            "use crate::model::Id;",
            "use crate::blobs::fs;",
            "use super::fs;",
            "pub(crate) fn vault() { let crate_ = vault::x(); }",
            "// use crate::vault;\n/// [`crate::vault`]\nfn f() { \"crate::vault\"; }",
            "#[cfg(test)]\nmod tests { use crate::vault::Vault; }",
            "fn f() { if x { super::g() } }",
            "mod inner { use super::super::fs; }",
        ] {
            assert_eq!(complaints("src/blobs/s3.rs", source), Vec::<String>::new(), "{source}");
        }
        assert!(complaints("src/app.rs", "use crate::{vault, blobs};").is_empty());
        assert!(complaints("src/lib.rs", "pub mod vault;").is_empty());
    }

    #[test]
    fn a_module_without_a_line_is_refused() {
        assert_eq!(complaints("src/rogue/mod.rs", "").len(), 1);
        let modules = modules_of(&["src/rogue/a.rs".into(), "src/model/mod.rs".into(), "src/lib.rs".into()]);
        let complaints = Ladder::parse(DOCUMENT).unwrap().check_modules(&modules);
        assert_eq!(
            complaints.len(),
            4,
            "rogue has no line; blobs, vault and app have no module: {complaints:?}"
        );
    }

    #[test]
    fn a_fenced_crate_is_found_outside_its_fence() {
        let fences = Fences::parse(DOCUMENT).unwrap();
        assert_eq!(fences.check_file("src/vault/put.rs", "use aws_sdk_s3::Client;").len(), 1);
        assert!(fences.check_file("src/blobs/s3.rs", "use aws_sdk_s3::Client;").is_empty());
        assert!(
            fences.check_file("src/vault/put.rs", "// aws_sdk_s3::Client\nlet aws_sdk_s3 = 1;").is_empty()
        );
    }
}
